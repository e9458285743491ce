"""Plain HTTP to one server by the standard library, over connections that are kept: what nearly all requests need.

A request by this way costs a quarter of one by httpx2, and its import a fifth; a step that does nothing else costs no
more than the one request here.
"""

import json
import os
import socket
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPMessage

NO_BODY: Final = frozenset({204, 304})


class Answer(Protocol):
    """What a server has answered, read to its end."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def is_success(self) -> bool: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    def json(self) -> Any: ...


class Broken(Exception):
    """The connection could not be made, or ended before the answer did."""


class Headers(dict[str, str]):
    """Headers by their names, in any case; those of one name in one, with commas between."""

    def __init__(self, message: "HTTPMessage") -> None:
        super().__init__()
        for name, value in message.items():
            before = self.get(name)
            self[name.lower()] = value if before is None else f"{before}, {value}"

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Said:
    """An answer that came over a `Wire`."""

    __slots__ = ("content", "headers", "reason_phrase", "status_code")

    def __init__(self, status_code: int, reason_phrase: str, headers: Headers, content: bytes) -> None:
        self.status_code = status_code
        self.reason_phrase = reason_phrase
        self.headers = headers
        self.content = content

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        return json.loads(self.content)


class Wire:
    """Connections to the server at `url`, which `speaks_plainly`. Threads may share it; a fork leaves them behind."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port or 80
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._owner = os.getpid()

    def close(self) -> None:
        """Give up the connections: those at rest now, the others as they come to it."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout: float) -> Said:
        """The answer to one request; `timeout` (seconds) is for each time that nothing comes. Raises Broken.

        The server may have acted on a request whose connection broke.
        """
        from http.client import HTTPConnection, HTTPException

        idle = self._mine()
        connection = _rested(idle, timeout) or HTTPConnection(self._host, self._port, timeout)
        try:
            said, kept = _answer(connection, method, target, headers, body)
        except (OSError, HTTPException) as why:
            connection.close()
            raise Broken(str(why) or type(why).__name__) from why
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if kept and idle is self._idle:
                idle.append(connection)
                return said
        connection.close()
        return said

    def _mine(self) -> "list[HTTPConnection]":
        with self._lock:
            if self._owner == os.getpid():
                return self._idle
            # A forked child must not speak on its parent's connections. Closing its copies does not end them.
            theirs, self._idle = self._idle, []
            self._owner = os.getpid()
        for connection in theirs:
            connection.close()
        return self._idle


def speaks_plainly(url: str) -> bool:
    """Whether a Wire can reach `url`: http, without a password or letters of other scripts in the address."""
    try:
        parts = urlsplit(url)
        ordinary = parts.netloc.isascii() and "@" not in parts.netloc
        return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and ordinary
    except ValueError:
        return False


def _answer(
    connection: "HTTPConnection", method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[Said, bool]:
    """The answer, and whether the connection may be used again."""
    connection.request(method, target, body or None, dict(headers))
    response = connection.getresponse()
    if response.length is None and not response.chunked and method != "HEAD" and response.status not in NO_BODY:
        # One that ends with its connection, or whose headers broke off: nobody could tell it from half an answer.
        raise Broken("the answer does not say how long it is")
    content = response.read()
    said = Said(response.status, response.reason, Headers(response.headers), content)
    return said, not response.will_close


def _rested(idle: "list[HTTPConnection]", timeout: float) -> "HTTPConnection | None":
    """A connection that, as far as one can see, the server has not closed."""
    while idle:
        try:
            connection = idle.pop()
        except IndexError:  # another thread was quicker
            break
        if connection.sock is not None and _is_open(connection.sock):
            connection.sock.settimeout(timeout)
            return connection
        connection.close()
    return None


def _is_open(connected: socket.socket) -> bool:
    connected.setblocking(False)
    try:
        connected.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
