"""Plain HTTP as servers and what stands before them speak it, whole and broken."""

import os
import re
import socket
import threading
from contextlib import suppress

import pytest

from foldline.client import Client
from foldline.wire import Broken, Wire, speaks_plainly
from foldline.wire import _is_open as is_open

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
DEADLINE = 20.0


def whole_request(connection: socket.socket) -> bytes:
    request = b""
    while piece := connection.recv(65536):
        request += piece
        head, end, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) == int(length[1] if length else 0):
            break
    return request


class Speaker:
    """Says to each connection what was given for it, one text for each request, then closes it."""

    def __init__(self, *connections: list[bytes]) -> None:
        self.asked: list[bytes] = []
        self.accepted = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(DEADLINE)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(connections,), daemon=True)
        self._thread.start()

    def _serve(self, connections: tuple[list[bytes], ...]) -> None:
        with suppress(OSError):
            for texts in connections:
                connection, _ = self._socket.accept()
                self.accepted += 1
                with connection:
                    for text in texts:
                        self.asked.append(whole_request(connection))
                        connection.sendall(text)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(DEADLINE)


@pytest.fixture
def speak():
    speakers: list[Speaker] = []

    def speak(*connections: list[bytes]) -> Speaker:
        speakers.append(Speaker(*connections))
        return speakers[-1]

    yield speak
    for speaker in speakers:
        speaker.close()


@pytest.fixture
def wire_to():
    wires: list[Wire] = []

    def wire_to(speaker: Speaker) -> Wire:
        wires.append(Wire(speaker.url))
        return wires[-1]

    yield wire_to
    for wire in wires:
        wire.close()


def get(wire, **headers):
    return wire.ask("GET", "/runs?limit=1", headers, b"", DEADLINE)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        pytest.param(OK + b"{}", b"{}", id="with a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'1;x=y\r\n{\r\nA\r\n"n": 12345\r\n1\r\n}\r\n0\r\nT: t\r\n\r\n',
            b'{"n": 12345}',
            id="in chunks",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"{}", b"{}", id="after a promise"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="without a body"),
        pytest.param(b"HTTP/1.1 200\nContent-Length: 2\n\n{}", b"{}", id="from one who leaves out what may be"),
    ],
)
def test_an_answer_is_read_whole(speak, wire_to, text, content):
    said = get(wire_to(speak([text])))
    assert said.is_success
    assert said.content == content


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(OK + b"{", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", id="half a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="less than nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", id="headers without end"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n{}", id="an end that cannot be told from a break"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", id="another protocol"),
    ],
)
def test_what_is_no_whole_answer_is_a_broken_connection(speak, wire_to, text):
    with pytest.raises(Broken):
        get(wire_to(speak([text])))


def test_headers_have_no_case_and_may_come_twice(speak, wire_to):
    said = get(wire_to(speak([b"HTTP/1.1 204 OK\r\nFoldline-position: 7\r\nVary: a\r\nvary: b\r\n\r\n"])))
    assert (said.headers["Foldline-Position"], said.headers["VARY"]) == ("7", "a, b")
    assert said.headers.get("Retry-After") is None


def test_what_is_asked_is_sent_whole(speak, wire_to):
    speaker = speak([OK + b"{}"])
    wire_to(speaker).ask("POST", "/runs", {"Authorization": "Bearer x"}, b'{"a": 1}', DEADLINE)
    head, _, body = speaker.asked[0].partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert (first, body) == ("POST /runs HTTP/1.1", b'{"a": 1}')
    host = speaker.url.removeprefix("http://")
    assert {f"Host: {host}", "Authorization: Bearer x", "Content-Length: 8"} <= set(headers)


def test_a_header_cannot_smuggle_in_another(speak, wire_to):
    with pytest.raises(ValueError, match="Invalid header"):
        get(wire_to(speak()), Authorization="Bearer x\r\nHost: elsewhere")


def test_a_connection_is_used_again(speak, wire_to):
    speaker = speak([OK + b"{}", OK + b"[]"])
    wire = wire_to(speaker)
    assert [get(wire).content, get(wire).content] == [b"{}", b"[]"]
    assert speaker.accepted == 1


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(OK + b"{}", id="closed while it rested"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n{}", id="closed as announced"),
    ],
)
def test_one_that_the_server_has_closed_is_not(speak, wire_to, last):
    speaker = speak([last], [OK + b"[]"])
    wire = wire_to(speaker)
    get(wire)
    while speaker.accepted == 1 and (idle := wire._idle) and is_open(idle[0].sock):
        pass  # the speaker's close is on its way
    assert get(wire).content == b"[]"
    assert speaker.accepted == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(speak, wire_to):
    speaker = speak([OK + b"{}", OK + b"{}"])
    wire = wire_to(speaker)
    get(wire)
    child = os.fork()
    if child == 0:
        os._exit(0 if not wire._mine() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(wire).content == b"{}", "which the child has left open"
    assert speaker.accepted == 1


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://server:8420/foldline", True),
        ("http://[::1]:8420", True),
        ("https://server", False),
        ("http://ana:secret@server", False),
        ("http://sérver", False),
        ("http://server:many", False),
        ("http://", False),
        ("server:8420", False),
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_a_whole_client(url, plain):
    assert speaks_plainly(url) is plain


def test_a_proxy_is_asked_where_one_is_named(speak, monkeypatch):
    proxy = speak([OK + b"{}"])
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Client("http://far.example", patience=0) as client:
        assert client.runs.get("r") == {}
    assert proxy.asked[0].startswith(b"GET http://far.example/api/v1/runs/r HTTP/1.1\r\n")


def test_a_path_in_the_address_stands_before_all_others(speak):
    speaker = speak([OK + b"{}"])
    with Client(f"{speaker.url}/behind/it/", patience=0) as client:
        client.request("GET", "tasks", params={"name": "a b&c", "limit": None, "live": True, "status": ["x", "y"]})
    assert speaker.asked[0].startswith(
        b"GET /behind/it/api/v1/tasks?name=a+b%26c&live=true&status=x&status=y HTTP/1.1\r\n"
    )
