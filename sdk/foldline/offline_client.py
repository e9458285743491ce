"""What stands in for the server while there is none: what a task says of itself goes into its session's folder."""

import contextlib
import time
import uuid
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from foldline.client import Client
from foldline.errors import NotFound, NotSupported, Refused
from foldline.listing import Json
from foldline.sessions import PREFIX, Session, folder_of, one_at_a_time, stored_blob
from foldline.stores import BLOBS, whole_or_not
from foldline.transport import Content, Params

if TYPE_CHECKING:
    import httpx2

ENDS: Final = {"complete": "completed", "fail": "failed", "stop": "stopped"}
SCRIPT: Final[Json] = {
    "repository": "",
    "branch": "",
    "commit": "",
    "tag": "",
    "entry_point": "",
    "working_dir": ".",
    "diff": "",
    "binary": "",
    "requirements": {},
    "source": None,
    "module": None,
    "function": None,
    "returns": [],
    "arguments": [],
}
CONTAINER: Final[Json] = {"image": "", "arguments": "", "setup_script": ""}
ENTRY: Final[Json] = {"value": None, "type": None, "description": None}
MODEL: Final[Json] = {
    "url": "",
    "framework": "",
    "comment": "",
    "tags": [],
    "labels": {},
    "config_text": "",
    "config_dict": {},
    "published": False,
    "archived": False,
    "parent": None,
    "iteration": None,
    "metadata": {},
    "attempt": 0,
}
ARTIFACT: Final[Json] = {
    "size": None,
    "type": "",
    "format": "",
    "filename": "",
    "preview": "",
    "metadata": {},
    "mode": "output",
    "attempt": 0,
}


class OfflineClient(Client):
    """Knows what a task says of itself. What asks about others raises NotSupported."""

    def __init__(self) -> None:
        super().__init__("http://offline.invalid")
        self._made_by: dict[str, str] = {}  # {model: task}

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Content | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        idempotent: bool = True,
    ) -> "httpx2.Response":
        import httpx2

        with one_at_a_time():
            answer = self._answer(
                method, [unquote(part) for part in path.split("/")], json or {}, content, params or {}
            )
        if isinstance(answer, bytes):
            return httpx2.Response(200, content=answer)
        return httpx2.Response(204) if answer is None else httpx2.Response(200, json=answer)

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Generator["httpx2.Response", None, None]:
        yield self.request("GET", path, params=params)

    def _answer(
        self, method: str, path: list[str], body: Json, content: Content | None, params: Params
    ) -> Json | bytes | None:
        match method, path:
            case "POST", ["tasks"]:
                return _created(body)
            case "GET", ["tasks", identifier]:
                return Session.of(identifier).record()
            case "PATCH", ["tasks", identifier]:
                return _changed(identifier, **_edited(Session.of(identifier).record(), body))
            case "POST", ["tasks", identifier, "start"]:
                return _started(identifier, body)
            case "POST", ["tasks", identifier, "heartbeat"]:
                return {"stop": False, "reason": ""}
            case "POST", ["tasks", identifier, "complete" | "fail" | "stop" as verb]:
                return _ended(identifier, ENDS[verb], str(body.get("reason") or ""))
            case "POST", ["tasks", identifier, "publish"]:
                return _published(identifier)
            case "POST", ["tasks", identifier, "artifacts"]:
                return _with_artifact(identifier, body)
            case "POST", ["tasks", identifier, "artifacts", "delete"]:
                return _without_artifacts(identifier, body["names"])
            case "POST", ["tasks", identifier, "models"]:
                model = _with_model(identifier, body)
                self._made_by[str(model["id"])] = identifier
                return model
            case "GET", ["models", identifier] if identifier in self._made_by:
                return _model(self._made_by[identifier], identifier)
            case "POST", ["tasks", identifier, "scalars"]:
                return _with_scalars(identifier, body["points"])
            case "POST", ["tasks", identifier, "plots"]:
                return _with_plot(identifier, body)
            case "POST", ["tasks", identifier, "logs"]:
                return _with_log(identifier, content, params)
            case _, ["blobs", sha256]:
                return _blob(method, sha256, content)
            case _:
                raise NotSupported(
                    f"{method} {'/'.join(path)} needs a server, and offline mode is on: import the session with "
                    "Task.import_offline_session() first, or leave Task.set_offline(True) out"
                )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _created(body: Json) -> Json:
    identifier = f"{PREFIX}{uuid.uuid4().hex}"
    record: Json = {
        "id": identifier,
        "type": "training",
        "status": "created",
        "reason": "",
        "version": 0,
        "run_id": None,
        "step": None,
        "cloned_from": None,
        "origin": None,
        "parent": None,
        "queue": None,
        "attempt": 0,
        "stop_requested": False,
        "attempts": [],
        "created_at": _now(),
        "started_at": None,
        "ended_at": None,
        "hyperparameters": {},
        "configuration": {},
        "script": SCRIPT,
        "container": CONTAINER,
        "artifacts": {},
        "models": {"input": [], "output": []},
        "runtime": {},
        "tags": [],
        "system_tags": [],
        "comment": "",
        "output_destination": "",
        "name": body["name"],
        "project": body["project"],
    }
    folder_of(identifier).mkdir()
    record |= _edited(record, body)
    Session(folder_of(identifier)).write(record)
    return record


def _changed(identifier: str, **fields: Any) -> Json:
    session = Session.of(identifier)
    record = session.record()
    record |= {**fields, "version": record["version"] + 1}
    session.write(record)
    return record


