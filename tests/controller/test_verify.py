"""Is the record true? What really happened verifies; whoever changes one row of it is found out, and the row named."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from controller.verify import Decide, Verified, verify_run, work_rows
from domain import run as runs
from domain.content import Content, Edit, Parameter
from domain.pipeline import ContinueBehaviour
from domain.refused import Unknown
from domain.run import Decided, Fact, Run, StartRun, StopRun
from domain.run_events import RunFailed
from domain.task import ArtifactAdded, EndTask, LoseTask, ModelAdded, PublishTask, StopTask, TaskCreated, TaskEdited
from eventstore.leaf import leaf_hash
from eventstore.sql import SqlStore, open_store
from tests.controller.server import BY, Server, claimed, ended, name_of, pipeline, step


@pytest.fixture
def server(sqlite_url: str) -> Iterator[Server]:
    """On a file, where rows can be changed by hand."""
    with closing(open_store(sqlite_url)) as store:
        yield Server(store)


def tampered(server: Server, sql: str, *fields: Any) -> None:
    """Change the database as somebody would who takes the triggers away first."""
    assert isinstance(server.store, SqlStore)
    with server.store.database.writing() as connection:
        for [name] in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        changed = connection.exec_driver_sql(sql, fields)
        assert changed.rowcount == 1


def verified(server: Server, run_id: str, **fields: Any) -> Verified:
    return verify_run(server.store, run_id, **fields)


def named(found: Verified) -> list[tuple[str, str]]:
    return [(difference.what, difference.where) for difference in found.differences]


# What really happened


def chain(server: Server) -> str:
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    server.agent().work()
    return run_id


def fan_out(server: Server) -> str:
    run_id = server.submit({"a": [], **{f"t{n}": ["a"] for n in range(9)}, "join": [f"t{n}" for n in range(9)]})
    first, second = server.agent("h:0"), server.agent("h:1")
    first.end(first.claim())
    some, rest = first.ask(free=5).claims, second.ask(free=9).claims
    first.ask(*[ended(claim) for claim in some], free=0)
    second.ask(*[ended(claim) for claim in rest], free=0)
    second.work()
    return run_id


def failures(server: Server) -> str:
    on = ContinueBehaviour(skip_children_on_fail=False)
    steps = [step("a"), step("b", continue_behaviour=on), step("c", "a"), step("d", "b"), step("e", "c", "d")]
    run_id = server.submit(steps)
    server.agent().work(lambda claim: "failed" if name_of(claim) in "ab" else "completed")
    return run_id


def abort(server: Server) -> str:
    run_id = server.submit(pipeline({"a": [], "b": [], "c": [], "d": ["a"]}, abort_on_failure=True))
    first, second = server.agent("h:0"), server.agent("h:1")
    claim, other = first.claim(), second.claim()
    first.end(claim, "failed")
    second.end(other, "stopped")
    return run_id


def stop(server: Server) -> str:
    run_id = server.submit({"a": [], "b": [], "c": ["a"]})
    agent = server.agent()
    claim = agent.claim()
    server.controller.run(run_id, StopRun(reason="enough"), BY)
    agent.end(claim, "stopped")
    return run_id


def stopped_draft(server: Server) -> str:
    run_id = server.submit({"a": []}, draft=True)
    server.controller.run(run_id, StopRun(), BY)
    return run_id


def draft(server: Server) -> str:
    run_id = server.submit({"a": [], "b": ["a"]}, draft=True)
    server.controller.run(run_id, StartRun(), BY)
    server.agent().work()
    return run_id


def missing_reference(server: Server) -> str:
    asks = {"General/x": "${a.artifacts.nothing.url}"}
    run_id = server.submit([step("a"), step("b", "a", parameter_override=asks), step("c", "b")])
    server.agent().work()
    return run_id


def references(server: Server) -> str:
    given = Content(hyperparameters={"General": {"lr": Parameter(0.1)}})
    asks = {
        "General/data": "${a.artifacts.data.url}",
        "General/model": "${a.models.output.0.name}",
        "General/lr": "at ${a.parameters.General/lr} of ${pipeline.rate}",
        "General/id": "${a.id}",
    }
    steps = [step("a", task=given), step("b", task=given, parameter_override=asks)]
    run_id = server.submit(pipeline(steps, defaults={"rate": {"nested": [1, 2.5, None]}}))
    agent = server.agent()
    claim = agent.claim()
    task_id = claimed(claim)
    server.do(task_id, ArtifactAdded(name="data", url="s3://x", attempt=1, metadata={"rows": 3}))
    server.do(task_id, ModelAdded(id="m", kind="output", name="net", tags=["best"]))
    server.do(task_id, TaskEdited(edit=Edit(hyperparameters={"General": {"lr": Parameter(0.5)}}), attempt=1))
    agent.end(claim)
    agent.work()
    return run_id


def several_reports(server: Server) -> str:
    run_id = server.submit({"a": [], "b": [], "c": ["a"], "d": ["b"], "e": ["c", "d"]})
    agent = server.agent()
    claims = agent.ask(free=9).claims
    while claims:
        reports = [ended(claim, "failed" if claim.task.name == "c" else "completed") for claim in claims]
        claims = agent.ask(*reports, free=9).claims
    return run_id


def lost_attempts(server: Server) -> str:
    run_id = server.submit([step("a"), step("b", on_lost="fail"), step("c", "a"), step("d", "b")])
    agent = server.agent()
    agent.ask(free=2)
    for _ in range(3):
        agent = agent.started_anew()
        agent.ask(free=1)
    agent.started_anew().work()
    return run_id


def by_hand(server: Server) -> str:
    """People act on the steps' tasks themselves."""
    run_id = server.submit({"a": [], "b": [], "c": ["a"], "d": []})
    agent = server.agent()
    claim = agent.claim()
    server.do(claimed(claim), EndTask(status="completed", reason="by hand"))
    server.do(server.of_step(run_id, "b").id, StopTask(reason="no"))
    server.do(server.of_step(run_id, "d").id, StopTask(now=True))
    agent.work()
    server.do(server.of_step(run_id, "c").id, PublishTask())
    return run_id


