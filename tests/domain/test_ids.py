"""Names that follow from their cause."""

import re

import pytest

from domain.ids import agent_id, derived, pipeline_id, run_stream, step_task_id, task_stream

RUN = "2f" + "0" * 30


@pytest.mark.parametrize(
    "name",
    [derived("a"), derived("a", slot=RUN), pipeline_id("p", "n"), agent_id("worker 1"), step_task_id(RUN, "größe")],
)
def test_an_id_is_32_hex_digits(name):
    assert re.fullmatch("[0-9a-f]{32}", name)


def test_the_same_cause_has_the_same_name_and_another_cause_another():
    assert derived("step", RUN, 1) == derived("step", RUN, "1")
    assert len({derived("a", "b"), derived("ab"), derived("b", "a"), derived("a", "b", slot=RUN)}) == 4


def test_what_is_made_for_a_run_takes_the_runs_slot():
    """The first two digits decide the shard: a run and its tasks must share one."""
    assert {step_task_id(RUN, f"s{number}")[:2] for number in range(20)} == {"2f"}
    assert len({step_task_id(RUN, f"s{number}") for number in range(20)}) == 20


def test_streams_are_named_after_what_they_hold():
    assert (task_stream("t1"), run_stream("r1")) == ("task-t1", "run-r1")
