"""SIGKILL at any moment: nothing acknowledged is lost, nothing runs twice."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventstore.points import EXIT_CODE, VARIABLE
from tests.support.dropping import dropping
from tests.support.house import House, step
from tests.support.waiting import wait_until

KILLS, KILLS_IN_A_STORM = 4, 100


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

    def answer_lost(path: str, answer: bytes) -> bool:
        if not path.endswith("/exchange") or b'"claims":[]' in answer.replace(b" ", b"") or not next(kills, False):
            return False
        house.kill_server()
        house.serve()
        return True

    with dropping(house.port, answer_lost) as url:
        house.agent("-q", "default", "--slots", "2", url=url)
        steps = layers(file, 2, 4)
        run = house.submit(*steps)
        ended = house.wait(run["id"])
    assert ended["status"] == "completed", ended["reason"]
    assert next(kills, None) is None, "every kill has taken place"
    assert_each_ran_once(house, run["id"], file, [one["name"] for one in steps])


@pytest.mark.parametrize(
    ("database", "crash_at"),
    [
        ("sqlite", "commit.done:9"),
        ("postgres", "pipeline.sent:24"),
        pytest.param("sqlite", "page.written:2", marks=pytest.mark.storm),
        pytest.param("sqlite", "seal.written:2", marks=pytest.mark.storm),
    ],
)
def test_a_server_that_ends_at_one_of_its_points_goes_on_from_there(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, crash_at: str
):
    """The whole product; test_crash_points has all points."""
    url = request.getfixturevalue("postgres_url") if database == "postgres" else None
    file = tmp_path / "names"
    with House(tmp_path, url) as house, ThreadPoolExecutor(1) as thread:
        house.env[VARIABLE] = crash_at
        house.serve()
        house.agent("-q", "default", "--slots", "2")

        def serve_again() -> int:
            assert house.server is not None
            code = house.server.wait(60)
            del house.env[VARIABLE]
            house.serve()
            return code

        served_again = thread.submit(serve_again)
        steps = layers(file, 2, 5)
        run = house.submit(*steps)
        ended = house.wait(run["id"])
        assert served_again.result(60) == EXIT_CODE
        assert ended["status"] == "completed", ended["reason"]
        assert_each_ran_once(house, run["id"], file, [one["name"] for one in steps])


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