def still_running(server: Server) -> str:
    run_id = server.submit({"a": [], "b": [], "c": ["a"]})
    agent = server.agent()
    agent.end(agent.claim())
    server.do(claimed(agent.claim()), LoseTask(attempt=1, reason="gone"))
    return run_id


HAPPENED = [chain, fan_out, failures, abort, stop, stopped_draft, draft, missing_reference, references, several_reports]
HAPPENED += [lost_attempts, by_hand, still_running]


@pytest.mark.parametrize("happened", HAPPENED, ids=lambda given: given.__name__)
def test_what_really_happened_verifies(server, happened: Callable[[Server], str]):
    run_id = happened(server)
    found = verified(server, run_id)
    assert found.differences == []
    assert (found.ok, found.run_id, found.events) == (True, run_id, server.run(run_id).version)
    assert found.decisions == len([row for row in server.rows("decision") if row["run_id"] == run_id])
    server.check()


def test_a_chain_has_one_decision_a_step_and_one_for_the_start(server):
    found = verified(server, chain(server))
    assert (found.events, found.decisions) == (2 + 3 * 4 + 1, 4)


def test_a_run_that_is_not_there_cannot_be_verified(server):
    with pytest.raises(Unknown, match="no run"):
        verified(server, "f" * 32)


@pytest.mark.parametrize("looked_at", ["decision", "work"])
def test_a_run_verifies_while_it_goes_on(server, monkeypatch, looked_at):
    """Between two looks of the verifier the run goes to its end."""
    run_id = server.submit({"a": [], "b": ["a"], "c": ["b"]})
    agent = server.agent()
    select = server.store.select

    def busy(table: str, **equals: Any) -> Any:
        if table == looked_at:
            assert agent.work()
        return select(table, **equals)

    monkeypatch.setattr(server.store, "select", busy)
    found = verified(server, run_id)
    assert (found.differences, found.events) == ([], 4)
    assert server.run(run_id).status == "completed"


# What was changed afterwards


CHANGES = {
    "data": "UPDATE event SET data = replace(data, 'default', 'other') WHERE run_id = ? AND run_version = 4",
    "data that no program wrote": "UPDATE event SET data = 'x' WHERE run_id = ? AND run_version = 4",
    "its type": "UPDATE event SET type = 'TaskBlessed' WHERE run_id = ? AND run_version = 4",
    "its time": "UPDATE event SET recorded_at = recorded_at - 1 WHERE run_id = ? AND run_version = 4",
    "who did it": "UPDATE event SET meta = '{}' WHERE run_id = ? AND run_version = 4",
    "what it is about": "UPDATE event SET subject = 'b' WHERE run_id = ? AND run_version = 4",
    "its states": "UPDATE event SET to_state = 'stopped' WHERE run_id = ? AND run_version = 4",
    "its hash": "UPDATE event SET leaf = zeroblob(32) WHERE run_id = ? AND run_version = 4",
}


@pytest.mark.parametrize("sql", CHANGES.values(), ids=CHANGES)
def test_a_changed_event_is_named(server, sql):
    run_id = chain(server)
    tampered(server, sql, run_id)
    found = verified(server, run_id)
    assert [difference.what for difference in found.differences] == ["events"]
    assert found.differences[0].where.startswith("event 4 (Task")
    assert "changed after it was written" in found.differences[0].message


