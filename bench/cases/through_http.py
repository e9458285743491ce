"""Steps through the HTTP API of one server process; its clients run in this process."""

import http.client
import threading
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
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        asked = {"name": f"agent {number}", "session": self._session, "queues": ["default"], "slots": batch}
        self._path = f"/api/v1/agents/{msgspec.json.decode(self._post('/api/v1/agents', asked))['id']}/exchange"

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
        return msgspec.json.decode(self._post(self._path, body), type=Answer).claims

    def _post(self, path: str, body: object) -> bytes:
        return post(self._connection, path, body)


def post(connection: http.client.HTTPConnection, path: str, body: object) -> bytes:
    """The answer's body. Raises RuntimeError when the server says no."""
    connection.request("POST", path, msgspec.json.encode(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{path} answered {response.status}: {answer.decode()[:500]}")
    return answer


def _bare(setting: Setting, requests: int, batch: int) -> float:
    """Steps a second of a server that checks the body and answers as much as ours, and does nothing else."""
    with House(setting.fresh_folder()) as house:
        house.python("server", "-m", "bench.bare_server", str(house.port))
        wait_until(lambda: _listens(house.port), "the bare server to listen")
        held = [Named(f"{number:032x}", 1) for number in range(batch)]
        local = threading.local()

        def ask() -> None:
            local.connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=TIMEOUT)
            reports = [{"task_id": one.task_id, "attempt": one.attempt, "status": "completed"} for one in held]
            body = {"session": "0" * 32, "held": [], "reports": reports, "free": batch, "wait": 0}
            with closing(local.connection):
                for _ in range(requests // CONNECTIONS):
                    msgspec.json.decode(post(local.connection, "/exchange", body), type=Answer)

        seconds = together([ask] * CONNECTIONS)
        return requests // CONNECTIONS * CONNECTIONS * batch / seconds


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except OSError:
        return False
    finally:
        connection.close()
