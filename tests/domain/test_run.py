"""A run: which steps start and which never will, whatever the ends of their parents; and the reasons it gives."""

import pytest
from msgspec.structs import replace

from domain.content import Content
from domain.refused import Refused
from domain.run import Fact, evolve
from domain.run_events import RunCompleted, RunFailed, RunStarted, RunStopped
from domain.task import ArtifactAdded, RemoveArtifacts, TaskCompleted, TaskCreated, TaskEnqueued
from tests.domain.play import APART, CHAIN, DIAMOND, FAN_OUT, JOIN, RUN_ID, Play, letters, pipeline, step


@pytest.mark.parametrize(
    ("steps", "moves", "statuses", "status"),
    [
        pytest.param(CHAIN, "", "a queued, b pending, c pending", "running", id="a chain begins with its first step"),
        pytest.param(CHAIN, "a begins", "a running, b pending, c pending", "running", id="one step runs"),
        pytest.param(CHAIN, "a completes", "a completed, b queued, c pending", "running", id="the next one follows"),
        pytest.param(
            CHAIN,
            "a completes, b completes, c completes",
            "a completed, b completed, c completed",
            "completed",
            id="all",
        ),
        pytest.param(FAN_OUT, "a completes", "a completed, b queued, c queued, d queued", "running", id="fan-out"),
        pytest.param(JOIN, "", "a queued, b queued, c pending", "running", id="a join waits"),
        pytest.param(JOIN, "a completes", "a completed, b queued, c pending", "running", id="for both, the first"),
        pytest.param(JOIN, "b completes", "a queued, b completed, c pending", "running", id="for both, the second"),
        pytest.param(JOIN, "b completes, a completes", "a completed, b completed, c queued", "running", id="a join"),
        pytest.param(
            DIAMOND,
            "a completes, c completes, b completes, d completes",
            "a completed, b completed, c completed, d completed",
            "completed",
            id="a diamond",
        ),
        pytest.param(CHAIN, "a lost", "a queued, b pending, c pending", "running", id="a lost step waits again"),
        pytest.param(
            CHAIN, "a lost, a lost, a completes", "a completed, b queued, c pending", "running", id="its third attempt"
        ),
        pytest.param(
            CHAIN, "a lost, a lost, a lost", "a failed, b skipped, c skipped", "failed", id="lost too often has failed"
        ),
        pytest.param(CHAIN, "a fails", "a failed, b skipped, c skipped", "failed", id="a failure is passed on"),
        pytest.param(CHAIN, "a stops", "a stopped, b skipped, c skipped", "failed", id="so is a stop"),
        pytest.param(
            CHAIN, "a asked", "a stopped, b skipped, c skipped", "failed", id="a queued step is stopped at once"
        ),
        pytest.param(
            CHAIN, "a begins, a asked", "a running, b pending, c pending", "running", id="a running step is asked"
        ),
        pytest.param(
            CHAIN, "a begins, a asked, a lost", "a stopped, b skipped, c skipped", "failed", id="asked, then lost"
        ),
        pytest.param(
            CHAIN, "a begins, a asked, a completes", "a completed, b queued, c pending", "running", id="asked in vain"
        ),
        pytest.param(JOIN, "a fails", "a failed, b queued, c skipped", "running", id="a join is skipped by the first"),
        pytest.param(
            JOIN, "a fails, b completes", "a failed, b completed, c skipped", "failed", id="and stays skipped"
        ),
        pytest.param(JOIN, "a fails, b fails", "a failed, b failed, c skipped", "failed", id="skipped once"),
        pytest.param(
            APART, "a fails", "a failed, b skipped, x queued, y pending", "running", id="another branch goes on"
        ),
        pytest.param(
            APART,
            "a fails, x completes, y completes",
            "a failed, b skipped, x completed, y completed",
            "failed",
            id="to its end",
        ),
        pytest.param(
            DIAMOND,
            "a completes, b fails",
            "a completed, b failed, c queued, d skipped",
            "running",
            id="half a diamond",
        ),
    ],
)
def test_steps_follow_their_parents(steps, moves, statuses, status):
    play = Play(pipeline(steps)).play(moves)
    assert play.statuses == letters(statuses)
    assert play.run.status == status