@pytest.mark.parametrize("version", [1, 5, 7])
def test_a_missing_event_is_named(server, version):
    run_id = chain(server)
    tampered(server, "DELETE FROM event WHERE run_id = ? AND run_version = ?", run_id, version)
    [difference] = verified(server, run_id).differences
    assert (difference.what, difference.message) == ("events", f"event {version} of the run is missing")


def test_a_missing_end_is_named(server):
    run_id = chain(server)
    tampered(server, "DELETE FROM event WHERE run_id = ? AND type = 'RunCompleted'", run_id)
    found = verified(server, run_id)
    assert not found.ok
    assert "the record ends" in found.differences[0].message


def test_an_event_that_says_it_led_elsewhere_is_named_though_its_hash_is_right(server):
    """As a program would write it that gets its own states wrong."""
    run_id = chain(server)
    for column, wrong in (("to_state", "failed"), ("from_state", "created")):
        row = next(server.store.run(run_id, after=4, upto=5))
        rewrite(server, row._replace(**{column: wrong}))
        [difference] = verified(server, run_id).differences
        assert difference.where.startswith("event 5 (TaskStarted")
        rewrite(server, row)
    assert verified(server, run_id).ok


def rewrite(server: Server, row: Any) -> None:
    sql = "UPDATE event SET from_state = ?, to_state = ?, data = ?, leaf = ? WHERE position = ?"
    tampered(server, sql, row.from_state, row.to_state, row.data, leaf_hash(*row[:-1]), row.position)


def test_an_event_that_does_not_follow_from_its_cause_is_named_though_its_hash_is_right(server):
    run_id = chain(server)
    [row] = [row for row in server.store.run(run_id) if row.type == "TaskEnqueued" and row.subject == "b"]
    rewrite(server, row._replace(data=row.data.replace("default", "gpu")))
    found = verified(server, run_id)
    assert found.differences[0].where == (
        f"event {row.run_version} (TaskEnqueued on {row.stream}, version 2, position {row.position})"
    )
    assert "what follows from event 6 (TaskCompleted)" in found.differences[0].message
    assert found.differences[0].what == "events"


DECISIONS = {
    "gone": ("DELETE FROM decision WHERE run_id = ? AND from_version = ?", "has no record"),
    "about other events": (
        "UPDATE decision SET outputs = 'forged' WHERE run_id = ? AND from_version = ?",
        "about other events",
    ),
    "ending later": (
        "UPDATE decision SET upto_version = upto_version + 1 WHERE run_id = ? AND from_version = ?",
        "ends elsewhere",
    ),
    "covering the next one": (
        "UPDATE decision SET upto_version = upto_version + 4 WHERE run_id = ? AND from_version = ?",
        "ends elsewhere",
    ),
    "ending earlier": (
        "UPDATE decision SET upto_version = upto_version - 1 WHERE run_id = ? AND from_version = ?",
        "ends elsewhere",
    ),
}


@pytest.mark.parametrize("version", [2, 6, 14], ids=["first", "in the middle", "last"])
@pytest.mark.parametrize(("sql", "message"), DECISIONS.values(), ids=DECISIONS)
def test_a_changed_decision_is_named(server, version, sql, message):
    run_id = chain(server)
    assert [row["from_version"] for row in server.rows("decision")] == [2, 6, 10, 14]
    tampered(server, sql, run_id, version)
    found = verified(server, run_id)
    assert named(found) == [("decisions", f"decision from {version}")]
    assert message in found.differences[0].message


def test_a_decision_that_was_never_made_is_named(server):
    run_id = chain(server)
    for version in (5, 99):
        tampered(server, "INSERT INTO decision VALUES (?, ?, 9, '1', 'x')", run_id, version)
        found = verified(server, run_id)
        assert ("decisions", f"decision from {version}") in named(found)
        assert not found.ok


def test_a_decision_of_other_rules_is_compared_by_its_events_only(server):
    run_id = chain(server)
    tampered(server, "UPDATE decision SET code = '0', outputs = 'old' WHERE run_id = ? AND from_version = 6", run_id)
    assert verified(server, run_id).ok


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE content SET data = replace(data, '0.1', '0.2') WHERE digest = ?",
        "UPDATE content SET data = 'x' WHERE digest = ?",
        "DELETE FROM content WHERE digest = ?",
    ],
    ids=["changed", "unreadable", "gone"],
)
@pytest.mark.parametrize("which", ["definition", "template"])
def test_a_changed_content_is_named(server, which, sql):
    given = Content(hyperparameters={"General": {"lr": Parameter(0.1)}})
    run_id = server.submit([step("a", task=given, parameter_override={"General/lr": 0.1})])
    server.agent().work()
    run = server.run(run_id)
    digest = run.definition if which == "definition" else run.plan.definition.steps[0].content
    tampered(server, sql, digest)
    [difference] = verified(server, run_id).differences
    assert (difference.what, difference.where) == ("events", f"content {digest}")


