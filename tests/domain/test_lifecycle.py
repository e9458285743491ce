"""The compiled tables say what the charts say, and a refusal names what would be possible."""

from typing import Any

import pytest
from transitions import Machine, MachineError

from domain.lifecycle import (
    RUN,
    RUN_CHART,
    RUN_ENDED,
    RUN_STATES,
    STEP,
    STEP_CHART,
    STEP_ENDED,
    STEP_STATES,
    TASK,
    TASK_CHART,
    TASK_ENDED,
    TASK_STATES,
    Table,
    after,
    allowed,
    either,
    words,
)
from domain.refused import Refused

CHARTS: list[tuple[str, Machine, Table]] = [
    ("task", TASK_CHART, TASK),
    ("run", RUN_CHART, RUN),
    ("step", STEP_CHART, STEP),
]
PAIRS: list[Any] = [
    pytest.param(chart, table, state, trigger, id=f"{name}: {trigger} from {state}")
    for name, chart, table in CHARTS
    for state in chart.states
    for trigger in chart.events
]


class Model:
    def __init__(self, state: str) -> None:
        self.state = state


def asked(chart: Machine, state: str, trigger: str) -> str | None:
    """Where the Machine itself leads a model; None where it refuses."""
    model = Model(state)
    try:
        assert chart.events[trigger].trigger(model)
    except MachineError:
        return None
    return model.state


@pytest.mark.parametrize(("chart", "table", "state", "trigger"), PAIRS)
def test_the_table_says_what_the_machine_says(chart, table, state, trigger):
    assert table.get((state, trigger)) == asked(chart, state, trigger)


@pytest.mark.parametrize(("name", "chart", "table"), CHARTS)
def test_the_table_knows_no_state_or_trigger_that_the_machine_does_not(name, chart, table):
    assert {state for state, _ in table} | set(table.values()) == set(chart.states)
    assert {trigger for _, trigger in table} == set(chart.events)


@pytest.mark.parametrize(("name", "chart", "table"), CHARTS)
def test_a_state_is_left_by_one_way_per_trigger(name, chart, table):
    """The compiled table keeps one way; where there were two, the Machine would take the first."""
    for trigger, event in chart.events.items():
        for state, ways in event.transitions.items():
            assert len(ways) == 1, f"{trigger} from {state}"


@pytest.mark.parametrize(("name", "chart", "table"), CHARTS)
def test_every_state_can_be_reached(name, chart, table):
    reached, found = {"absent"}, {"absent"}
    while found:
        found = {to for (state, _), to in table.items() if state in found} - reached
        reached |= found
    assert reached == set(chart.states)


@pytest.mark.parametrize(
    ("states", "table"), [(RUN_ENDED, RUN), (STEP_ENDED, STEP), ({"published"}, TASK)], ids=["run", "step", "task"]
)
def test_an_end_is_an_end(states, table):
    """Only a person opens it again."""
    assert {trigger for state in states for trigger in allowed(table, state)} <= {"reopen"}


@pytest.mark.parametrize(
    ("all_states", "ended", "table"),
    [(RUN_STATES, RUN_ENDED, RUN), (STEP_STATES, STEP_ENDED, STEP)],
    ids=["run", "step"],
)
def test_whatever_has_not_ended_can_end(all_states, ended, table):
    for state in set(all_states) - ended:
        assert allowed(table, state), state


def test_the_ends_of_a_task_are_its_states_that_are_no_work():
    assert set(TASK_STATES) - TASK_ENDED == {"created", "queued", "in_progress"}


@pytest.mark.parametrize(
    ("table", "state", "trigger", "state_after"),
    [
        (TASK, "absent", "create", "created"),
        (TASK, "created", "enqueue", "queued"),
        (TASK, "in_progress", "requeue", "queued"),
        (RUN, "created", "start", "running"),
        (STEP, "running", "complete", "completed"),
    ],
)
def test_after_names_the_next_state(table, state, trigger, state_after):
    assert after(table, state, trigger) == state_after


@pytest.mark.parametrize(
    ("table", "state", "trigger", "what", "sentence"),
    [
        (
            TASK,
            "published",
            "enqueue",
            "task 'train'",
            "Cannot enqueue task 'train' that is published: it must be created, stopped or failed.",
        ),
        (TASK, "created", "requeue", "it", "Cannot requeue it that is created: it must be in progress."),
        (
            TASK,
            "in_progress",
            "reset",
            "task 'train'",
            "Cannot reset task 'train' that is in progress: it must be stopped, failed or completed.",
        ),
        (
            RUN,
            "completed",
            "start",
            "run 'iris #1'",
            "Cannot start run 'iris #1' that is completed: it must be created or queued.",
        ),
        (TASK, "created", "fly", "it", "Cannot fly it that is created: it must be something else."),
    ],
)
def test_a_refusal_is_a_sentence(table, state, trigger, what, sentence):
    with pytest.raises(Refused) as refused:
        after(table, state, trigger, what)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("table", "state", "triggers"),
    [
        (TASK, "created", ["enqueue", "start", "mark completed"]),
        (TASK, "in_progress", ["request stop", "requeue", "stop", "complete", "fail"]),
        (TASK, "completed", ["start", "reset", "publish"]),
        (TASK, "published", []),
        (RUN, "absent", ["create"]),
        (STEP, "running", ["requeue", "hold", "complete", "fail", "stop"]),
        (STEP, "unheard of", []),
    ],
)
def test_allowed_lists_what_a_state_has_in_the_order_of_the_chart(table, state, triggers):
    assert allowed(table, state) == triggers


@pytest.mark.parametrize(
    ("names", "text"), [([], "something else"), (["a"], "a"), (["a", "b"], "a or b"), (["a", "b", "c"], "a, b or c")]
)
def test_either_reads_as_people_write(names, text):
    assert either(names) == text


def test_words_are_without_underscores():
    assert words("in_progress") == "in progress"
