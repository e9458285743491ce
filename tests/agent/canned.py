"""A server of canned answers: the agent's half of docs/api.md, and nothing decided."""

import hashlib
import io
import json
import tarfile
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil

from tests.support.waiting import wait_until

Json = dict[str, Any]
DEADLINE = 30.0


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the usual 5 turn connections away on a busy machine


class Server:
    """Hands out the claims it was given, and keeps what agents say."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sessions: list[Json] = []  # what was registered, oldest first
        self.waiting: list[Json] = []  # claims not handed out
        self.handed: dict[tuple[str, int], Json] = {}  # claims of the present session, not reported
        self.stops: dict[tuple[str, int], Json] = {}
        self.reports: list[Json] = []
        self.exchanges: list[Json] = []
        self.logs: dict[tuple[str, int], bytearray] = {}
        self.log_requests: list[tuple[int, int]] = []  # offset and size of each
        self.edits: dict[str, list[Json]] = {}
        self.blobs: dict[str, bytes] = {}
        self.left: list[str] = []
        self.most_handed = 0
        self.away = False
        self.refusal: tuple[int, Json] | None = None
        self._newest = 0
        self._http = _Http(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        with self.changed:
            self.away = True
            self.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()

    # What tests do

    def give(self, *claims: Json) -> None:
        with self.changed:
            self.waiting.extend(claims)
            self.changed.notify_all()

    def stop(self, claim: Json, reason: str = "stop requested by ana", *, lost: bool = False) -> None:
        key = (claim["task_id"], claim["attempt"])
        with self.changed:
            self.stops[key] = {"task_id": key[0], "attempt": key[1], "reason": reason, "lost": lost}
            self.changed.notify_all()

    def supersede(self) -> None:
        """The server has declared the agent lost."""
        with self.changed:
            self.handed.clear()
            self.sessions.append({"session": "nobody's"})
            self.changed.notify_all()

    def wait_for_reports(self, count: int = 1) -> list[Json]:
        wait_until(lambda: len(self.reports) >= count, f"{count} reports", DEADLINE)
        return self.reports

    def log_of(self, claim: Json) -> bytes:
        return bytes(self.logs.get((claim["task_id"], claim["attempt"]), b""))

    def store_sources(self, files: dict[str, str]) -> str:
        """A snapshot of `files`: its digest."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        self.blobs[digest] = buffer.getvalue()
        return digest

    # What agents ask

    def register(self, body: Json) -> tuple[int, Json]:
        with self.changed:
            if self.refusal is not None:
                return self.refusal
            self.sessions.append(body)
            self.handed.clear()
            self.changed.notify_all()
        return 201, {"id": "a" * 32, "session": body["session"], "lease": 10.0, "heartbeat": 0.2}

    def exchange(self, body: Json) -> tuple[int, Json]:
        with self.changed:
            self.exchanges.append(body)
            self._newest += 1
            mine = self._newest
            self.changed.notify_all()
            if body["session"] != self.sessions[-1]["session"]:
                return _superseded()
            for report in body["reports"]:
                self.reports.append(report)
                self.handed.pop((report["task_id"], report["attempt"]), None)
            held = {(each["task_id"], each["attempt"]) for each in body["held"]}
            if not body["reports"]:
                self.changed.wait_for(lambda: self._has_news(body, held, mine), body["wait"])
            if body["session"] != self.sessions[-1]["session"]:
                return _superseded()
            claims = [claim for key, claim in self.handed.items() if key not in held]
            while self.waiting and len(claims) < body["free"] and (mine == self._newest or body["reports"]):
                claims.append(self.waiting.pop(0))
            for claim in claims:
                self.handed[claim["task_id"], claim["attempt"]] = claim
            self.most_handed = max(self.most_handed, len(self.handed))
            said = [
                {"task_id": one["task_id"], "attempt": one["attempt"], "accepted": True, "reason": ""}
                for one in body["reports"]
            ]
            return 200, {"claims": claims, "stop": self._stops_for(held), "reports": said}

    def _has_news(self, body: Json, held: set[tuple[str, int]], number: int) -> bool:
        superseded = number != self._newest or body["session"] != self.sessions[-1]["session"]
        lost_on_the_way = self.handed.keys() - held
        return bool(
            self.away or superseded or lost_on_the_way or (self.waiting and body["free"]) or self._stops_for(held)
        )

    def heartbeat(self, body: Json) -> tuple[int, Json]:
        with self.changed:
            if body["session"] != self.sessions[-1]["session"]:
                return _superseded()
            return 200, {"stop": self._stops_for({(each["task_id"], each["attempt"]) for each in body["held"]})}

    def leave(self, body: Json) -> tuple[int, Json]:
        with self.changed:
            self.left.append(body["session"])
            self.sessions.append({"session": "nobody's"})
            self.changed.notify_all()
        return 200, {}

    def append_log(self, task_id: str, query: dict[str, list[str]], data: bytes) -> tuple[int, Json]:
        offset = int(query["offset"][0])
        with self.changed:
            log = self.logs.setdefault((task_id, int(query["attempt"][0])), bytearray())
            if offset > len(log):
                return 409, {"code": "refused", "detail": "a piece is missing", "offset": len(log)}
            log[offset:] = data
            self.log_requests.append((offset, len(data)))
            return 200, {"offset": len(log)}

    def _stops_for(self, held: set[tuple[str, int]]) -> list[Json]:
        return [stop for key, stop in self.stops.items() if key in held]

    def answer(self, method: str, path: str, query: dict[str, list[str]], data: bytes) -> tuple[int, Any]:
        if path.endswith("/logs"):
            return self.append_log(path.split("/")[-2], query, data)
        body: Json = json.loads(data) if data else {}
        match path.removeprefix("/api/v1/").split("/"):
            case ["agents"]:
                return self.register(body)
            case ["agents", _, "exchange"]:
                return self.exchange(body)
            case ["agents", _, "heartbeat"]:
                return self.heartbeat(body)
            case ["agents", _, "leave"]:
                return self.leave(body)
            case ["blobs", digest] if method == "GET":
                return (200, self.blobs[digest]) if digest in self.blobs else (404, {"detail": "no such blob"})
            case ["tasks", task_id] if method == "PATCH":
                self.edits.setdefault(task_id, []).append(body)
                return 200, {"id": task_id}
            case _:
                return 404, {"detail": f"nothing at {path}"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle(self) -> None:
                with suppress(ConnectionError):
                    super().handle()

            def answer(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                if not server.away:
                    status, said = server.answer(self.command, parts.path, parse_qs(parts.query), data)
                if server.away:
                    self.close_connection = True  # and no word: a server that was killed
                    return
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = answer

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _superseded() -> tuple[int, Json]:
    return 409, {"code": "session-superseded", "detail": "register again with a new session"}


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has waited for yet counts as such."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def claim_for(script: Json, *, attempt: int = 1, name: str = "task", **task: Any) -> Json:
    """A claim of a task with this script."""
    task_id = hashlib.sha256(name.encode()).hexdigest()[:32]
    whole = {"id": task_id, "name": name, "script": script, "hyperparameters": {}, "artifacts": {}, **task}
    return {
        "task_id": task_id,
        "attempt": attempt,
        "queue": "default",
        "run_id": None,
        "step": None,
        "lease": 10.0,
        "task": whole,
    }


def inline(text: str, **claim: Any) -> Json:
    """A claim of a task whose script is `text`."""
    return claim_for({"entry_point": "step.py", "working_dir": ".", "diff": text, "source": None}, **claim)
