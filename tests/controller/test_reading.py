"""One task or one run: as of now, as of any moment before, and read on from where the last look ended."""

import pytest
from msgspec.structs import replace

from controller.reading import Reader
from domain.content import Content, Edit, Parameter
from domain.refused import Unknown
from domain.run import StopRun
from domain.task import EnqueueTask, TaskEdited
from eventstore.store import NewEvent, StoreBroken, append
from tests.controller.server import BY, Server, new_id, plain, step


@pytest.fixture
def run_id(server: Server) -> str:
    """A run of two steps that has completed: 11 events."""
    run_id = server.submit({"a": [], "b": ["a"]})
    server.agent().work()
    return run_id


# A run


def test_a_run_is_seen_as_of_each_of_its_versions(server, run_id):
    now = server.run(run_id)
    assert (now.status, now.version) == ("completed", 11)
    seen = [server.reader.run(run_id, at=version) for version in range(1, 12)]
    assert [run.version for run in seen] == list(range(1, 12))
    assert [run.status for run in seen] == ["created", *["running"] * 9, "completed"]
    assert [run.step("a").status for run in seen] == [
        *["pending"] * 3,
        "queued",
        "running",
        *["completed"] * 6,
    ]
    assert plain(seen[-1]) == plain(now) == plain(server.run(run_id))


def test_it_does_not_matter_in_which_order_the_moments_are_looked_at(server, run_id):
    for version in (11, 3, 7, 1, 11, 5):
        assert plain(server.reader.run(run_id, at=version)) == plain(Reader(server.store).run(run_id, at=version))


def test_a_later_moment_than_the_last_is_now(server, run_id):
    assert server.reader.run(run_id, at=999).version == 11


def test_what_was_looked_at_before_is_read_on(server):
    run_id = server.submit({"a": [], "b": ["a"]})
    agent = server.agent()
    assert server.run(run_id).version == 4
    claim = agent.claim()
    assert server.run(run_id).version == 5
    agent.end(claim)
    assert server.statuses(run_id) == {"a": "completed", "b": "queued"}
    assert plain(server.run(run_id)) == plain(Reader(server.store).run(run_id))


def test_it_is_read_on_and_not_read_anew(server, run_id, monkeypatch):
    server.run(run_id)
    asked = []
    run = server.store.run
    monkeypatch.setattr(server.store, "run", lambda *_, **fields: asked.append(fields) or run(run_id, **fields))
    server.run(run_id)
    assert asked == [{"after": 11, "upto": None}]


def test_states_tell_each_event_with_the_run_before_and_after_it(server, run_id):
    states = list(server.reader.states(run_id))
    assert [row.type for row, _, _ in states][:5] == [
        "RunCreated",
        "RunStarted",
        "TaskCreated",
        "TaskEnqueued",
        "TaskStarted",
    ]
    assert [(before.version, after.version) for _, before, after in states] == [(n, n + 1) for n in range(11)]
    assert states[0][1].status == "absent"
    assert plain(states[-1][2]) == plain(server.run(run_id))
    assert len(list(server.reader.states(run_id, upto=4))) == 4


def test_facts_come_by_run_version_from_anywhere(server, run_id):
    facts = list(server.reader.facts(run_id, after=2, upto=5))
    assert [(row.run_version, fact.run_version, fact.step) for row, fact in facts] == [
        (3, 3, "a"),
        (4, 4, "a"),
        (5, 5, "a"),
    ]
    assert list(server.reader.facts(run_id, after=11)) == []


def test_the_version_at_a_moment_is_the_last_one_up_to_it(server, clock):
    clock.passes(10)
    before = clock.database()
    clock.passes(10)
    run_id = server.submit({"a": []})
    agent = server.agent()
    clock.passes(10)
    between = clock.database() - 1
    agent.work()
    rows = list(server.store.run(run_id))

    def at(moment: int) -> int:
        return server.reader.version_at(run_id, lambda row: row.recorded_at <= moment)

    assert (at(before), at(between), at(clock.database())) == (0, 4, len(rows))
    for row in rows:
        assert server.reader.version_at(run_id, lambda one, at=row: one.position <= at.position) == row.run_version


