"""A run: which steps start, which never will, and how it ends, for every way its steps can end."""

from typing import Any

import pytest

from domain.content import Content
from domain.lifecycle import RUN_ENDED
from domain.pipeline import ContinueBehaviour
from domain.refused import Invalid, Refused
from domain.run import (
    Run,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    RunStopRequested,
    StartRun,
    StopRun,
    command,
)
from domain.task import TaskCreated, TaskEnqueued, TaskStopped, TaskStopRequested
from tests.domain.play import RUN_ID, Play, pipeline, step

CHAIN = {"a": [], "b": ["a"], "c": ["b"]}
FAN_OUT = {"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}
JOIN = {"a": [], "b": [], "c": ["a", "b"]}
DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
APART = {"a": [], "b": ["a"], "x": [], "y": ["x"]}


def letters(text: str) -> dict[str, str]:
    """{"a": "completed", "b": "skipped"} of "a completed, b skipped"."""
    return dict(pair.split() for pair in text.split(", "))


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


# What a failure means

LENIENT = {"continue_on_fail": True, "continue_on_abort": True}
STRICT = {"continue_on_fail": False, "continue_on_abort": False}
SKIP = {"skip_children_on_fail": True, "skip_children_on_abort": True}
RUN_THEM = {"skip_children_on_fail": False, "skip_children_on_abort": False}
CROSSED = {"continue_on_fail": True, "continue_on_abort": False, "skip_children_on_fail": False}


@pytest.mark.parametrize(
    ("behaviour", "move", "child", "status"),
    [
        (None, "a fails", "skipped", "failed"),
        (None, "a stops", "skipped", "failed"),
        ({}, "a fails", "skipped", "completed"),
        ({}, "a stops", "skipped", "completed"),
        (STRICT | SKIP, "a fails", "skipped", "failed"),
        (STRICT | SKIP, "a stops", "skipped", "failed"),
        (LENIENT | SKIP, "a fails", "skipped", "completed"),
        (LENIENT | SKIP, "a stops", "skipped", "completed"),
        (STRICT | RUN_THEM, "a fails", "completed", "failed"),
        (STRICT | RUN_THEM, "a stops", "completed", "failed"),
        (LENIENT | RUN_THEM, "a fails", "completed", "completed"),
        (LENIENT | RUN_THEM, "a stops", "completed", "completed"),
        # The flags for a failure say nothing about a stop.
        (CROSSED, "a fails", "completed", "completed"),
        (CROSSED, "a stops", "skipped", "failed"),
    ],
)
def test_continue_behaviour_says_what_a_failure_means(behaviour, move, child, status):
    said = None if behaviour is None else ContinueBehaviour(**behaviour)
    play = Play(pipeline([step("a", continue_behaviour=said), step("b", "a")])).play(move)
    if child == "completed":
        play.complete("b")
    assert (play.step("b").status, play.run.status) == (child, status)


def test_a_join_whose_parents_may_fail_starts_when_the_last_one_has_ended():
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    steps = [step("a", continue_behaviour=may_fail), step("b", continue_behaviour=may_fail), step("c", "a", "b")]
    play = Play(pipeline(steps)).play("a fails")
    assert play.step("c").status == "pending"
    play.play("b fails, c completes")
    assert play.run.status == "completed"


def test_a_skip_is_passed_on_whatever_the_flags_say():
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    play = Play(pipeline([step("a"), step("b", "a", continue_behaviour=may_fail), step("c", "b")])).play("a fails")
    assert play.statuses == letters("a failed, b skipped, c skipped")


@pytest.mark.parametrize(
    ("moves", "statuses", "status", "reason"),
    [
        pytest.param(
            "a fails",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="what is queued is stopped",
        ),
        pytest.param(
            "x begins, a fails", "a failed, b skipped, x running, y skipped", "running", "", id="what runs is asked"
        ),
        pytest.param(
            "x begins, a fails, x stops",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="and its stop ends the run",
        ),
        pytest.param(
            "x begins, a fails, x completes",
            "a failed, b skipped, x completed, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="or its end, whatever it is",
        ),
        pytest.param(
            "x begins, a fails, x fails",
            "a failed, b skipped, x failed, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="the first failure is the reason",
        ),
        pytest.param(
            "x begins, a fails, x lost",
            "a failed, b skipped, x stopped, y skipped",
            "failed",
            "step 'a' failed: exit code 3",
            id="a lost step does not start again",
        ),
        pytest.param("a stops", "a stopped, b skipped, x queued, y pending", "running", "", id="a stop aborts nothing"),
        pytest.param(
            "a completes, b fails",
            "a completed, b failed, x stopped, y skipped",
            "failed",
            "step 'b' failed: exit code 3",
            id="a failure later on",
        ),
    ],
)
def test_abort_on_failure_ends_the_others(moves, statuses, status, reason):
    play = Play(pipeline(APART, abort_on_failure=True)).play(moves)
    assert play.statuses == letters(statuses)
    assert (play.run.status, play.run.reason) == (status, reason)


def test_abort_on_failure_lets_a_failure_pass_that_the_author_allows():
    steps = [step("a", continue_behaviour=ContinueBehaviour()), step("b", "a"), step("x")]
    play = Play(pipeline(steps, abort_on_failure=True)).play("a fails, x completes")
    assert (play.run.status, play.statuses) == ("completed", letters("a failed, b skipped, x completed"))


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_step_that_fails_at_launch_stops_the_one_just_enqueued_beside_it(broken_first):
    """Both are launched by one decision; the abort that follows must see the other one queued, not pending."""
    broken = step("broken", queue="nowhere")
    steps = [broken, step("fine")] if broken_first else [step("fine"), broken]
    play = Play(pipeline([*steps, step("after", "fine")], abort_on_failure=True))
    assert play.statuses == {"broken": "failed", "fine": "stopped", "after": "skipped"}
    assert [fact.step for fact in play.of_type(TaskStopped)] == ["fine"]
    assert (play.run.status, play.run.reason) == ("failed", f"step 'broken' failed: {play.step('broken').reason}")


@pytest.mark.parametrize(
    ("abort", "statuses"),
    [(False, "a completed, b failed, c failed, d skipped"), (True, "a completed, b failed, c failed, d skipped")],
)
def test_children_that_fail_at_launch_end_the_run(abort, statuses):
    steps = [step("a"), step("b", "a", queue="nowhere"), step("c", "a", queue="nowhere"), step("d", "b", "c")]
    play = Play(pipeline(steps, abort_on_failure=abort)).play("a completes")
    assert (play.statuses, play.run.status) == (letters(statuses), "failed")


@pytest.mark.parametrize("lenient_first", [True, False])
def test_a_join_of_two_parents_that_fail_at_launch_together_hears_both(lenient_first):
    """When the first is decided the second has ended too, and it is the second that keeps the join from running."""
    may_fail = ContinueBehaviour(skip_children_on_fail=False)
    parents = [step("a", queue="nowhere", continue_behaviour=may_fail), step("b", queue="nowhere")]
    play = Play(pipeline([*(parents if lenient_first else reversed(parents)), step("c", "a", "b")]))
    assert (play.step("c").status, play.step("c").reason) == ("skipped", "step 'b' failed")


# Stop


@pytest.mark.parametrize(
    ("moves", "statuses", "status"),
    [
        pytest.param("stop", "a stopped, b skipped, c skipped", "stopped", id="queued"),
        pytest.param(
            "a begins, stop", "a running, b skipped, c skipped", "running", id="running: it may save its work"
        ),
        pytest.param("a begins, stop, a stops", "a stopped, b skipped, c skipped", "stopped", id="and stops"),
        pytest.param("a begins, stop, a completes", "a completed, b skipped, c skipped", "stopped", id="or completes"),
        pytest.param("a begins, stop, a fails", "a failed, b skipped, c skipped", "stopped", id="or fails"),
        pytest.param("a begins, stop, a lost", "a stopped, b skipped, c skipped", "stopped", id="or is lost"),
        pytest.param("a lost, stop", "a stopped, b skipped, c skipped", "stopped", id="between two attempts"),
        pytest.param("a completes, stop", "a completed, b stopped, c skipped", "stopped", id="in the middle"),
        pytest.param("a begins, a asked, stop", "a running, b skipped, c skipped", "running", id="asked before"),
        pytest.param("a begins, stop, stop, a stops", "a stopped, b skipped, c skipped", "stopped", id="twice"),
    ],
)
def test_a_stopped_run_ends_when_nothing_runs_any_more(moves, statuses, status):
    play = Play(pipeline(CHAIN)).play(moves)
    assert (play.statuses, play.run.status) == (letters(statuses), status)


def test_a_step_is_asked_to_stop_once():
    play = Play(pipeline(CHAIN)).play("a begins, a asked, stop, stop")
    assert len(play.of_type(TaskStopRequested)) == 1
    assert len(play.of_type(RunStopRequested)) == 1


def test_who_stops_a_run_says_why_and_every_step_repeats_it():
    play = Play(pipeline(CHAIN))
    play.stop("budget is used up")
    assert (play.run.status, play.run.reason) == ("stopped", "budget is used up")
    assert set(play.reasons.values()) == {"the run was stopped: budget is used up"}


@pytest.mark.parametrize(
    ("reason", "said"), [("budget is used up", "budget is used up"), ("", "the run was stopped")], ids=["why", "no why"]
)
def test_a_stop_may_be_called_a_failure(reason, said):
    play = Play(pipeline(CHAIN)).play("a begins")
    play.stop(reason, outcome="failed")
    assert (play.run.status, play.run.ending) == ("running", "failed")
    play.complete("a")
    assert (play.run.status, play.run.reason) == ("failed", said)


def test_a_failure_before_a_stop_called_a_failure_is_the_reason():
    play = Play(pipeline(APART)).play("a fails")
    play.stop("budget is used up", outcome="failed")
    assert (play.run.status, play.run.reason) == ("failed", "step 'a' failed: exit code 3")


def test_the_outcome_of_a_stop_is_stopped_or_failed():
    play = Play(pipeline(CHAIN))
    with pytest.raises(Invalid, match="ends stopped or failed, not 'completed'") as invalid:
        play.stop(outcome="completed")
    assert invalid.value.where == "outcome"


@pytest.mark.parametrize(("outcome", "status"), [("stopped", "stopped"), ("failed", "failed")])
def test_a_draft_that_is_stopped_ends_with_all_its_steps_skipped(outcome, status):
    play = Play(pipeline(CHAIN), draft=True)
    play.stop("not wanted", outcome=outcome)
    assert (play.run.status, play.run.reason, play.run.open) == (status, "not wanted", 0)
    assert set(play.statuses.values()) == {"skipped"}
    assert play.run.started_at is None


@pytest.mark.parametrize("status", sorted(RUN_ENDED))
@pytest.mark.parametrize(
    ("given", "verb"), [(StopRun(), "Cannot stop run 'iris #1': it is {} already"), (StartRun(), "Cannot start run")]
)
def test_a_run_that_has_ended_is_neither_stopped_nor_started(status, given, verb):
    moves = {"completed": "a completes", "failed": "a fails", "stopped": "stop"}
    play = Play(pipeline({"a": []})).play(moves[status])
    before = len(play.log)
    with pytest.raises(Refused, match=verb.format(status)):
        play.command(given)
    assert len(play.log) == before


RUNNING = Play(pipeline(CHAIN)).run


@pytest.mark.parametrize(
    ("status", "given", "then"),
    [
        ("created", StartRun(), [RunStarted()]),
        ("queued", StartRun(), [RunStarted()]),
        ("running", StartRun(), []),
        ("created", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("queued", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("running", StopRun(reason="r"), [RunStopRequested(reason="r")]),
        ("paused", StopRun(reason="r", outcome="failed"), [RunStopRequested(reason="r", outcome="failed")]),
    ],
)
def test_a_command_in_every_state(status, given, then):
    fields: Any = {name: getattr(RUNNING, name) for name in Run.__slots__} | {"status": status}
    assert command(given, Run(**fields)) == then


def test_a_paused_run_is_not_started():
    fields: Any = {name: getattr(RUNNING, name) for name in Run.__slots__} | {"status": "paused"}
    with pytest.raises(Refused, match="Cannot start run 'iris #1' that is paused: it must be created or queued"):
        command(StartRun(), Run(**fields))


# Drafts, reasons, what a run knows


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
