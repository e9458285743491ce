"""Requests that survive a server that is away: one Idempotency-Key for all tries of a command, jittered waits."""

import contextlib
import itertools
import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from json import dumps
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

from foldline import process
from foldline.errors import ConnectionFailed, Unavailable, error_for
from foldline.version import VERSION
from foldline.wire import Answer, Broken, Said, Wire, speaks_plainly

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8420"
PATIENCE: Final = 30.0
# A task must not lose hours of work because the server was upgraded under it.
PATIENCE_IN_A_TASK: Final = 600.0

# A body that is streamed has to be opened anew for each try.
Content = bytes | Callable[[], Iterable[bytes]]
Params = Mapping[str, Any]
Answered = TypeVar("Answered", bound=Answer)

_AT_THE_ROOT: Final = ("/livez", "/readyz", "/version")
_TRY_AGAIN: Final = frozenset({502, 503, 504})
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
# The loggers of what requests are made with.
_CHATTY: Final = ("httpx2", "httpcore2")

log = logging.getLogger("foldline")
# The one switch for whoever wants to hear of requests, by whichever way they go.
_spoken_of = logging.getLogger("httpx2")

# Of our own: what the user's script draws from a seeded `random` must not depend on our requests.
_chance = random.Random()


class Transport:
    """The connections to one server, safe to share between threads and across a fork.

    What is sent and answered in one piece, over plain http and past no proxy, goes over a `Wire`, and spares a script
    the import of httpx2; the rest goes through httpx2.
    """

    def __init__(self, url: str | None, token: str | None, *, timeout: float, patience: float | None) -> None:
        self.url = (url or os.environ.get("FOLDLINE_URL") or DEFAULT_URL).rstrip("/")
        self._token = token if token is not None else os.environ.get("FOLDLINE_TOKEN", "")
        self._timeout = timeout
        if patience is None:
            patience = PATIENCE_IN_A_TASK if process.given_by_agent() else PATIENCE
        self.patience = patience
        self.position: str | None = None
        self._lock = threading.Lock()
        _hush()
        self._wire = Wire(self.url) if speaks_plainly(self.url) and not _has_proxy(self.url) else None
        self._path = urlsplit(self.url).path if self._wire else ""
        self._pool: httpx2.Client | None = None
        self._pool_owner = 0

    def close(self) -> None:
        if self._wire is not None:
            self._wire.close()
        with self._lock:
            pool, self._pool = self._pool, None
            if pool is not None and self._pool_owner == os.getpid():
                pool.close()

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
    ) -> Answer:
        """The answer, once it is one. Raises ApiError for a no, ConnectionFailed when nothing answers.

        With `idempotent=False` the request is sent once and bears no key: for what is itself repeated.
        """
        said = self._headers(method, headers, idempotent)
        if json is not None:
            content = _encoded(json)
            said.setdefault("Content-Type", "application/json")
        target = _target(self._place(path), _plain(params))
        patience = self._timeout if timeout is None else timeout

        def send() -> Answer:
            if self._wire is None or callable(content):
                return self._send_with_httpx2(method, target, content, said, patience)
            answer = self._wire.ask(method, self._path + target, said, content or b"", patience)
            _spoken_of.info("HTTP Request: %s %s%s %d", method, self.url, target, answer.status_code)
            return answer

        answer = self._until_it_answers(send, self.patience if idempotent else 0.0)
        if method not in ("GET", "HEAD") and (position := answer.headers.get("Foldline-Position")):
            self.position = position
        return answer

    @contextlib.contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Generator["httpx2.Response", None, None]:
        """A GET whose body is read as it comes; `silence` (seconds) without a byte is a broken connection."""
        import httpx2

        said = self._headers("GET", headers, False)
        patience = httpx2.Timeout(self._timeout, read=silence)
        address = self.url + _target(self._place(path), _plain(params))

        def send() -> httpx2.Response:
            with _as_broken(self.url):
                http = self._http()
                return http.send(http.build_request("GET", address, headers=said, timeout=patience), stream=True)

        response = self._until_it_answers(send, self.patience)
        try:
            yield response
        finally:
            response.close()

    def _send_with_httpx2(
        self, method: str, target: str, content: Content | None, headers: Mapping[str, str], timeout: float
    ) -> "httpx2.Response":
        with _as_broken(self.url):
            body = content() if callable(content) else content
            return self._http().request(method, self.url + target, content=body, headers=headers, timeout=timeout)

    def _until_it_answers(self, send: Callable[[], Answered], patience: float) -> Answered:
        give_up = time.monotonic() + patience
        for attempt in itertools.count():
            wait = min(0.1 * 2 ** min(attempt, 8), 5.0) * _chance.uniform(0.5, 1.0)
            try:
                answer = send()
                if answer.is_success:
                    return answer
                error = _error_of(answer, self.url)
                if answer.status_code not in _TRY_AGAIN:
                    raise error
                wait = max(wait, _retry_after(answer))
            except Broken as why:
                error = self._unreachable(why)
            if time.monotonic() + wait > give_up:
                raise error from None
            if attempt == 2:
                log.warning("%s; trying again for up to %.0f s", error, give_up - time.monotonic())
            time.sleep(wait)
        raise AssertionError("the loop ends only with an answer or an error")

    def _unreachable(self, why: Broken) -> ConnectionFailed:
        return ConnectionFailed(
            f"no answer from the server at {self.url} ({why}); is it running, and is FOLDLINE_URL right?"
        )

    def _headers(self, method: str, headers: Mapping[str, str] | None, idempotent: bool) -> dict[str, str]:
        said = {"User-Agent": f"foldline/{VERSION}"}
        if self._token:
            said["Authorization"] = f"Bearer {self._token}"
        if idempotent and method in ("POST", "PATCH"):
            said["Idempotency-Key"] = uuid.uuid4().hex
        return said | dict(headers or {})

    def _place(self, path: str) -> str:
        return path if path.split("?")[0] in _AT_THE_ROOT else f"/api/v1/{path.lstrip('/')}"

    def _http(self) -> "httpx2.Client":
        with self._lock:
            # A forked child must not speak on its parent's sockets; those it drops without closing them.
            if self._pool is None or self._pool_owner != os.getpid():
                self._pool = self._new_pool()
                self._pool_owner = os.getpid()
            return self._pool

    def _new_pool(self) -> "httpx2.Client":
        import httpx2

        try:
            host, scheme = httpx2.URL(self.url).host, httpx2.URL(self.url).scheme
        except httpx2.InvalidURL as why:
            raise ConnectionFailed(f"{self.url!r} is not an address: {why}; check FOLDLINE_URL") from why
        # A TLS context costs 100 ms, and plain http never asks it.
        return httpx2.Client(verify=scheme == "https", trust_env=host not in _LOOPBACK)


