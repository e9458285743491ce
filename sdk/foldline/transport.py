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
from typing import TYPE_CHECKING, Any, Final

from foldline import process
from foldline.errors import ConnectionFailed, Unavailable, error_for
from foldline.version import VERSION

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8420"
PATIENCE: Final = 30.0
# A task must not lose hours of work because the server was upgraded under it.
PATIENCE_IN_A_TASK: Final = 600.0

# A body that is streamed has to be opened anew for each try.
Content = bytes | Callable[[], Iterable[bytes]]
Params = Mapping[str, Any]

_AT_THE_ROOT: Final = ("/livez", "/readyz", "/version")
_TRY_AGAIN: Final = frozenset({502, 503, 504})
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
# The loggers of what requests are made with.
_CHATTY: Final = ("httpx2", "httpcore2")

log = logging.getLogger("foldline")

# Of our own: what the user's script draws from a seeded `random` must not depend on our requests.
_chance = random.Random()


class Transport:
    """The connection pool of one server, safe to share between threads and across a fork."""

    def __init__(self, url: str | None, token: str | None, *, timeout: float, patience: float | None) -> None:
        self.url = (url or os.environ.get("FOLDLINE_URL") or DEFAULT_URL).rstrip("/")
        self._token = token if token is not None else os.environ.get("FOLDLINE_TOKEN", "")
        self._timeout = timeout
        if patience is None:
            patience = PATIENCE_IN_A_TASK if process.given_by_agent() else PATIENCE
        self.patience = patience
        self.position: str | None = None
        self._lock = threading.Lock()
        self._pool: httpx2.Client | None = None
        self._pool_owner = 0

    def close(self) -> None:
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
    ) -> "httpx2.Response":
        """The answer, once it is one. Raises ApiError for a no, ConnectionFailed when nothing answers.

        With `idempotent=False` the request is sent once and bears no key: for what is itself repeated.
        """
        said = self._headers(method, headers, idempotent)

        def send() -> "httpx2.Response":
            return self._http().request(
                method,
                self._address(path),
                json=json,
                content=content() if callable(content) else content,
                params=_plain(params),
                headers=said,
                timeout=self._timeout if timeout is None else timeout,
            )

        response = self._until_it_answers(send, self.patience if idempotent else 0.0)
        if method not in ("GET", "HEAD") and (position := response.headers.get("Foldline-Position")):
            self.position = position
        return response

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

        def send() -> httpx2.Response:
            request = self._http().build_request(
                "GET", self._address(path), params=_plain(params), headers=said, timeout=patience
            )
            return self._http().send(request, stream=True)

        response = self._until_it_answers(send, self.patience)
        try:
            yield response
        finally:
            response.close()

    def _until_it_answers(self, send: "Callable[[], httpx2.Response]", patience: float) -> "httpx2.Response":
        import httpx2

        give_up = time.monotonic() + patience
        for attempt in itertools.count():
            wait = min(0.1 * 2 ** min(attempt, 8), 5.0) * _chance.uniform(0.5, 1.0)
            try:
                response = send()
                if response.is_success:
                    return response
                error = _error_of(response)
                if response.status_code not in _TRY_AGAIN:
                    raise error
                wait = max(wait, _retry_after(response))
            except (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.InvalidURL) as why:
                raise ConnectionFailed(f"cannot ask {self.url}: {why}; check FOLDLINE_URL") from why
            except httpx2.TransportError as why:
                error = self._unreachable(why)
            if time.monotonic() + wait > give_up:
                raise error from None
            if attempt == 2:
                log.warning("%s; trying again for up to %.0f s", error, give_up - time.monotonic())
            time.sleep(wait)
        raise AssertionError("the loop ends only with an answer or an error")

    def _unreachable(self, why: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            f"no answer from the server at {self.url} ({why or type(why).__name__}); "
            "is it running, and is FOLDLINE_URL right?"
        )

    def _headers(self, method: str, headers: Mapping[str, str] | None, idempotent: bool) -> dict[str, str]:
        said = {"User-Agent": f"foldline/{VERSION}"}
        if self._token:
            said["Authorization"] = f"Bearer {self._token}"
        if idempotent and method in ("POST", "PATCH"):
            said["Idempotency-Key"] = uuid.uuid4().hex
        return said | dict(headers or {})

    def _address(self, path: str) -> str:
        if path.split("?")[0] in _AT_THE_ROOT:
            return self.url + path
        return f"{self.url}/api/v1/{path.lstrip('/')}"

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
        _hush()
        # A TLS context costs 100 ms, and plain http never asks it. A proxy cannot reach our own machine.
        return httpx2.Client(verify=scheme == "https", trust_env=host not in _LOOPBACK)


def _hush() -> None:
    """Keep a line about each request out of the log of a script that shows INFO, unless somebody has asked for it.

    A log that is sent to the server would otherwise speak of its own sending, for ever.
    """
    for name in _CHATTY:
        library = logging.getLogger(name)
        if library.level == logging.NOTSET:
            library.setLevel(logging.WARNING)


def _plain(params: Params | None) -> dict[str, Any] | None:
    """`params` without what was not given; booleans as JSON has them."""
    if params is None:
        return None
    return {name: _plain_value(value) for name, value in params.items() if value is not None}


def _plain_value(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _retry_after(response: "httpx2.Response") -> float:
    try:
        return min(float(response.headers.get("Retry-After", "0")), 30.0)
    except ValueError:
        return 0.0


def _error_of(response: "httpx2.Response") -> Exception:
    import httpx2

    try:
        response.read()
        problem = response.json()
    except (ValueError, httpx2.TransportError):
        problem = None
    finally:
        response.close()
    if not isinstance(problem, dict):
        sentence = f"{response.request.url} answered {response.status_code} {response.reason_phrase}"
        problem = {"detail": f"{sentence}; is this a Foldline server?"}
    error = error_for(response.status_code, problem)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(error, Unavailable) and not error.code:
        error.code = "unavailable"
    return error
