"""An offline session, told to a server: the same calls that its task would have made, with the times it made them."""

import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from foldline import formats
from foldline.client import Client, shared
from foldline.errors import FoldlineError
from foldline.listing import Json
from foldline.logger import SINGLE
from foldline.own_process import HeldAttempt
from foldline.sessions import RECORD, Session, blob_in, named_blobs

BATCH: Final = 1000  # points
PIECE: Final = 1 << 19  # bytes of a log
MADE_OF: Final = ("type", "script", "container", "tags", "system_tags", "comment", "output_destination")
RESULTS: Final = ("hyperparameters", "configuration")


def import_session(path: Path, previous_task_id: str | None, offset: int) -> str:
    """The id of the task that has all of it now. Raises FoldlineError."""
    if path.is_dir():
        return _imported(Session(path), previous_task_id, offset)
    if not zipfile.is_zipfile(path):
        raise FoldlineError(f"{path} is neither the folder nor the .zip of an offline session")
    with tempfile.TemporaryDirectory(prefix="foldline-session-") as folder:
        formats.extract(path, Path(folder))
        return _imported(Session(Path(folder)), previous_task_id, offset)


def _imported(session: Session, previous: str | None, offset: int) -> str:
    if not (session.folder / RECORD).is_file():
        raise FoldlineError(f"{session.folder} is no offline session: it has no {RECORD}")
    client, record = shared(), session.record()
    for sha256 in sorted(named_blobs(record)):
        _store(client, session, sha256)
    identifier = previous or _created(client, record)
    held = HeldAttempt(client, identifier)
    held.keep()
    try:
        _tell(client, session, record, identifier, held.attempt, offset)
    except BaseException as why:
        held.release()
        client.tasks.fail(identifier, f"the import of its offline session broke off: {why}")
        raise
    held.release()
    _end(client, record, identifier)
    return identifier


def _store(client: Client, session: Session, sha256: str) -> None:
    path = session.blob(sha256)
    if not path.is_file():
        raise FoldlineError(f"the session {session.folder.name} lacks the file blobs/{sha256}, which its task names")
    if client.blobs.put_file(path)[0] != sha256:
        raise FoldlineError(
            f"blobs/{sha256} of the session {session.folder.name} has been changed: its hash is another"
        )


def _created(client: Client, record: Json) -> str:
    fields = {name: record[name] for name in (*MADE_OF, *RESULTS)}
    return str(client.tasks.create(name=record["name"], project=record["project"], **_said(fields))["id"])


def _said(value: Any) -> Any:
    """Without what is null: in the body of a command that is not said at all. Values of parameters may be null."""
    if not isinstance(value, Mapping):
        return value
    entries: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
    return {name: _said(one) for name, one in entries.items() if one is not None or name == "value"}


def _tell(client: Client, session: Session, record: Json, identifier: str, attempt: int, offset: int) -> None:
    runtime = {**record["runtime"], "offline_session": record["id"]}
    runtime |= {f"offline_{name}": record[name] for name in ("started_at", "ended_at") if record[name]}
    client.tasks.edit(identifier, {"runtime": runtime, **_said({name: record[name] for name in RESULTS})})
    for artifact in record["artifacts"].values():
        client.tasks.add_artifact(identifier, _artifact(artifact))
    for kind, models in record["models"].items():
        for model in models:
            client.tasks.add_model(identifier, {**_said(model), "kind": kind, "attempt": 0})
    for points in _batches(session.lines("scalars")):
        client.tasks.add_scalars(identifier, [_moved(point, offset) for point in points])
    for plot in session.lines("plots"):
        if plot.get("sha256"):
            _store(client, session, plot["sha256"])
        client.plots.add(identifier, {**_moved(plot, offset), "attempt": attempt})
    _tell_logs(client, session, record, identifier, attempt)


def _artifact(artifact: Json) -> Json:
    """As it is said to a server, which makes up the address of a blob."""
    said = {name: artifact[name] for name in artifact if name not in ("hash", "timestamp", "attempt")}
    if blob_in(said["url"]) is not None:
        said.pop("url")
    return {name: value for name, value in said.items() if value is not None}


def _moved(reported: Json, offset: int) -> Json:
    moved = {name: value for name, value in reported.items() if name != "at"}
    if "at" in reported:
        moved["ago"] = max(time.time() - reported["at"], 0.0)
    if moved["iteration"] != SINGLE:
        moved["iteration"] += offset
    return moved


def _batches(points: Iterator[Json]) -> Iterator[list[Json]]:
    batch: list[Json] = []
    for point in points:
        batch.append(point)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _tell_logs(client: Client, session: Session, record: Json, identifier: str, attempt: int) -> None:
    """Those of all its attempts, one after the other, as one."""
    offset = 0
    for number in range(1, len(record["attempts"]) + 1):
        path = session.log(number)
        if not path.is_file():
            continue
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                offset = client.tasks.append_log(identifier, piece, attempt=attempt, offset=offset)


def _end(client: Client, record: Json, identifier: str) -> None:
    tasks, reason, published = client.tasks, record["reason"], record["status"] == "published"
    match record["attempts"][-1]["status"] if published else record["status"]:
        case "failed":
            tasks.fail(identifier, reason)
        case "completed":
            tasks.complete(identifier, reason)
        case "stopped":
            tasks.stop(identifier, reason, now=True)
        case _:
            tasks.stop(identifier, "its offline session was cut off before its end", now=True)
    if published:
        tasks.publish(identifier)
