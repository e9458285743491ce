"""A real HTTP server in a thread that says what it was told to say, and remembers what it was asked."""

import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # close the connection instead
    cut: int | None = None  # send only so many bytes of the body

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Asked:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Canned:
    """Each (method, path) has a row of answers; the last of them is given for ever after. `blobs/*` is any blob."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], deque[Answer]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def on(self, method: str, path: str, *answers: Answer) -> None:
        with self._lock:
            self._answers[method, path].extend(answers)

    def has(self, method: str, path: str) -> bool:
        """Whether an answer is canned for it."""
        return bool(self._answers.get((method, path)))

    def replace(self, method: str, path: str, *answers: Answer) -> None:
        """Give these answers from now on."""
        with self._lock:
            self._answers[method, path].clear()
        self.on(method, path, *answers)

    def to(self, method: str, path: str) -> list[Asked]:
        """What was asked there, in order."""
        with self._lock:
            return [asked for asked in self.asked if (asked.method, asked.path) == (method, path)]

    def _next(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            noun = asked.path.partition("/")[0]
            answers = self._answers[asked.method, asked.path] or self._answers[asked.method, f"{noun}/*"]
            if not answers:
                return Answer(
                    404, {"code": "not-found", "detail": f"nothing is canned for {asked.method} {asked.path}"}
                )
            return answers.popleft() if len(answers) > 1 else answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        canned = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                path, _, query = self.path.partition("?")
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, path.removeprefix("/api/v1/"), query, dict(self.headers), content)
                answer = canned._next(asked)
                if answer.drop:
                    self.close_connection = True
                    return
                body = b"" if answer.status == 204 else answer.content()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body if answer.cut is None else body[: answer.cut])
                if answer.cut is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PATCH = do_PUT = do_HEAD = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
