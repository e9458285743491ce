"""What lists are answered from: fields, filters, pages."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import event, text

from domain import agent as agents
from domain.content import Content, Edit
from domain.pipeline import PipelineParameter
from domain.queue import QueuePaused, QueueResumed
from domain.refused import Invalid
from domain.run import StartRun, StopRun
from domain.task import ArtifactAdded, EnqueueTask, TaskEdited
from eventstore.sql import SqlStore, open_store
from eventstore.store import Put, append
from projections import queries
from projections.custom import made as made_by
from projections.listing import Listing, Row
from projections.runner import Runner
from projections.tables import INDEXED_LETTERS
from tests.projections.histories import happen
from tests.projections.rows import ON_SQLITE
from tests.projections.world import World, pipeline

Ask = Callable[..., Any]


@pytest.fixture
def ask(store: SqlStore, runner: Runner) -> Ask:
    """Puts a query to rows that are up to date."""

    def asked(query: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        runner.catch_up()
        with store.database.reading() as connection:
            return query(connection, *arguments, **named)

    return asked


def names(listing: Listing) -> list[str]:
    return [row["name"] for row in listing[0]]


def all_pages(ask: Ask, query: Callable[..., Listing], *arguments: Any, limit: int, **named: Any) -> list[Row]:
    rows, cursor = ask(query, *arguments, limit=limit, **named)
    while cursor is not None:
        assert len(rows) % limit == 0
        more, cursor = ask(query, *arguments, limit=limit, cursor=cursor, **named)
        rows += more
    return rows


# Tasks


def test_a_task_has_the_fields_of_the_contract(world: World, ask: Ask):
    task_id = world.task("train", Content(type="testing", tags=["a"]), parent="p" * 32)
    world.do(task_id, EnqueueTask(queue="gpu"))
    world.begin(task_id, agent="f" * 32)
    [row], cursor = ask(queries.tasks)
    task = world.tasks[task_id]
    assert cursor is None
    assert row == {
        "id": task_id,
        "name": "train",
        "project": "iris",
        "type": "testing",
        "status": "in_progress",
        "reason": "",
        "parent": "p" * 32,
        "run_id": None,
        "step": None,
        "queue": "gpu",
        "attempt": 1,
        "agent_id": "f" * 32,
        "tags": ["a"],
        "created_at": task.created_at,
        "queued_at": task.queued_at,
        "started_at": task.started_at,
        "ended_at": None,
        "version": 3,
    }


LONG = "long " * 1000
EDGE = "n" * INDEXED_LETTERS

FILTERS = [
    ({"project": "iris"}, ["c", "b", "a"]),
    ({"project": "other"}, [EDGE + "n", EDGE, LONG]),
    ({"name": "b"}, ["b"]),
    ({"name": LONG}, [LONG]),
    ({"name": LONG + "er"}, []),
    ({"name": EDGE}, [EDGE]),
    ({"name": EDGE + "n"}, [EDGE + "n"]),
    ({"name": EDGE[1:]}, []),
    ({"statuses": ["queued"]}, ["b"]),
    ({"statuses": ["queued", "created"]}, [EDGE + "n", EDGE, LONG, "c", "b"]),
    ({"types": ["testing"]}, ["c"]),
    ({"types": ["testing", "training"]}, [EDGE + "n", EDGE, LONG, "c", "b", "a"]),
    ({"tags": ["x"]}, ["b", "a"]),
    ({"tags": ["x", LONG]}, [LONG, "b", "a"]),
    ({"tags": ["gone"]}, []),
    ({"tags": [EDGE + "x"]}, [EDGE]),
    ({"tags": [EDGE + "y"]}, []),
    ({"tags": [EDGE]}, []),
    ({"tags": ["new"]}, ["c"]),
    ({"parent": "e" * 32}, ["c"]),
    ({"project": "iris", "tags": ["x"], "statuses": ["queued"]}, ["b"]),
    ({"run_id": "nobody"}, []),
    ({"name": "it's; --"}, []),
]


def test_tasks_are_filtered(world: World, ask: Ask):
    some_tasks(world)
    for wanted, found in FILTERS:
        assert names(ask(queries.tasks, **wanted)) == found, wanted


def some_tasks(world: World) -> None:
    first = world.task("a", Content(tags=["x"]))
    world.begin(first)
    world.do(world.task("b", Content(tags=["x", "y"])), EnqueueTask(queue="default"))
    third = world.task("c", Content(type="testing", tags=["gone"]), parent="e" * 32)
    world.do(third, TaskEdited(edit=Edit(tags=["new", "new"])))
    world.task(LONG, Content(tags=[LONG]), project="other")
    world.task(EDGE, Content(tags=[EDGE + "x"]), project="other")
    world.task(EDGE + "n", project="other")


@ON_SQLITE
def test_the_tasks_of_a_run_and_of_a_step(world: World, ask: Ask):
    world.task("beside")
    run_id = world.submit(pipeline({"a": [], "b": []}))
    assert sorted(names(ask(queries.tasks, run_id=run_id))) == ["a", "b"]
    assert names(ask(queries.tasks, run_id=run_id, step="b")) == ["b"]


def test_pages_are_complete_and_stable_while_others_come_in(world: World, ask: Ask):
    expected = [world.task(f"t{number}") for number in range(7)][::-1]
    rows, cursor = ask(queries.tasks, limit=3)
    while cursor is not None:
        world.task("new")  # above everything seen so far
        world.do(rows[-1]["id"], TaskEdited(name="renamed"))
        more, cursor = ask(queries.tasks, limit=3, cursor=cursor)
        rows += more
    assert [row["id"] for row in rows] == expected


@pytest.mark.parametrize("limit", [1, 2, 50])
@ON_SQLITE
def test_every_list_can_be_read_page_by_page(world: World, ask: Ask, limit: int):
    happen(world, seed=41)
    run_id = max(world.runs, key=lambda key: len(world.runs[key].plan.steps))
    assert len(all_pages(ask, queries.tasks, limit=limit)) == len(world.tasks)
    origins = {one.origin for one in (*world.tasks.values(), *world.runs.values()) if one.origin}
    makers = {key for key in origins if world.tasks[key].run_id is None}  # the others are seen in their runs
    assert {row["id"] for row in all_pages(ask, queries.runs, limit=limit)} == world.runs.keys() | makers
    assert {row["id"] for row in all_pages(ask, queries.runs, limit=limit, kind="custom")} == makers
    assert {row["id"] for row in all_pages(ask, queries.pipelines, limit=limit)} == world.pipelines.keys()
    steps = all_pages(ask, queries.steps, run_id, limit=limit)
    assert [row["name"] for row in steps] == list(world.runs[run_id].plan.steps)
    stays = all_pages(ask, queries.timeline, run_id, limit=limit)
    assert stays == ask(queries.timeline, run_id)[0]
    assert stays == sorted(stays, key=lambda row: row["started_at"])


BAD_CURSORS = ["", "x", "????", "bnVsbA", "W10", "WyIxIiwiYSJd", "WzFlOTksICJhIl0", "ä"]


@pytest.mark.parametrize("cursor", [*BAD_CURSORS, "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OSwiYSJd"])
@ON_SQLITE
def test_a_cursor_of_no_list_is_refused(ask: Ask, cursor: str):
    for query in (queries.tasks, queries.runs, queries.pipelines):
        with pytest.raises(Invalid, match="leave it out"):
            ask(query, cursor=cursor)
    for query in (queries.steps, queries.timeline):
        with pytest.raises(Invalid, match="leave it out"):
            ask(query, "r" * 32, cursor=cursor)


@ON_SQLITE
def test_a_cursor_of_another_list_is_refused(world: World, ask: Ask):
    run_id = world.submit(pipeline({"a": [], "b": []}))
    _, of_steps = ask(queries.steps, run_id, limit=1)
    _, of_tasks = ask(queries.tasks, limit=1)
    for query, cursor in ((queries.steps, of_tasks), (queries.timeline, of_tasks), (queries.timeline, of_steps)):
        with pytest.raises(Invalid, match="leave it out"):
            ask(query, run_id, cursor=cursor)
    with pytest.raises(Invalid, match="leave it out"):
        ask(queries.tasks, cursor=of_steps)


def test_texts_with_nul_are_kept_and_found(world: World, ask: Ask):
    world.task("odd \x00 name", Content(tags=["\x00", "\\u0000"]))
    world.do(next(iter(world.tasks)), ArtifactAdded(name="\x00", url="x"))
    [row], _ = ask(queries.tasks, name="odd \x00 name", tags=["\x00"])
    assert (row["name"], row["tags"]) == ("odd \ufffd name", ["\ufffd", "\\u0000"])


# Runs


def test_a_run_has_the_fields_of_the_contract(world: World, ask: Ask):
    run_id = world.submit(pipeline({"a": [], "b": ["a"]}), tags=["t"], parameters={"size": 0.2}, origin="o" * 32)
    world.begin(world.step(run_id, "a"))
    [row], _ = ask(queries.runs)
    run = world.runs[run_id]
    assert row == {
        "id": run_id,
        "name": "iris #1",
        "project": "examples",
        "kind": "pipeline",
        "pipeline_id": run.pipeline_id,
        "pipeline_version": "1.0.0",
        "number": 1,
        "version": 5,
        "status": "running",
        "reason": "",
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": None,
        "parameters": {"size": 0.2},
        "tags": ["t"],
        "default_queue": "default",
        "origin": "o" * 32,
        "cache": "use",
        "parent_run": None,
        "parent_step": None,
        "host": None,
        "open_hooks": 0,
        "artifacts": [],
        "step_counts": dict(run.counts),
        "warnings": ["no agent listens to queue 'default'"],
    }
    assert list(row["step_counts"])[:3] == ["pending", "waiting", "queued"]


def test_a_custom_run_is_the_task_that_made_others(world: World, ask: Ask):
    maker = world.task("search", Content(tags=["tuning"]))
    made = world.task("made", origin=maker)
    run_id = world.submit(pipeline({"a": []}), origin=maker)
    world.do(made, EnqueueTask(queue="gpu", origin=made))
    [custom, run], _ = ask(queries.runs, limit=2)
    assert (run["id"], custom["id"], custom["kind"], custom["status"]) == (run_id, made, "custom", "queued")
    [custom], _ = ask(queries.runs, name="search")
    assert custom.keys() == run.keys()
    assert (custom["tags"], custom["origin"], custom["created_at"]) == (["tuning"], None, world.tasks[maker].created_at)
    assert {status: count for status, count in custom["step_counts"].items() if count} == {"queued": 1, "running": 1}
    rows, _ = ask(made_by, maker)
    assert [(row["kind"], row["id"], row["status"]) for row in rows] == [
        ("task", made, "queued"),
        ("run", run_id, "running"),
    ]


def test_a_paused_queue_says_who_paused_it(world: World, ask: Ask):
    world.queue("gpu")
    world.queue("gpu", QueuePaused(actor="ana", reason="moving"))
    [row] = ask(queries.queues)
    assert (row["paused"]["actor"], row["paused"]["reason"], row["paused"]["since"] > 0) == ("ana", "moving", True)
    world.queue("gpu", QueueResumed(actor="ana"))
    assert [row["paused"] for row in ask(queries.queues)] == [None]


def test_runs_are_filtered(world: World, ask: Ask):
    first = world.submit(pipeline({"a": []}), tags=["x"])
    second = world.submit(pipeline({"a": []}, name="mnist", project="p"), tags=["x", "y"], draft=True)
    wanted = [
        ({"project": "examples"}, [first]),
        ({"name": "mnist #1"}, [second]),
        ({"statuses": ["created", "running"]}, [second, first]),
        ({"statuses": ["created"]}, [second]),
        ({"tags": ["x"]}, [second, first]),
        ({"tags": ["y"]}, [second]),
        ({"pipeline_id": world.runs[first].pipeline_id}, [first]),
        ({"pipeline_id": "none"}, []),
    ]
    for filters, found in wanted:
        assert [row["id"] for row in ask(queries.runs, **filters)[0]] == found, filters


@ON_SQLITE
def test_a_run_says_which_of_its_queues_nobody_listens_to_while_it_goes_on(world: World, ask: Ask):
    run_id = world.submit(pipeline({"a": [], "b": []}), queue="gpu")
    key = world.agent("a", queues=["default"])
    assert ask(queries.runs)[0][0]["warnings"] == ["no agent listens to queue 'gpu'"]
    world.agent("b", session="1" * 32, queues=["gpu"])
    assert ask(queries.runs)[0][0]["warnings"] == []
    assert sorted(ask(queries.heard_queues)) == ["default", "gpu"]
    world.agent_event(key, agents.AgentLeft(session="s" * 32))
    assert sorted(ask(queries.heard_queues)) == ["gpu"]
    world.agent("b", session="2" * 32, queues=["default"])
    assert ask(queries.runs)[0][0]["warnings"]
    world.command(run_id, StopRun())
    assert world.runs[run_id].status == "stopped"
    assert ask(queries.runs)[0][0]["warnings"] == []


@ON_SQLITE
def test_a_queue_that_a_reference_names_is_known_once_a_step_waits_in_it(world: World, ask: Ask):
    parameters = [PipelineParameter(name="queue", default="gpu")]
    definition = pipeline({"a": [], "b": []}, default_queue="${pipeline.queue}", parameters=parameters)
    run_id = world.submit(definition, draft=True)
    assert ask(queries.runs)[0][0]["warnings"] == []
    world.command(run_id, StartRun())
    assert ask(queries.runs)[0][0]["warnings"] == ["no agent listens to queue 'gpu'"]
    assert [row["queue"] for row in ask(queries.steps, run_id)[0]] == ["gpu", "gpu"]


@ON_SQLITE
def test_a_step_has_the_fields_of_the_contract(world: World, ask: Ask):
    run_id = world.submit(pipeline({"a": [], "b": ["a"]}))
    task_id = world.step(run_id, "a")
    world.begin(task_id)
    world.do(task_id, ArtifactAdded(name="z", url="x"))
    world.do(task_id, ArtifactAdded(name="data", url="x"))
    rows, _ = ask(queries.steps, run_id)
    step = world.runs[run_id].step("a")
    assert rows[0] == {
        "name": "a",
        "status": "running",
        "reason": "",
        "task_id": task_id,
        "attempts": 1,
        "parents": [],
        "queue": "default",
        "stage": None,
        "artifacts": ["data", "z"],
        "run_id": None,
        "retries": 0,
        "queued_at": step.queued_at,
        "started_at": step.started_at,
        "ended_at": None,
    }
    assert (rows[1]["parents"], rows[1]["queue"], rows[1]["task_id"]) == (["a"], "default", None)


def test_the_timeline_of_a_run(world: World, ask: Ask):
    agent = world.agent("worker-1")
    run_id = world.submit(pipeline({"a": []}))
    task_id = world.step(run_id, "a")
    world.begin(task_id, agent)
    world.lose(task_id)
    world.begin(task_id, agent)
    world.end(task_id, "failed", began_at=7)
    rows, cursor = ask(queries.timeline, run_id)
    assert cursor is None
    shown = ("step", "attempt", "phase", "queue", "agent", "host", "outcome", "began_at")
    assert [tuple(row[name] for name in shown) for row in rows] == [
        ("a", 1, "queued", "default", None, None, "started", None),
        ("a", 1, "running", None, "worker-1", "host-1", "lost", None),
        ("a", 2, "queued", "default", None, None, "started", None),
        ("a", 2, "running", None, "worker-1", "host-1", "failed", 7),
    ]
    assert all(row["ended_at"] >= row["started_at"] for row in rows)


# Queues, agents, pipelines


def test_queues_say_what_waits_and_who_listens(world: World, ask: Ask):
    for name in ("default", "gpu"):
        world.queue(name)
    waiting = [world.task() for _ in range(3)]
    for task_id in waiting:
        world.do(task_id, EnqueueTask(queue="gpu"))
    world.begin(waiting[0])
    world.agent("b", queues=["gpu", "default"])
    world.agent("a", session="1" * 32, queues=["gpu"])
    world.agent_event(world.agent("gone", session="2" * 32), agents.AgentLost(session="2" * 32, reason="silent"))
    default, gpu = ask(queries.queues)
    assert (default["name"], default["length"], default["agents"], default["oldest_enqueued_at"]) == (
        "default",
        0,
        ["b"],
        None,
    )
    oldest = world.tasks[waiting[1]].queued_at
    assert (gpu["name"], gpu["length"], gpu["agents"], gpu["oldest_enqueued_at"]) == ("gpu", 2, ["a", "b"], oldest)
    assert ask(queries.queues, "gpu") == [gpu]
    assert ask(queries.queues, "nowhere") == []


def test_agents_say_what_they_run_and_when_they_were_heard_of(world: World, store: SqlStore, ask: Ask):
    first, second = world.agent("a"), world.agent("b", session="1" * 32)
    for _ in range(2):
        world.begin(world.task(), agent=second)
    seconds, expires = 10.0, 9_000_000_000_000_000
    row = {"stream": f"agent-{second}", "shard": 0, "attempt": 0, "agent_id": second, "session": "1" * 32}
    append(store, [], [Put("lease", {**row, "seconds": seconds, "expires_at": expires})]).result()
    newest, oldest = ask(queries.agents)
    assert (newest["id"], newest["running"], newest["last_seen_at"]) == (second, 2, expires - 10_000_000)
    assert (oldest["id"], oldest["running"], oldest["last_seen_at"]) == (first, 0, world.agents[first].registered_at)
    assert (newest["name"], newest["queues"], newest["services"], newest["status"]) == (
        "b",
        ["default"],
        False,
        "online",
    )
    assert ask(queries.agents, first) == [oldest]
    assert ask(queries.agents, "nobody") == []


@ON_SQLITE
def test_an_agent_that_comes_back_keeps_its_place(world: World, ask: Ask):
    world.agent("a")
    world.agent("b", session="1" * 32)
    world.agent("a", session="2" * 32, queues=["gpu"])
    assert [(row["name"], row["queues"]) for row in ask(queries.agents)] == [("b", ["default"]), ("a", ["gpu"])]


@ON_SQLITE
def test_slots_that_no_column_holds_are_cut(world: World, ask: Ask):
    world.agent_event("a" * 32, agents.AgentRegistered(name="a", session="s", queues=["q"], slots=10**30))
    assert ask(queries.agents)[0]["slots"] == 2**63 - 1


@ON_SQLITE
def test_pipelines_are_filtered(world: World, ask: Ask):
    first = world.register(pipeline({"a": []}))
    world.register(pipeline({"a": []}, name="mnist", project="p"))
    world.submit(pipeline({"a": [], "b": []}))
    assert names(ask(queries.pipelines)) == ["mnist", "iris"]
    [row], _ = ask(queries.pipelines, project="examples", name="iris")
    pipeline_state = world.pipelines[first]
    assert row == {
        "id": first,
        "name": "iris",
        "project": "examples",
        "version": "1.0.1",
        "definition": pipeline_state.definition,
        "runs": 1,
        "registered_at": pipeline_state.registered_at,
    }


@ON_SQLITE
def test_a_list_says_how_far_it_is(world: World, store: SqlStore, ask: Ask):
    world.task()
    assert ask(queries.position, "tasks") == 1
    assert ask(queries.position, "nothing") == 0


# Cost


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "task_row_newest_1"),
        ({"project": "iris"}, "task_row_project_1"),
        ({"name": "train"}, "task_row_name_1"),
        ({"statuses": ["queued"]}, "task_row_status_1"),
        ({"parent": "p"}, "task_row_parent_1"),
        ({"run_id": "r"}, "task_row_run_1"),
        ({"tags": ["x"]}, "sqlite_autoindex_task_tag_1"),
    ],
    ids=str,
)
def test_lists_are_read_from_their_index(sqlite_url: str, wanted: dict[str, Any], index: str):
    assert index in plan(sqlite_url, lambda connection: queries.tasks(connection, **wanted))


def test_counts_are_read_from_their_index(sqlite_url: str):
    assert "task_row_queued_1" in plan(sqlite_url, queries.queues)


def plan(url: str, query: Callable[..., Any]) -> str:
    """How SQLite would answer the first statement of `query`."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    with closing(open_store(url)) as store:
        Runner(store).catch_up()
        with store.database.reading() as connection:
            event.listen(connection, "before_cursor_execute", note)
            query(connection)
            event.remove(connection, "before_cursor_execute", note)
            statement, parameters = asked[0]
            return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())


@ON_SQLITE
def test_text_is_never_part_of_a_statement(world: World, store: SqlStore, ask: Ask):
    world.task("'; DROP TABLE task_row; --")
    assert names(ask(queries.tasks, name="'; DROP TABLE task_row; --", step=None)) == ["'; DROP TABLE task_row; --"]
    with store.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM task_row")).scalar() == 1