def _edited(record: Json, body: Json) -> Json:
    """The fields of the record as an edit leaves them, which says of some only what is to be another."""
    changed = {
        name: value for name, value in body.items() if name in record and name != "attempt" and value is not None
    }
    for name in ("script", "container"):
        if name in changed:
            changed[name] = {**record[name], **changed[name]}
    if "runtime" in changed:
        changed["runtime"] = _merged(record["runtime"], changed["runtime"])
    if "configuration" in changed:
        changed["configuration"] = _merged(record["configuration"], _entries(changed["configuration"]))
    if "hyperparameters" in changed:
        known: Json = {} if body.get("replace_hyperparameters") else record["hyperparameters"]
        given: dict[str, Json | None] = changed["hyperparameters"]
        sections = {
            name: None if section is None else _merged(known.get(name, {}), _entries(section))
            for name, section in given.items()
        }
        changed["hyperparameters"] = {name: section for name, section in _merged(known, sections).items() if section}
    return changed


def _merged(old: Json, new: Json) -> Json:
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def _entries(given: Json) -> Json:
    """Parameters, or configurations, with all that may be said of one."""
    return {name: None if entry is None else {**ENTRY, **entry} for name, entry in given.items()}


def _started(identifier: str, body: Json) -> Json:
    record = Session.of(identifier).record()
    number, at = len(record["attempts"]) + 1, _now()
    attempt: Json = {"number": number, "status": "in_progress", "reason": "", "started_at": at, "ended_at": None}
    attempt |= {"agent": None, "session": body["session"], "host": body.get("host", ""), "exit_code": None}
    record = _changed(
        identifier,
        status="in_progress",
        reason="",
        attempt=number,
        attempts=[*record["attempts"], attempt],
        started_at=at,
        ended_at=None,
    )
    return {"task": record, "attempt": number, "lease": body.get("lease", 60.0)}


def _ended(identifier: str, status: str, reason: str) -> Json:
    session = Session.of(identifier)
    record = session.record()
    attempts = record["attempts"]
    if record["ended_at"] is not None:
        raise Refused({"status": 409, "detail": f"Task {record['name']!r} is {record['status']} already."})
    for attempt in attempts[-1:]:
        if attempt["ended_at"] is None:
            attempt |= {"status": status, "reason": reason, "ended_at": _now()}
    record = _changed(identifier, status=status, reason=reason, attempts=attempts, ended_at=_now())
    print(f"Offline session stored in {session.pack()}", flush=True)
    return record


def _published(identifier: str) -> Json:
    session = Session.of(identifier)
    record = session.record()
    if record["status"] not in ENDS.values():
        detail = f"Cannot publish task {record['name']!r} that is {record['status'].replace('_', ' ')}: end it first."
        raise Refused({"status": 409, "detail": detail})
    record = _changed(identifier, status="published")
    session.pack()
    return record


def _with_artifact(identifier: str, body: Json) -> Json:
    blob = f"{BLOBS}/{body.get('sha256')}/{quote(str(body.get('filename') or body['name']), safe='')}"
    artifact: Json = {**ARTIFACT, "url": blob, **body, "hash": body.get("sha256"), "timestamp": _now()}
    _changed(identifier, artifacts={**Session.of(identifier).record()["artifacts"], str(body["name"]): artifact})
    return artifact


def _without_artifacts(identifier: str, names: list[str]) -> Json:
    known: Json = Session.of(identifier).record()["artifacts"]
    for name in names:
        if name not in known:
            detail = f"Cannot remove artifact {name!r} of task {identifier}: it has none of that name."
            raise Refused({"status": 409, "detail": detail})
    return _changed(identifier, artifacts={name: kept for name, kept in known.items() if name not in names})


def _with_model(identifier: str, body: Json) -> Json:
    record = Session.of(identifier).record()
    model: Json = {**MODEL, "id": uuid.uuid4().hex, "project": record["project"], **body}
    known: list[Json] = record["models"][model["kind"]]
    places = [number for number, one in enumerate(known) if one["id"] == model["id"]]
    if places:
        known[places[0]] = model
    else:
        known.append(model)
    _changed(identifier, models=record["models"])
    return model


def _model(task_id: str, identifier: str) -> Json:
    models: Mapping[str, list[Json]] = Session.of(task_id).record()["models"]
    found = next(one for kind in ("output", "input") for one in models[kind] if one["id"] == identifier)
    return {**found, "task": task_id}


def _with_scalars(identifier: str, points: list[Json]) -> None:
    now = time.time()
    lines = [{**point, "at": now - float(point.get("ago", 0))} for point in points]
    Session.of(identifier).append("scalars", lines)


def _with_plot(identifier: str, body: Json) -> Json:
    session = Session.of(identifier)
    if body.get("sha256"):
        session.take_in(str(body["sha256"]))
    session.append("plots", [body])
    return body


def _with_log(identifier: str, content: Content | None, params: Params) -> Json:
    """A repeat is harmless, as it is with a server."""
    path = Session.of(identifier).log(int(params["attempt"]))
    path.parent.mkdir(exist_ok=True)
    size = path.stat().st_size if path.exists() else 0
    if (offset := int(params["offset"])) > size:
        raise Refused({"status": 409, "detail": "The log has less than that.", "offset": size})
    data = b"".join(_pieces(content))
    with path.open("ab") as file:
        file.write(data[size - offset :])
    return {"offset": max(size, offset + len(data))}


def _blob(method: str, sha256: str, content: Content | None) -> bytes | None:
    path = stored_blob(sha256)
    if method == "PUT":
        with whole_or_not(path) as part, part.open("wb") as file:
            for piece in _pieces(content):
                file.write(piece)
        return None
    if not path.exists():
        raise NotFound({"status": 404, "detail": f"There is no blob {sha256}."})
    return path.read_bytes() if method == "GET" else None


def _pieces(content: Content | None) -> Iterable[bytes]:
    if isinstance(content, bytes):
        return [content]
    return [] if content is None else content()
