"""Steps through the HTTP API of one server process; its clients run in this process."""

import socket
from collections.abc import Iterator
from contextlib import closing
from time import perf_counter

import msgspec

from bench.line import Line, median, middle
from bench.raw import together
from bench.setting import Setting
from tests.support.house import House
from tests.support.waiting import wait_until

CONNECTIONS = 8
BATCH = 32
AIMS = {1: 2_000, BATCH: 8_000}
TIMEOUT = 60


class Named(msgspec.Struct):
    task_id: str
    attempt: int


class Answer(msgspec.Struct):
    """What an agent that only counts needs of the answer."""

    claims: list[Named] = []


def through_http(setting: Setting) -> Iterator[Line]:
    """Eight agents over eight connections: one step in each request, and 32; no step waits for another."""
    for batch in (1, BATCH):
        n = setting.size(4_000 * (2 if batch > 1 else 1), 2 * CONNECTIONS * batch)
        for database in setting.databases:
            raw = median([_bare(setting, n // batch, batch) for _ in range(setting.rounds)])
            line = middle([_served(setting, database, n, batch) for _ in range(setting.rounds)])
            yield Line(
                case="http, single" if batch == 1 else f"http, {batch} in a request",
                n=line.n,
                seconds=line.seconds,
                database=database,
                times=line.times,
                clients=CONNECTIONS,
                raw_rate=raw,
                aims={"rate": AIMS[batch]},
            )


def _served(setting: Setting, database: str, n: int, batch: int) -> Line:
    with House(setting.fresh_folder(), setting.fresh(database)) as house:
        house.serve()
        template = house.client.tasks.create(name="nothing", project="bench")["id"]
        agents = [_Agent(house.port, number, batch) for number in range(CONNECTIONS)]
        run = house.submit(*({"name": f"s{number}", "base_task_id": template} for number in range(n)))
        seconds = together([agent.work for agent in agents])
        times = [time for agent in agents for time in agent.times]
        # Enough for both: all were taken, and the last reports are in.
        assert house.wait(run["id"])["status"] == "completed"
        return Line(case="http", n=n, seconds=seconds, database=database, times=times)


class _Agent:
    """Reports what it has been given and asks for more, until there is no more."""

    def __init__(self, port: int, number: int, batch: int) -> None:
        self.times: list[float] = []
        self._batch, self._session = batch, f"{number:032x}"
        self._connection = Connection(port)
        asked = {"name": f"agent {number}", "session": self._session, "queues": ["default"], "slots": batch}
        registered = msgspec.json.decode(self._connection.post("/api/v1/agents", asked))
        self._path = f"/api/v1/agents/{registered['id']}/exchange"

    def work(self) -> None:
        with closing(self._connection):
            claims: list[Named] = []
            while True:
                began = perf_counter()
                claims = self._exchange(claims)
                self.times.append(perf_counter() - began)
                if not claims:
                    return

    def _exchange(self, done: list[Named]) -> list[Named]:
        reports = [{"task_id": one.task_id, "attempt": one.attempt, "status": "completed"} for one in done]
        body = {"session": self._session, "held": [], "reports": reports, "free": self._batch, "wait": 0}
        return msgspec.json.decode(self._connection.post(self._path, body), type=Answer).claims


class Connection:
    """One that stays, and no more of HTTP than both servers speak: it shares their cores, and must not be the bound."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"

    def post(self, path: str, body: object) -> bytes:
        """The answer's body. Raises RuntimeError when the server says no."""
        content = msgspec.json.encode(body)
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        told, _, answer = received.partition(b"\r\n\r\n")
        status, *headers = told.decode("latin-1").split("\r\n")
        [length] = [int(header[15:]) for header in headers if header.lower().startswith("content-length:")]
        pieces, missing = [answer], length - len(answer)
        while missing > 0:
            pieces.append(self._some())
            missing -= len(pieces[-1])
        answer = b"".join(pieces)
        if not status.startswith("HTTP/1.1 2"):
            raise RuntimeError(f"{path} answered {status[9:]}: {answer.decode()[:500]}")
        return answer

    def close(self) -> None:
        self._socket.close()

    def _some(self) -> bytes:
        if not (some := self._socket.recv(1 << 20)):
            raise RuntimeError("the server has closed the connection before the end of its answer")
        return some


def _bare(setting: Setting, requests: int, batch: int) -> float:
    """Steps a second of a server that checks the body and answers as much as ours, and does nothing else."""
    with House(setting.fresh_folder()) as house:
        house.python("server", "-m", "bench.bare_server", str(house.port))
        wait_until(lambda: _listens(house.port), "the bare server to listen")
        held = [Named(f"{number:032x}", 1) for number in range(batch)]

        def ask() -> None:
            reports = [{"task_id": one.task_id, "attempt": one.attempt, "status": "completed"} for one in held]
            body = {"session": "0" * 32, "held": [], "reports": reports, "free": batch, "wait": 0}
            with closing(Connection(house.port)) as connection:
                for _ in range(requests // CONNECTIONS):
                    msgspec.json.decode(connection.post("/exchange", body), type=Answer)

        seconds = together([ask] * CONNECTIONS)
        return requests // CONNECTIONS * CONNECTIONS * batch / seconds


def _listens(port: int) -> bool:
    try:
        Connection(port).close()
    except OSError:
        return False
    return True