def test_a_run_from_its_first_event_to_its_last():
    """A plain step costs four events: created, enqueued, started, ended."""
    play = Play(pipeline({"a": [], "b": ["a"]})).play("a completes, b completes")
    assert [(type(fact.event).__name__, fact.step, fact.stream.split("-")[0]) for fact in play.log] == [
        ("RunCreated", None, "run"),
        ("RunStarted", None, "run"),
        ("TaskCreated", "a", "task"),
        ("TaskEnqueued", "a", "task"),
        ("TaskStarted", "a", "task"),
        ("TaskCompleted", "a", "task"),
        ("TaskCreated", "b", "task"),
        ("TaskEnqueued", "b", "task"),
        ("TaskStarted", "b", "task"),
        ("TaskCompleted", "b", "task"),
        ("RunCompleted", None, "run"),
    ]
    assert [fact.run_version for fact in play.log] == list(range(1, 12))
    run = play.run
    assert (run.version, run.open, run.created_at, run.started_at, run.ended_at) == (11, 0, 1e6, 2e6, 11e6)
    assert (play.step("a").queued_at, play.step("a").started_at, play.step("a").ended_at) == (4e6, 5e6, 6e6)


def test_two_parents_that_end_together_start_the_join_once():
    """Each ends in an append of its own, one right after the other: the second one finds the join ready."""
    play = Play(pipeline(JOIN))
    play.begin("a", "b")
    play.complete("a", "b")
    assert [fact.step for fact in play.of_type(TaskCreated)] == ["a", "b", "c"]
    assert [fact.step for fact in play.of_type(TaskEnqueued)] == ["a", "b", "c"]


def test_steps_start_in_the_order_of_their_definition():
    play = Play(pipeline({"z": [], "m": ["z"], "a": ["z"], "k": ["z"]})).play("z completes")
    assert [fact.step for fact in play.of_type(TaskEnqueued)] == ["z", "m", "a", "k"]


def test_a_steps_task_is_a_clone_of_its_template():
    play = Play(pipeline([step("a", on_lost="fail", max_attempts=2, task_name="first", stage="one")]))
    created = play.created("a")
    assert created == TaskCreated(
        name="first",
        project="examples",
        content="7e" * 32,
        parent=RUN_ID,
        cloned_from="b" * 32,
        run_id=RUN_ID,
        step="a",
        on_lost="fail",
        max_attempts=2,
    )
    assert play.log[2].stream.startswith("task-2f"), "it takes its run's slot"


@pytest.mark.parametrize(
    ("definition", "fields", "project"),
    [
        pytest.param({}, {}, "examples", id="the pipeline's, by default"),
        pytest.param({"target_project": "other"}, {}, "other", id="one by name"),
        pytest.param({"target_project": False}, {"content_project": "templates"}, "templates", id="the template's"),
        pytest.param({"target_project": None}, {"content_project": "templates"}, "templates", id="None says it too"),
        pytest.param({"target_project": False}, {}, "examples", id="a template without one"),
        pytest.param({"target_project": "other"}, {"project": "own"}, "own", id="the step's own"),
    ],
)
def test_where_a_steps_task_lives(definition, fields, project):
    assert Play(pipeline([step("a", **fields)], **definition)).created("a").project == project


def test_a_steps_task_has_the_type_that_its_override_says():
    template = Content(type="training")
    overridden = step("b", task_overrides={"type": "testing"})
    play = Play(pipeline([step("a"), overridden]), template)
    assert (play.created("a").type, play.created("b").type) == ("training", "testing")


def test_a_draft_waits_for_its_start():
    play = Play(pipeline(CHAIN), draft=True)
    assert (play.run.status, play.statuses) == ("created", letters("a pending, b pending, c pending"))
    play.start()
    assert (play.run.status, play.statuses) == ("running", letters("a queued, b pending, c pending"))
    play.start()
    assert len(play.of_type(RunStarted)) == 1


