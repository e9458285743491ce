"""A task: given its events, when a command comes, then these events or a refusal."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.content import Edit
from domain.lifecycle import TASK_STATES, words
from domain.refused import Invalid, Refused
from domain.task import (
    ENDS,
    ArtifactAdded,
    ArtifactsRemoved,
    DequeueTask,
    EndTask,
    EnqueueTask,
    LoseTask,
    ModelAdded,
    PublishTask,
    RemoveArtifacts,
    ResetTask,
    StartTask,
    StopTask,
    Task,
    TaskCompleted,
    TaskCreated,
    TaskDequeued,
    TaskEdited,
    TaskEnqueued,
    TaskEvent,
    TaskFailed,
    TaskPublished,
    TaskRequeued,
    TaskReset,
    TaskStarted,
    TaskStopped,
    TaskStopRequested,
    decide,
    evolve,
)
from tests.domain.histories import (
    ASKED,
    COMPLETED,
    CREATED,
    ENQUEUED,
    FAILED,
    HISTORY,
    LOST,
    STARTED,
    STOPPED,
    fold,
    of_step,
    stays_legal,
)


def test_every_status_has_a_history():
    assert {status: fold(events).status for status, events in HISTORY.items()} == {
        status: status for status in ("absent", *TASK_STATES)
    }


# What a command does in each status; a text is the refusal, in which {is} stands for the status.
EVERY_STATUS: list[tuple[str, Any, Mapping[str, Sequence[TaskEvent] | str]]] = [
    (
        "create",
        CREATED,
        {
            "absent": [CREATED],
            "created queued in_progress stopped failed completed published": (
                "Cannot create a task that is {is}: it must be absent."
            ),
        },
    ),
    (
        "enqueue",
        EnqueueTask(queue="gpu", priority=5, origin="t0"),
        {
            "created stopped failed": [TaskEnqueued(queue="gpu", priority=5, origin="t0")],
            "queued in_progress completed published": (
                "Cannot enqueue task 'train' that is {is}: it must be created, stopped or failed."
            ),
            "absent": "Cannot enqueue",
        },
    ),
    (
        "dequeue",
        DequeueTask(),
        {
            "queued": [TaskDequeued(back_to="created")],
            "created in_progress stopped failed completed published": (
                "Cannot dequeue task 'train': it is {is}, not queued."
            ),
            "absent": "Cannot dequeue",
        },
    ),
    (
        "start",
        StartTask(agent_id="a2", session="s2", host="h2"),
        {
            "created queued": [TaskStarted(attempt=1, agent_id="a2", session="s2", host="h2")],
            "stopped failed completed": [TaskStarted(attempt=2, agent_id="a2", session="s2", host="h2")],
            "in_progress published": (
                "Cannot start task 'train' that is {is}: it must be created, queued, stopped, failed or completed."
            ),
            "absent": "Cannot start",
        },
    ),
    (
        "stop",
        StopTask(reason="enough"),
        {
            "queued": [TaskStopped(attempt=0, reason="enough")],
            "in_progress": [ASKED],
            "stopped": [],
            "created failed completed published": (
                "Cannot stop task 'train' that is {is}: it must be queued or in progress."
            ),
            "absent": "Cannot stop",
        },
    ),
    (
        "stop now",
        StopTask(reason="enough", now=True),
        {
            "queued": [TaskStopped(attempt=0, reason="enough")],
            "in_progress": [STOPPED],
            "stopped": [],
            "created failed completed published": (
                "Cannot stop task 'train' that is {is}: it must be queued or in progress."
            ),
            "absent": "Cannot stop",
        },
    ),
    (
        "complete, says the user",
        EndTask(status="completed", reason="by hand"),
        {
            "in_progress stopped": [TaskCompleted(attempt=1, reason="by hand")],
            "completed": [],
            "created queued failed published": (
                "Cannot complete task 'train' that is {is}: it must be in progress or stopped."
            ),
            "absent": "Cannot complete",
        },
    ),
    (
        "fail, says the user",
        EndTask(status="failed", reason="by hand"),
        {
            "queued": [TaskFailed(attempt=0, reason="by hand")],
            "in_progress stopped": [TaskFailed(attempt=1, reason="by hand")],
            "failed": [],
            "created completed published": (
                "Cannot fail task 'train' that is {is}: it must be queued, in progress or stopped."
            ),
            "absent": "Cannot fail",
        },
    ),
    (
        "stopped, says the user",
        EndTask(status="stopped", reason="by hand"),
        {
            "queued": [TaskStopped(attempt=0, reason="by hand")],
            "in_progress": [TaskStopped(attempt=1, reason="by hand")],
            "stopped": [],
            "created failed completed published": (
                "Cannot stop task 'train' that is {is}: it must be queued or in progress."
            ),
            "absent": "Cannot stop",
        },
    ),
    (
        "a report of attempt 1",
        EndTask(status="completed", attempt=1, session="s1", exit_code=0, began_at=7),
        {
            "in_progress": [TaskCompleted(attempt=1, exit_code=0, began_at=7)],
            # Said before, by this report or by the task itself, which keeps what it said.
            "stopped failed completed published": [],
            "absent created queued": "can report nothing any more: the task is {is}, attempt 0.",
        },
    ),
    (
        "lose attempt 1",
        LoseTask(attempt=1, reason="agent lost"),
        {"in_progress": [LOST], "absent created queued stopped failed completed published": []},
    ),
    (
        "reset",
        ResetTask(),
        {
            "created": [],
            "stopped failed completed": [TaskReset()],
            "queued in_progress published": (
                "Cannot reset task 'train' that is {is}: it must be stopped, failed or completed."
            ),
            "absent": "Cannot reset",
        },
    ),
    (
        "publish",
        PublishTask(),
        {
            "stopped failed completed": [TaskPublished()],
            "published": [],
            "created queued in_progress": (
                "Cannot publish task 'train' that is {is}: it must be stopped, failed or completed."
            ),
            "absent": "Cannot publish",
        },
    ),
    (
        "add an artifact",
        ArtifactAdded(name="data", url="u"),
        {
            "created queued in_progress stopped failed completed": [ArtifactAdded(name="data", url="u")],
            "published": "Cannot add to task 'train': it is {is}.",
            "absent": "Cannot add",
        },
    ),
    (
        "remove no artifact",
        RemoveArtifacts(names=[]),
        {
            "created queued in_progress stopped failed completed": [],
            "published": "Cannot remove artifacts of task 'train': it is {is}.",
            "absent": "Cannot remove artifacts",
        },
    ),
    (
        "add a model",
        ModelAdded(id="m1", kind="output", name="m"),
        {
            "created queued in_progress stopped failed completed": [ModelAdded(id="m1", kind="output", name="m")],
            "published": "Cannot add to task 'train': it is {is}.",
            "absent": "Cannot add",
        },
    ),
    (
        "rename",
        TaskEdited(name="better"),
        {
            "created queued in_progress stopped failed completed published": [TaskEdited(name="better")],
            "absent": "Cannot edit",
        },
    ),
]
ROWS = [
    pytest.param(status, when, then, id=f"{name}: {status}")
    for name, when, row in EVERY_STATUS
    for statuses, then in row.items()
    for status in statuses.split()
]


def test_the_table_has_every_command_in_every_status():
    assert len(ROWS) == len(EVERY_STATUS) * len(HISTORY)


@pytest.mark.parametrize(("status", "when", "then"), ROWS)
def test_a_command_in_every_status(status, when, then):
    task = fold(HISTORY[status])
    if isinstance(then, str):
        with pytest.raises(Refused) as refused:
            decide(when, task)
        assert then.replace("{is}", words(status)) in str(refused.value)
        return
    assert decide(when, task) == then
    for event in then:
        assert stays_legal(task, fold([*HISTORY[status], event]))


@pytest.mark.parametrize(
    ("given", "when"),
    [
        pytest.param([CREATED], EnqueueTask(queue="default"), id="enqueue"),
        pytest.param([CREATED, ENQUEUED], StartTask(agent_id="a1", session="s1", host="h1"), id="start"),
        pytest.param(HISTORY["in_progress"], StopTask(reason="enough"), id="stop"),
        pytest.param(HISTORY["in_progress"], StopTask(reason="enough", now=True), id="stop now"),
        pytest.param(HISTORY["in_progress"], EndTask(status="completed"), id="complete"),
        pytest.param(HISTORY["in_progress"], EndTask(status="failed", attempt=1, session="s1"), id="a report"),
        pytest.param(HISTORY["in_progress"], LoseTask(attempt=1, reason="agent lost"), id="lose"),
        pytest.param(HISTORY["failed"], ResetTask(), id="reset"),
        pytest.param(HISTORY["completed"], PublishTask(), id="publish"),
    ],
)
def test_a_repeat_decides_nothing(given, when):
    once = [*given, *decide(when, fold(given))]
    assert len(once) == len(given) + 1
    assert decide(when, fold(once)) == []


@pytest.mark.parametrize(
    ("given", "when", "then"),
    [
        pytest.param([ENQUEUED], EnqueueTask(queue="gpu"), "that is queued", id="into another queue"),
        pytest.param([ENQUEUED], EnqueueTask(queue="default", priority=1), "that is queued", id="with more priority"),
        pytest.param(
            [ENQUEUED, STARTED], StartTask(agent_id="a2", session="s2"), "that is in progress", id="another session"
        ),
        pytest.param(
            [ENQUEUED, STARTED, LOST],
            EndTask(status="completed", attempt=1, session="s1"),
            "Attempt 1 of task 'train' can report nothing any more: the task is queued, attempt 1",
            id="the report of a lost attempt",
        ),
        pytest.param(
            [ENQUEUED, STARTED, LOST, TaskStarted(attempt=2, agent_id="a2", session="s2")],
            EndTask(status="completed", attempt=1, session="s1"),
            "the task is in progress, attempt 2",
            id="its report while the next attempt runs",
        ),
        pytest.param(
            [ENQUEUED, STARTED],
            EndTask(status="completed", attempt=1, session="s9"),
            "Attempt 1",
            id="the report of another session",
        ),
        pytest.param(
            [ENQUEUED, STARTED, COMPLETED],
            EndTask(status="completed", attempt=1, session="s9"),
            "Attempt 1",
            id="the report of another session, too late",
        ),
        pytest.param(
            [ENQUEUED, STARTED], EndTask(status="completed", attempt=2, session="s1"), "Attempt 2", id="not begun yet"
        ),
        pytest.param([ENQUEUED], EndTask(status="completed", attempt=1, session="s1"), "Attempt 1", id="never begun"),
        pytest.param(
            [ENQUEUED], EndTask(status="completed", attempt=0, session="s1"), "Attempt 0", id="attempt 0 of none"
        ),
        pytest.param(
            [ENQUEUED, STARTED, FAILED, TaskReset()],
            EndTask(status="failed", attempt=1, session="s1"),
            "the task is created, attempt 1",
            id="the report after a reset",
        ),
        pytest.param(
            [ENQUEUED, STARTED, LOST],
            ArtifactAdded(name="data", url="u", attempt=1),
            "Attempt 1 of task 'train' is over: it can change nothing any more",
            id="the artifact of a lost attempt",
        ),
        pytest.param(
            [ENQUEUED, STARTED, LOST, TaskStarted(attempt=2, agent_id="a2", session="s2")],
            ArtifactAdded(name="data", url="u", attempt=1),
            "Attempt 1 of task 'train' is over",
            id="its artifact while the next attempt runs",
        ),
        pytest.param(
            [ENQUEUED, STARTED, ArtifactAdded(name="data", url="u", attempt=1), LOST],
            RemoveArtifacts(names=["data"], attempt=1),
            "Attempt 1 of task 'train' is over",
            id="the removal by a lost attempt",
        ),
        pytest.param(
            [ArtifactAdded(name="data", url="u")],
            RemoveArtifacts(names=["data", "model"]),
            "Cannot remove artifact 'model' of task 'train': it has none of that name",
            id="the removal of what is not there",
        ),
        pytest.param(
            [ENQUEUED, STARTED, FAILED],
            TaskEdited(edit=Edit(comment="late"), attempt=1),
            "Attempt 1 of task 'train' is over",
            id="the edit of an attempt that has ended",
        ),
        pytest.param(
            [ENQUEUED, STARTED, LOST, TaskStarted(attempt=2, agent_id="a2", session="s2")],
            TaskEdited(runtime={"progress": 1}, attempt=1),
            "Attempt 1 of task 'train' is over",
            id="the edit of an older attempt",
        ),
    ],
)
def test_refuses(given, when, then):
    with pytest.raises(Refused, match=then):
        decide(when, fold([CREATED, *given]))


@pytest.mark.parametrize(
    ("when", "sentence", "where"),
    [
        (TaskCreated(name="  ", project="p", content="c"), "A task needs a name.", "name"),
        (
            TaskCreated(name="t", project="p", content="c", on_lost="wait"),
            "on_lost is 'requeue' or 'fail', not 'wait'.",
            "on_lost",
        ),
        (
            TaskCreated(name="t", project="p", content="c", max_attempts=0),
            "max_attempts is at least 1.",
            "max_attempts",
        ),
    ],
)
def test_a_task_that_makes_no_sense_is_not_created(when, sentence, where):
    with pytest.raises(Invalid) as invalid:
        decide(when, Task(id="t1"))
    assert (str(invalid.value), invalid.value.where) == (sentence, where)


@pytest.mark.parametrize(
    ("status", "when", "where"),
    [("created", TaskEdited(name=" "), "name"), ("in_progress", EndTask(status="finished"), "status")],
)
def test_a_command_that_makes_no_sense_is_invalid(status, when, where):
    with pytest.raises(Invalid) as invalid:
        decide(when, fold(HISTORY[status]))
    assert invalid.value.where == where


@pytest.mark.parametrize(
    ("status", "when", "verb"),
    [
        ("failed", EnqueueTask(queue="default"), "enqueue"),
        ("queued", EnqueueTask(queue="gpu"), "enqueue"),
        ("queued", DequeueTask(), "dequeue"),
        ("failed", ResetTask(), "reset"),
        ("completed", ResetTask(), "reset"),
        ("completed", StartTask(agent_id="a2", session="s2"), "start"),
        ("failed", PublishTask(), "publish"),
        ("stopped", PublishTask(), "publish"),
        ("stopped", EndTask(status="completed"), "complete"),
        ("stopped", EndTask(status="failed"), "fail"),
        ("completed", EndTask(status="stopped"), "stop"),
    ],
)
def test_a_steps_task_goes_only_where_its_run_leads_it(status, when, verb):
    with pytest.raises(Refused, match=f"Cannot {verb} task 'train': it is step 'train' of run r1. Stop the run, or"):
        decide(when, fold(of_step(status)))


@pytest.mark.parametrize(
    ("status", "when", "then"),
    [
        ("queued", StartTask(agent_id="a1", session="s1", host="h1"), [STARTED]),
        ("queued", StopTask(reason="enough"), [TaskStopped(attempt=0, reason="enough")]),
        ("in_progress", StopTask(reason="enough"), [ASKED]),
        ("in_progress", EndTask(status="failed", reason="by hand"), [TaskFailed(attempt=1, reason="by hand")]),
        ("in_progress", LoseTask(attempt=1, reason="agent lost"), [LOST]),
        ("completed", PublishTask(), [TaskPublished()]),
        ("completed", TaskEdited(name="better"), [TaskEdited(name="better")]),
    ],
)
def test_a_steps_task_can_be_run_ended_named_and_published(status, when, then):
    assert decide(when, fold(of_step(status))) == then


def test_a_draft_of_a_step_is_enqueued_by_whoever_wants_to():
    draft = [TaskCreated(name="train", project="p", content="c", run_id="r1", step="train", draft=True)]
    assert decide(EnqueueTask(queue="gpu"), fold(draft)) == [TaskEnqueued(queue="gpu")]


# Any history folds

TEXT = st.sampled_from(["", "a", "b"])
ATTEMPT = st.integers(0, 3)
EVENTS = st.one_of(
    st.builds(TaskCreated, name=TEXT, project=TEXT, content=TEXT),
    st.builds(TaskEdited, runtime=st.none() | st.just({"a": None})),
    st.builds(TaskEnqueued, queue=TEXT),
    st.builds(TaskDequeued, back_to=st.sampled_from(["created", "stopped", "failed"])),
    st.builds(TaskStarted, attempt=ATTEMPT, agent_id=TEXT, session=TEXT),
    st.builds(TaskStopRequested, attempt=ATTEMPT, reason=TEXT),
    st.builds(TaskRequeued, attempt=ATTEMPT, reason=TEXT, queue=TEXT),
    *(st.builds(kind, attempt=ATTEMPT, reason=TEXT) for kind in ENDS),
    st.just(TaskReset()),
    st.just(TaskPublished()),
    st.builds(ArtifactAdded, name=TEXT, url=TEXT),
    st.builds(ArtifactsRemoved, names=st.lists(TEXT)),
    st.builds(ModelAdded, id=TEXT, kind=st.sampled_from(["input", "output"]), name=TEXT),
)
COMMANDS = st.one_of(
    st.builds(EnqueueTask, queue=TEXT),
    st.just(DequeueTask()),
    st.builds(StartTask, agent_id=TEXT, session=TEXT),
    st.builds(StopTask, reason=TEXT, now=st.booleans()),
    st.builds(EndTask, status=st.sampled_from(["completed", "failed", "stopped"]), attempt=st.none() | ATTEMPT),
    st.builds(LoseTask, attempt=ATTEMPT, reason=TEXT),
    st.just(ResetTask()),
    st.just(PublishTask()),
    st.builds(ArtifactAdded, name=TEXT, url=TEXT, attempt=ATTEMPT),
    st.builds(RemoveArtifacts, names=st.lists(TEXT, max_size=1), attempt=ATTEMPT),
)


@settings(deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_history_is_never_refused(events):
    task = fold(events)
    assert task.version == len(events)


@settings(deadline=None)
@given(st.lists(COMMANDS, max_size=25))
def test_whatever_people_ask_a_task_stays_within_its_chart(commands):
    """Attempts are numbered 1, 2, 3 ..., and only the last one can be under way."""
    events: list[TaskEvent] = [CREATED]
    task = fold(events)
    for command in commands:
        try:
            decided = decide(command, task)
        except Refused:
            continue
        for event in decided:
            before, task = task, evolve(task, event, 1)
            assert stays_legal(before, task)
    assert [attempt.number for attempt in task.attempts] == list(range(1, len(task.attempts) + 1))
    under_way = [attempt.number for attempt in task.attempts if attempt.status == "in_progress"]
    assert under_way == ([task.attempt] if task.status == "in_progress" else [])
