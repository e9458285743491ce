"""Attempts of a task: numbered, kept, lost and made again; stopping in two phases; queues."""

from collections.abc import Sequence

import pytest

from domain.task import (
    DequeueTask,
    EndTask,
    LoseTask,
    StartTask,
    StopTask,
    TaskCreated,
    TaskDequeued,
    TaskEnqueued,
    TaskEvent,
    TaskFailed,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
    decide,
)
from tests.domain.histories import ASKED, COMPLETED, CREATED, ENQUEUED, HISTORY, LOST, STARTED, STOPPED, fold


def test_attempts_are_numbered_through_and_all_kept():
    second = TaskStarted(attempt=2, agent_id="a2", session="s2", host="h2")
    task = fold([CREATED, ENQUEUED, STARTED, LOST, second, TaskFailed(attempt=2, reason="exit code 3", exit_code=3)])
    assert [
        (a.number, a.agent_id, a.session, a.host, a.status, a.reason, a.started_at, a.ended_at, a.exit_code)
        for a in task.attempts
    ] == [
        (1, "a1", "s1", "h1", "lost", "agent lost", 3_000_000, 4_000_000, None),
        (2, "a2", "s2", "h2", "failed", "exit code 3", 5_000_000, 6_000_000, 3),
    ]
    assert task.attempt == 2


def test_before_the_first_attempt_its_number_is_0():
    assert fold(HISTORY["queued"]).attempt == 0


def test_a_reset_keeps_the_attempts_and_the_numbering_goes_on():
    task = fold([*HISTORY["failed"], TaskReset()])
    assert (task.status, task.attempt, task.attempts[0].status) == ("created", 1, "failed")
    [started] = decide(StartTask(agent_id="a2", session="s2"), task)
    assert started == TaskStarted(attempt=2, agent_id="a2", session="s2")


@pytest.mark.parametrize(
    ("status", "session", "attempt", "held"),
    [
        ("in_progress", "s1", 1, True),
        ("in_progress", "s2", 1, False),
        ("in_progress", "s1", 2, False),
        ("completed", "s1", 1, False),
        ("created", "s1", 0, False),
    ],
)
def test_a_task_is_held_by_the_session_of_its_running_attempt(status, session, attempt, held):
    assert fold(HISTORY[status]).held_by(session, attempt) is held


# A lost agent


def lost_again(task_events: Sequence[TaskEvent], times: int) -> list[TaskEvent]:
    """`task_events`, then `times` a start whose agent is lost, as decided."""
    events = list(task_events)
    for _ in range(times):
        events += decide(StartTask(agent_id="a", session=f"s{len(events)}"), fold(events))
        events += decide(LoseTask(attempt=fold(events).attempt, reason="agent lost"), fold(events))
    return events


@pytest.mark.parametrize(
    ("created", "times", "then"),
    [
        ({}, 1, TaskRequeued(attempt=1, reason="agent lost", queue="default", priority=4)),
        ({}, 2, TaskRequeued(attempt=2, reason="agent lost", queue="default", priority=4)),
        ({}, 3, TaskFailed(attempt=3, reason="agent lost on attempt 3 of 3")),
        ({"max_attempts": 1}, 1, TaskFailed(attempt=1, reason="agent lost on attempt 1 of 1")),
        ({"on_lost": "fail"}, 1, TaskFailed(attempt=1, reason="agent lost")),
    ],
)
def test_a_lost_attempt_is_made_again_as_often_as_allowed(created, times, then):
    first = TaskCreated(name="train", project="iris", content="c", **created)
    assert lost_again([first, TaskEnqueued(queue="default", priority=4)], times)[-1] == then


def test_a_requeued_task_waits_where_it_waited_before():
    task = fold(lost_again([CREATED, TaskEnqueued(queue="gpu", priority=4)], 1))
    assert (task.status, task.queue, task.priority, task.reason) == ("queued", "gpu", 4, "agent lost")


@pytest.mark.parametrize("between", [[TaskReset()], []], ids=["after a reset", "enqueued again at once"])
def test_who_enqueues_a_task_again_gives_it_all_its_attempts_again(between):
    again = [*lost_again([CREATED, ENQUEUED], 3), *between, ENQUEUED]
    assert lost_again(again, 1)[-1] == TaskRequeued(attempt=4, reason="agent lost", queue="default")
    assert lost_again(again, 3)[-1] == TaskFailed(attempt=6, reason="agent lost on attempt 3 of 3")


@pytest.mark.parametrize(
    "history", [[CREATED], HISTORY["completed"], [*HISTORY["completed"], TaskReset()]], ids=["new", "ended", "reset"]
)
def test_a_task_started_by_its_own_process_is_never_handed_to_an_agent(history):
    """Nobody put it into a queue this time, so a loss cannot put it back into one."""
    last = lost_again(history, 1)[-1]
    assert isinstance(last, TaskFailed)
    assert last.reason == "agent lost"


@pytest.mark.parametrize(
    ("reason", "said"), [("enough", "enough (agent lost)"), ("", "(agent lost)")], ids=["with a reason", "without"]
)
def test_lost_while_asked_to_stop_is_stopped(reason, said):
    asked = [*HISTORY["in_progress"], TaskStopRequested(attempt=1, reason=reason)]
    assert decide(LoseTask(attempt=1, reason="agent lost"), fold(asked)) == [TaskStopped(attempt=1, reason=said)]


@pytest.mark.parametrize("attempt", [0, 2])
def test_the_loss_of_another_attempt_means_nothing(attempt):
    assert decide(LoseTask(attempt=attempt, reason="agent lost"), fold(HISTORY["in_progress"])) == []


# Stop has two phases


def test_a_running_task_is_asked_to_stop_and_stops_with_the_reason_it_was_given():
    asked = [*HISTORY["in_progress"], ASKED]
    task = fold(asked)
    assert (task.status, task.stop_requested, task.stop_reason) == ("in_progress", True, "enough")
    report = EndTask(status="stopped", attempt=1, session="s1", exit_code=-15)
    assert decide(report, task) == [TaskStopped(attempt=1, reason="enough", exit_code=-15)]


def test_a_task_asked_to_stop_may_still_complete():
    task = fold([*HISTORY["in_progress"], ASKED, COMPLETED])
    assert (task.status, task.stop_requested) == ("completed", False)


def test_a_task_asked_to_stop_can_be_stopped_now():
    assert decide(StopTask(reason="now", now=True), fold([*HISTORY["in_progress"], ASKED])) == [
        TaskStopped(attempt=1, reason="now")
    ]


@pytest.mark.parametrize("again", [[ENQUEUED], [TaskStarted(attempt=2, agent_id="a2", session="s2")]])
def test_a_new_start_forgets_the_old_wish_to_stop(again):
    task = fold([*HISTORY["in_progress"], ASKED, STOPPED, *again])
    assert (task.stop_requested, task.stop_reason, task.reason) == (False, "", "")


# Queues


@pytest.mark.parametrize("before", ["created", "stopped", "failed"])
def test_a_dequeued_task_is_again_what_it_was(before):
    queued = [*HISTORY[before], ENQUEUED]
    [event] = decide(DequeueTask(), fold(queued))
    assert event == TaskDequeued(back_to=before)
    task = fold([*queued, event])
    assert (task.status, task.queue) == (before, None)
