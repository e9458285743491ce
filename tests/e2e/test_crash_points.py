"""A server that ends, or loses the database's answer, at each point that has a name: nothing acknowledged is lost, and
nothing is done twice."""

import ast
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from eventstore.points import POINTS, WAYS
from eventstore.sql import open_store
from tests.controller.server import Server
from tests.support.crash_crowd import Crowd
from tests.support.crash_server import ACTOR
from tests.support.crash_world import World
from tests.support.crashing import Forker, forking

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path for folder in ("eventstore", "controller", "projections", "api") for path in (ROOT / folder).rglob("*.py")
]
ONLY_ON = {"pipeline.sent": "postgres"}
# Where nobody waits for an answer of the database, none can be lost.
NEVER_LOST = {"answer.given"}
ONCE = {"lease.judged", "deadline.passed"}
SEEDS = range(2, 2 + int(os.environ.get("FOLDLINE_STORM_SEEDS", "20")))
STORM = [pytest.param(seed, marks=pytest.mark.storm) for seed in SEEDS]
CALLERS, MOST_COMMANDS = 8, 1_000
OF_AN_APPEND = ["batch.taken", "lock.held", "insert.wanted", "commit.done", "commit.known", "answer.ready"]


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with forking() as forker:
        yield forker


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(request: pytest.FixtureRequest, database: str) -> str:
    return request.getfixturevalue(f"{database}_url")


def points_of(database: str) -> list[str]:
    return [name for name in POINTS if ONLY_ON.get(name, database) == database]


def reached_in(path: Path) -> Iterator[str]:
    """The names that a source file reaches. A name that is not written out could not be held against the list."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "reach":
            [name] = node.args
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}"
            yield str(name.value)


def test_the_sources_reach_the_points_of_the_list_and_no_others():
    assert {name for path in SOURCES for name in reached_in(path)} == POINTS.keys()


def crashes(database: str, way: str, random: Random, most: int) -> list[str]:
    """Each point once, in any order, when it is reached for the first to the `most`th time."""
    names = [name for name in points_of(database) if way == "exit" or name not in NEVER_LOST]
    random.shuffle(names)
    return [f"{name}:{random.randint(1, 1 if name in ONCE else most)}:{way}" for name in names]


def test_every_point_is_reached_on_the_way(forker: Forker, database: str, url: str):
    world = World(forker, url, counts=True)
    world.play()
    world.finish()
    world.check()
    reached = {name: times for name, times in world.counted.items() if times}
    assert sorted(reached) == sorted(points_of(database))
    assert {name for name, times in reached.items() if times == 1} == ONCE


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, *STORM])
def test_a_crash_at_each_point_loses_nothing_and_does_nothing_twice(
    forker: Forker, database: str, url: str, way: str, seed: int
):
    """One after another, on one database: each restart finds what all crashes before it have left."""
    planned = crashes(database, way, Random(f"{seed} {database} {way}"), 2 if seed == 1 else 9)
    world = World(forker, url, planned)
    lives = 0
    while world.left:
        lives += 1
        assert lives < 40, f"some are never reached: {world.story}"
        world.play()
    world.finish()
    world.check()


@pytest.mark.parametrize("seed", [1, *STORM])
def test_a_command_whose_answer_was_lost_with_many_others_is_done_once(
    forker: Forker, database: str, url: str, seed: int
):
    chance = Random(seed)
    names = [*OF_AN_APPEND, "pipeline.sent"] if database == "postgres" else OF_AN_APPEND
    planned = [f"{name}:{chance.randint(1, 4)}:{way}" for name in names for way in WAYS]
    chance.shuffle(planned)
    crowd = Crowd(forker, url, planned)

    def call(caller: int) -> list[tuple[str, str]]:
        made: list[tuple[str, str]] = []
        while crowd.left or not made:
            key = f"{caller}-{len(made)}"
            made.append((crowd.ask("create_task", key, "train"), key))
            assert len(made) < MOST_COMMANDS, f"{crowd.left} of {planned} are never reached"
        return made

    with ThreadPoolExecutor(CALLERS) as threads:
        made = [one for answers in threads.map(call, range(CALLERS)) for one in answers]
    crowd.end()
    with closing(open_store(url)) as store:
        server = Server(store, queues=())
        created = Counter(row.stream.removeprefix("task-") for row in server.events("TaskCreated"))
        assert created == Counter(task_id for task_id, _ in made)
        assert all(len(store.command(f"{ACTOR}:{key}")) == 1 for _, key in made)
        server.check()