@pytest.mark.parametrize(
    ("steps", "moves", "reason", "reasons"),
    [
        pytest.param(CHAIN, "a completes, b completes, c completes", "", {}, id="none when all is well"),
        pytest.param(
            CHAIN,
            "a completes, b fails",
            "step 'b' failed: exit code 3",
            {"b": "exit code 3", "c": "step 'b' failed"},
            id="a failure",
        ),
        pytest.param(
            CHAIN,
            "a fails",
            "step 'a' failed: exit code 3",
            {"a": "exit code 3", "b": "step 'a' failed", "c": "step 'b' was skipped"},
            id="a skip after a skip",
        ),
        pytest.param(
            CHAIN,
            "a stops",
            "step 'a' was stopped",
            {"b": "step 'a' was stopped", "c": "step 'b' was skipped"},
            id="a stop",
        ),
        pytest.param(
            JOIN,
            "b fails, a stops",
            "step 'b' failed: exit code 3",
            {"b": "exit code 3", "c": "step 'b' failed"},
            id="the first of two",
        ),
        pytest.param(
            CHAIN,
            "a lost, a lost, a lost",
            "step 'a' failed: agent lost on attempt 3 of 3",
            {"a": "agent lost on attempt 3 of 3", "b": "step 'a' failed", "c": "step 'b' was skipped"},
            id="a lost agent",
        ),
        pytest.param(CHAIN, "a lost", "", {"a": "agent lost"}, id="why it waits again"),
        pytest.param(CHAIN, "a lost, a begins", "", {}, id="forgotten when it runs"),
        pytest.param(CHAIN, "stop", "", dict.fromkeys("abc", "the run was stopped"), id="a stop without a word"),
    ],
)
def test_every_end_has_an_honest_reason(steps, moves, reason, reasons):
    play = Play(pipeline(steps)).play(moves)
    assert (play.run.reason, play.reasons) == (reason, reasons)


def test_a_skip_names_the_event_that_caused_it():
    play = Play(pipeline(CHAIN)).play("a fails")
    failed = next(fact.run_version for fact in play.log if type(fact.event).__name__ == "TaskFailed")
    skips = [fact for fact in play.log if type(fact.event).__name__ == "StepSkipped"]
    assert [fact.event.cause for fact in skips] == [failed, skips[0].run_version]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_counts_are_of_every_step():
    play = Play(pipeline(DIAMOND)).play("a completes, b begins, c fails")
    assert {status: count for status, count in play.run.counts.items() if count} == {
        "completed": 1,
        "running": 1,
        "failed": 1,
        "skipped": 1,
    }


@pytest.mark.parametrize(
    ("moves", "kind"), [("a completes", RunCompleted), ("a fails", RunFailed), ("stop", RunStopped)]
)
def test_a_run_ends_once(moves, kind):
    play = Play(pipeline({"a": [], "b": []})).play(f"{moves}, b completes" if moves != "stop" else moves)
    assert [type(fact.event) for fact in play.log if isinstance(fact.event, RunCompleted | RunFailed | RunStopped)] == [
        kind
    ]


def test_what_comes_after_the_end_of_a_step_changes_its_status_no_more():
    play = Play(pipeline(CHAIN)).play("a completes")
    before = len(play.log)
    play.artifact("a", "late")
    assert play.step("a").status == "completed"
    assert play.step("a").artifacts["late"].record.name == "late"
    assert len(play.log) == before + 1, "nothing follows from it"


def test_an_artifact_that_was_removed_from_a_step_can_be_referred_to_no_more():
    reads = {"General/x": "${a.artifacts.data.url}"}
    play = Play(pipeline([step("a"), step("b", "a", parameter_override=reads)]))
    play.artifact("a")
    play.task("a", RemoveArtifacts(names=["data"]))
    play.play("a completes")
    assert play.statuses == {"a": "completed", "b": "failed"}
    assert "step 'a' has no artifact 'data'" in play.reasons["b"]


def test_a_run_loses_those_of_its_own_artifacts_that_are_removed_and_refuses_what_it_has_not():
    play = Play(pipeline(CHAIN))
    for name in ("x", "y"):
        play.command(ArtifactAdded(name=name, url="u"))
    play.command(RemoveArtifacts(names=["x"]))
    assert list(play.run.outputs.artifacts) == ["y"]
    with pytest.raises(Refused, match="Cannot remove artifact 'x' of run"):
        play.command(RemoveArtifacts(names=["x"]))


def test_the_first_end_of_a_step_counts_in_whatever_history():
    """No rule of today lets a step end twice; an old log may say so, and is folded all the same."""
    play = Play(pipeline(CHAIN)).play("a fails")
    twice = Fact(play.log[-1].stream, TaskCompleted(attempt=1), at=9, run_version=play.run.version + 1, step="a")
    after = evolve(play.run, twice)
    assert after == replace(play.run, version=twice.run_version)