def _has_proxy(url: str) -> bool:
    """Whether the environment or the system names a proxy that `url` may have to be reached by."""
    if urlsplit(url).hostname in _LOOPBACK:
        return False  # a proxy cannot reach our own machine
    from urllib.request import getproxies

    return not getproxies().keys().isdisjoint(("http", "all"))


@contextlib.contextmanager
def _as_broken(url: str) -> Generator[None, None, None]:
    """What httpx2 raises when no answer comes, as Broken; ConnectionFailed when none can ever come."""
    import httpx2

    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as why:
        raise ConnectionFailed(f"cannot ask {url}: {why}; check FOLDLINE_URL") from why
    except httpx2.TransportError as why:
        raise Broken(str(why) or type(why).__name__) from why


def _hush() -> None:
    """Keep a line about each request out of the log of a script that shows INFO, unless somebody has asked for it.

    A log that is sent to the server would otherwise speak of its own sending, for ever.
    """
    for name in _CHATTY:
        library = logging.getLogger(name)
        if library.level == logging.NOTSET:
            library.setLevel(logging.WARNING)


def _encoded(json: Any) -> bytes:
    return dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _target(path: str, params: Mapping[str, Any] | None) -> str:
    """`path` with `params` as its query, a list in them as a name for each of its values."""
    target = quote(path, safe="/%?&=:;,@!$'()*+~")
    if not params:
        return target
    return f"{target}{'&' if '?' in target else '?'}{urlencode(params, doseq=True)}"


def _plain(params: Params | None) -> dict[str, Any] | None:
    """`params` without what was not given; booleans as JSON has them."""
    if params is None:
        return None
    return {name: _plain_value(value) for name, value in params.items() if value is not None}


def _plain_value(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _retry_after(answer: Answer) -> float:
    try:
        return min(float(answer.headers.get("Retry-After", "0")), 30.0)
    except ValueError:
        return 0.0


def _error_of(answer: Answer, url: str) -> Exception:
    try:
        problem = _problem(answer)
    except (ValueError, Broken):
        problem = None
    if not isinstance(problem, dict):
        sentence = f"{url} answered {answer.status_code} {answer.reason_phrase}"
        problem = {"detail": f"{sentence}; is this a Foldline server?"}
    error = error_for(answer.status_code, problem)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(error, Unavailable) and not error.code:
        error.code = "unavailable"
    return error


def _problem(answer: Answer) -> Any:
    """What the server says is wrong; read first, where the answer is a stream."""
    if isinstance(answer, Said):
        return answer.json()
    with _as_broken(""), contextlib.closing(cast("httpx2.Response", answer)) as response:
        response.read()
        return response.json()