@pytest.mark.parametrize("at", [None, 0, 3])
def test_a_run_that_is_not_there_is_unknown(server, run_id, at):
    missing = run_id if at == 0 else "f" * 32
    with pytest.raises(Unknown, match="no run"):
        server.reader.run(missing, at=at)
    for ask in (server.reader.facts, server.reader.states):
        with pytest.raises(Unknown, match="no run"):
            list(ask("f" * 32))


def test_a_run_is_told_from_a_task(server, run_id):
    assert server.reader.is_run(run_id)
    assert not server.reader.is_run(server.of_step(run_id, "a").id)
    assert not server.reader.is_run("f" * 32)


# A task


def test_a_task_is_seen_as_of_each_of_its_versions(server):
    task_id = server.create()
    server.do(task_id, TaskEdited(name="second"))
    server.do(task_id, EnqueueTask(queue="gpu"))
    server.do(task_id, TaskEdited(name="third"))
    assert server.task(task_id).version == 4
    seen = [server.reader.task(task_id, upto=version) for version in (1, 2, 3, 4, 99, 2)]
    assert [(task.name, task.status, task.version) for task in seen] == [
        ("train", "created", 1),
        ("second", "created", 2),
        ("second", "queued", 3),
        ("third", "queued", 4),
        ("third", "queued", 4),
        ("second", "created", 2),
    ]


@pytest.mark.parametrize("upto", [None, 0, 5])
def test_a_task_that_is_not_there_is_unknown(server, upto):
    task_id = server.create() if upto == 0 else "f" * 32
    with pytest.raises(Unknown, match="no task"):
        server.reader.task(task_id, upto=upto)


def test_a_content_is_what_was_given_then_the_overrides_then_the_edits(server):
    given = Content(hyperparameters={"General": {"a": Parameter(1), "b": Parameter(1), "c": Parameter(1)}})
    run_id = server.submit([step("a", task=given, parameter_override={"General/b": 2, "General/c": 2})])
    task = server.of_step(run_id, "a")
    server.agent().claim()
    server.do(task.id, TaskEdited(edit=Edit(hyperparameters={"General": {"c": Parameter(3)}}), attempt=1))
    now = server.reader.content_of(server.task(task.id)).hyperparameters["General"]
    assert {name: one.value for name, one in now.items()} == {"a": 1, "b": 2, "c": 3}
    then = server.reader.content_of(task).hyperparameters["General"]
    assert {name: one.value for name, one in then.items()} == {"a": 1, "b": 2, "c": 2}


def test_it_reads_what_others_have_written(server):
    here, there = server, server.restarted()
    run_id = here.submit({"a": [], "b": ["a"]})
    assert there.run(run_id).status == "running"
    here.agent().work()
    assert there.run(run_id).status == "completed"
    assert there.of_step(run_id, "b").status == "completed"


# What cannot be read


def test_what_is_kept_under_no_digest_is_said_to_be_missing(server):
    task = server.task(server.create())
    with pytest.raises(StoreBroken, match=f"content {'0' * 64} is missing"):
        server.reader.content_of(replace(task, content="0" * 64))


def test_a_run_that_begins_with_anything_else_is_broken(server):
    run_id = new_id()
    alien = NewEvent(stream=f"run-{run_id}", type="RunStarted", data="{}", run_id=run_id)
    append(server.store, [alien]).result()
    for ask in (server.reader.run, lambda id: list(server.reader.states(id))):
        with pytest.raises(StoreBroken, match="begins with RunStarted"):
            ask(run_id)
    with pytest.raises(StoreBroken, match="begins with RunStarted"):
        server.controller.run(run_id, StopRun(), BY)


def test_an_event_that_is_not_known_is_never_skipped(server):
    task_id = server.create()
    alien = NewEvent(stream=f"task-{task_id}", type="TaskBlessed", data="{}")
    append(server.store, [alien]).result()
    with pytest.raises(StoreBroken, match="written by a newer program"):
        server.reader.task(task_id)