# Work rows


def half_done(server: Server) -> str:
    """One step queued, one done, one running."""
    run_id = server.submit({"a": [], "b": ["a"], "c": []})
    agent = server.agent()
    agent.end(agent.claim())
    agent.claim()
    assert server.statuses(run_id) == {"a": "completed", "b": "queued", "c": "running"}
    return run_id


def test_a_missing_or_wrong_work_row_is_named(server):
    run_id = half_done(server)
    task_id = server.of_step(run_id, "b").id
    for sql in (
        "UPDATE work SET queue = 'gpu' WHERE task_id = ?",
        "UPDATE work SET priority = 5, queue = 'default' WHERE task_id = ?",
        "UPDATE work SET position = 1, priority = 0 WHERE task_id = ?",
        "DELETE FROM work WHERE task_id = ?",
    ):
        tampered(server, sql, task_id)
        found = verified(server, run_id)
        assert named(found) == [("work", f"work row of task {task_id}")]
        assert "not ready as it should be" in found.differences[0].message


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_work_row_too_many_is_named(server, name):
    run_id = half_done(server)
    task_id = server.of_step(run_id, name).id
    tampered(server, "INSERT INTO work VALUES (?, 0, 'default', 0, 1, ?)", task_id, run_id)
    found = verified(server, run_id)
    assert named(found) == [("work", f"work row of task {task_id}")]
    assert "ready that is not queued" in found.differences[0].message


def test_work_rows_are_a_fold_of_the_log(server):
    half_done(server)
    server.enqueued("alone", queue="gpu", priority=-3)
    rows = sorted(work_rows(server.events()), key=lambda row: str(row["task_id"]))
    assert server.rows("work") == rows
    assert sorted((row["queue"], row["priority"], row["run_id"] is None) for row in rows) == [
        ("default", 0, False),
        ("gpu", -3, True),
    ]


# Changed rules


def but(changed: Callable[[Run, Fact, Sequence[Decided]], Sequence[Decided]]) -> Decide:
    return lambda run, fact: changed(run, fact, runs.decide(run, fact))


def renames(_run: Run, _fact: Fact, decided: Sequence[Decided]) -> Sequence[Decided]:
    """The candidate gives the tasks another project."""
    return [
        Decided(one.stream, TaskCreated(name=one.event.name, project="x", content=one.event.content), one.step)
        if isinstance(one.event, TaskCreated) and one.step == "b"
        else one
        for one in decided
    ]


def forgets(_run: Run, fact: Fact, decided: Sequence[Decided]) -> Sequence[Decided]:
    """The candidate does not go on after step a."""
    return () if fact.step == "a" else decided


def reverses(_run: Run, _fact: Fact, decided: Sequence[Decided]) -> Sequence[Decided]:
    return list(reversed(decided))


def adds(run: Run, fact: Fact, decided: Sequence[Decided]) -> Sequence[Decided]:
    """The candidate ends a run in another way."""
    ends = [Decided(f"run-{run.id}", RunFailed(reason="always"))]
    return ends if run.open == 0 and decided else decided


@pytest.mark.parametrize(
    ("changed", "where", "said"),
    [
        (renames, "event 7 (TaskCreated", "what follows from event 6 (TaskCompleted) is decided otherwise"),
        (forgets, "event 7 (TaskCreated", "followed from event 6"),
        (reverses, "event 3 (TaskCreated", "what follows from event 2 (RunStarted) is decided otherwise"),
        (adds, "event 15 (RunCompleted", "what follows from event 14 (TaskCompleted) is decided otherwise"),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_candidate_that_decides_otherwise_is_shown_the_first_difference(server, changed, where, said):
    run_id = chain(server)
    found = verified(server, run_id, decide=but(changed))
    assert found.differences[0].where.startswith(where)
    assert said in found.differences[0].message
    assert len(found.differences) == 1


def test_a_candidate_that_decides_more_at_the_end_is_told_that_the_record_ends(server):
    run_id = half_done(server)
    last = server.run(run_id).version

    def more(run: Run, fact: Fact, decided: Sequence[Decided]) -> Sequence[Decided]:
        return [Decided(f"run-{run.id}", runs.RunStopRequested())] if fact.run_version == last else decided

    [difference] = verified(server, run_id, decide=but(more)).differences
    assert difference.where == f"after event {last}"
    assert "the rules now decide RunStopRequested, the record ends" in difference.message


def test_a_candidate_that_decides_the_same_verifies(server):
    run_id = failures(server)
    assert verified(server, run_id, decide=but(lambda _run, _fact, decided: decided)).ok
