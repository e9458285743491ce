"""SIGKILL at any moment: nothing acknowledged is lost, nothing runs twice."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.house import House, step
from tests.support.waiting import wait_until

KILLS, KILLS_IN_A_STORM = 10, 100


def appends_its_name(file: Path, name: str) -> str:
    return f"import time; time.sleep(0.05); open({str(file)!r}, 'a').write({name + chr(10)!r})"


def layers(file: Path, width: int, depth: int) -> list[dict]:
    """`depth` layers of `width` steps, each waiting for all of the layer before it."""
    steps, before = [], []
    for layer in range(depth):
        names = [f"l{layer} s{number}" for number in range(width)]
        steps += [step(name, appends_its_name(file, name), parents=before) for name in names]
        before = names
    return steps


def assert_each_ran_once(house: House, run_id: str, file: Path, names: list[str]) -> None:
    started = Counter(event["subject"] for event in house.client.runs.history(run_id) if event["type"] == "TaskStarted")
    assert started == Counter(names), "one attempt per step"
    assert Counter(file.read_text().splitlines()) == Counter(names), "one line per step"
    verified = house.client.runs.verify(run_id)
    assert verified["ok"], verified["differences"]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [KILLS, pytest.param(KILLS_IN_A_STORM, marks=pytest.mark.storm)])
def test_a_server_killed_again_and_again_loses_nothing(any_house: House, tmp_path: Path, kills: int):
    house, file = any_house, tmp_path / "names"
    house.agent("-q", "default", "--slots", "2")
    steps = layers(file, 3, kills)
    run = house.submit(*steps)
    chance = random.Random(7)
    for _ in range(kills):
        time.sleep(chance.uniform(0.02, 0.4))  # a random moment is the point of this test
        house.kill_server()
        house.serve()
    ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    assert_each_ran_once(house, run["id"], file, [one["name"] for one in steps])


def test_a_server_killed_between_a_claim_and_its_answer_hands_it_over_again(any_house: House, tmp_path: Path):
    house, file = any_house, tmp_path / "names"
    kills = iter([True, False, True, False, False, True])

    def answer_lost(answer: bytes) -> bool:
        if b'"claims":[]' in answer.replace(b" ", b"") or not next(kills, False):
            return False
        house.kill_server()
        house.serve()
        return True

    with between(house, answer_lost) as url:
        house.agent("-q", "default", "--slots", "2", url=url)
        steps = layers(file, 2, 4)
        run = house.submit(*steps)
        ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    assert next(kills, None) is None, "every kill has taken place"
    assert_each_ran_once(house, run["id"], file, [one["name"] for one in steps])


def test_a_killed_agent_is_found_and_its_step_runs_again(house: House, tmp_path: Path):
    file, gate = tmp_path / "names", tmp_path / "gate"
    code = (
        f"import os, time; open({str(file)!r}, 'a').write('x\\n')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    )
    first = house.agent("-q", "default", "--name", "first")
    run = house.submit(step("slow", code))
    wait_until(lambda: file.exists(), "the step to begin")
    killed_at = time.monotonic()
    first.kill()
    house.agent("-q", "default", "--name", "second")
    wait_until(lambda: house.steps(run["id"])["slow"]["attempts"] == 2, "attempt 2", seconds=30)
    found_after = time.monotonic() - killed_at
    gate.touch()
    ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    lost = [event for event in house.client.runs.history(run["id"]) if event["type"] == "TaskRequeued"]
    assert [event["data"]["attempt"] for event in lost] == [1]
    assert "was not heard of" in lost[0]["data"]["reason"]
    assert found_after < 25, "found by its lease, not by anything slower"
    statuses = {agent["name"]: agent["status"] for agent in house.client.agents.list()}
    assert statuses == {"first": "lost", "second": "online"}


def test_results_survive_a_server_that_is_away(house: House, tmp_path: Path):
    file = tmp_path / "names"
    house.agent("-q", "default")
    run = house.submit(step("works", f"import time; open({str(file)!r}, 'w'); time.sleep(2); print('done')"))
    wait_until(lambda: file.exists(), "the step to begin")
    house.kill_server()
    time.sleep(4)  # the step ends while nobody is there to hear of it
    house.serve()
    ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    task = house.steps(run["id"])["works"]["task_id"]
    # No outcome waits for a log that the server was not there to take: it may come a moment later.
    wait_until(lambda: house.client.tasks.logs(task)[0] == b"done\n", "the log")


@contextmanager
def between(house: House, answer_lost: Callable[[bytes], bool]) -> Iterator[str]:
    """The address of a proxy before the house; it drops an answer to an exchange for which `answer_lost` is true."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                server = http.client.HTTPConnection("127.0.0.1", house.port, timeout=60)
                server.request(self.command, self.path, body, dict(self.headers))
                response = server.getresponse()
                answer = response.read()
                server.close()
            except (OSError, http.client.HTTPException):
                self.close_connection = True
                return
            if self.path.endswith("/exchange") and response.status == 200 and answer_lost(answer):
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = forward

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
