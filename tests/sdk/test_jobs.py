"""`node.job`: a step's task as code written for ClearML reads it."""

from typing import Any

import pytest

from foldline.automation.jobs import Job
from foldline.automation.nodes import Node
from foldline.errors import NotSupported
from tests.sdk.canned import Answer, Canned

TASK_ID = "c" * 32
TASK: dict[str, Any] = {
    "id": TASK_ID,
    "name": "train",
    "status": "in_progress",
    "reason": "",
    "started_at": "2026-11-22T15:00:00.000000Z",
    "ended_at": None,
    "attempts": [{"number": 1, "agent": "a1", "host": "here"}],
}
STEP: dict[str, Any] = {
    "name": "train",
    "status": "running",
    "reason": "",
    "task_id": TASK_ID,
    "attempts": 1,
    "parents": ["load"],
    "started_at": "2026-11-22T15:00:00.000000Z",
    "ended_at": None,
}


def job(canned: Canned, **task: Any) -> Job:
    canned.on("GET", f"tasks/{TASK_ID}", Answer(200, {**TASK, **task}))
    return Job(TASK_ID)


@pytest.mark.parametrize(
    ("status", "true"),
    [
        ("created", {"pending"}),
        ("queued", {"pending"}),
        ("in_progress", {"running", "started"}),
        ("completed", {"stopped", "completed", "started"}),
        ("published", {"stopped", "completed", "started"}),
        ("failed", {"stopped", "failed", "started"}),
        ("stopped", {"stopped", "aborted", "started"}),
    ],
)
def test_how_it_stands(canned: Canned, status: str, true: set[str]):
    found = job(canned, status=status)
    said = {
        "pending": found.is_pending(),
        "running": found.is_running(),
        "stopped": found.is_stopped(),
        "completed": found.is_completed(),
        "failed": found.is_failed(),
        "aborted": found.is_aborted(),
        "started": found.started(),
    }
    assert {word for word, is_true in said.items() if is_true} == true
    assert found.status() == status


def test_a_metric_is_its_lowest_highest_and_last_value(canned: Canned):
    series = {"last": 2.0, "min": 1.0, "max": 3.0, "iteration": 9, "count": 3}
    canned.on("GET", f"tasks/{TASK_ID}/scalars", Answer(200, {"last": {"test": {"accuracy": series}}}))
    canned.on("GET", f"tasks/{TASK_ID}/plots", Answer(200, {"items": [], "next_cursor": None}))
    found = job(canned)
    assert found.get_metric("test", "accuracy") == (1.0, 3.0, 2.0)
    assert found.iterations() == 9
    with pytest.raises(KeyError):
        found.get_metric("test", "loss")


def test_what_has_not_been_started_has_no_time_and_no_iterations(canned: Canned):
    found = job(canned, status="queued", started_at=None)
    assert (found.elapsed(), found.iterations(), found.worker()) == (-1, -1, None)


def test_time_is_counted_in_seconds_up_to_the_end(canned: Canned):
    assert job(canned, status="completed", ended_at="2026-11-22T15:01:30.000000Z").elapsed() == 90


def test_who_runs_it(canned: Canned):
    canned.on("GET", "agents/a1", Answer(200, {"id": "a1", "name": "big one"}))
    assert job(canned).worker() == "big one"


def test_why_it_ended_so(canned: Canned):
    found = job(canned, status="failed", reason="ValueError: no")
    assert (found.status(), found.status_message()) == ("failed", "ValueError: no")


def test_aborting_asks_it_to_stop_unless_it_has_ended(canned: Canned):
    canned.on("POST", f"tasks/{TASK_ID}/stop", Answer(200, TASK))
    found = job(canned)
    found.abort()
    canned.replace("GET", f"tasks/{TASK_ID}", Answer(200, {**TASK, "status": "stopped"}))
    found.abort()
    assert len(canned.to("POST", f"tasks/{TASK_ID}/stop")) == 1


def test_waiting_for_it(canned: Canned):
    found = job(canned)
    assert found.wait(timeout=0, pool_period=0.01) is False
    canned.replace("GET", f"tasks/{TASK_ID}", Answer(200, {**TASK, "status": "completed"}))
    assert found.wait(pool_period=0.01) is True


def test_what_it_printed_in_pieces(canned: Canned):
    pieces = [(b"one\n", "4"), (b"two\n", "8"), (b"", "8")]
    answers = [Answer(200, text, {"Foldline-Next-Offset": offset}) for text, offset in pieces]
    canned.on("GET", f"tasks/{TASK_ID}/logs", *answers)
    assert job(canned).get_console_output(1) == ["two\n"]


def test_it_is_not_ours_to_launch(canned: Canned):
    with pytest.raises(NotSupported, match=r"set node\.queue"):
        job(canned).launch("gpu")


def test_a_node_has_a_job_as_soon_as_its_step_has_a_task():
    node = Node(name="train", parameters={"General/lr": 1})
    node.update({**STEP, "status": "pending", "task_id": None})
    assert node.job is None
    node.update(STEP)
    first = node.job
    assert first is not None
    assert (first.task_id(), first.task_parameter_override, node.job_id) == (TASK_ID, {"General/lr": 1}, TASK_ID)
    node.update({**STEP, "status": "completed"})
    assert node.job is first


def test_a_node_says_how_its_step_stands():
    node = Node(name="train")
    ended = "2026-11-22T15:01:30.000000Z"
    waiting = {"kind": "slot", "text": "all agents are busy", "until": None}
    node.update({**STEP, "status": "queued", "waiting_for": waiting, "retries": 2})
    assert (node.waiting_for, node.retries, node.executed) == ("all agents are busy", 2, None)
    node.update({**STEP, "status": "waiting"})
    assert node.status == "queued"
    node.update({**STEP, "status": "waiting", "task_id": None})
    assert node.status == "pending"
    node.update({**STEP, "status": "cached", "ended_at": ended})
    assert node.job is not None
    assert (node.executed, node.job.is_cached_task(), node.parents) == (TASK_ID, True, ["load"])
    assert node.job_started is not None
    assert node.job_ended == node.job_started + 90
    node.update({**STEP, "status": "skipped", "task_id": None})
    assert (node.skip_job, node.executed, node.job) == (True, None, None)


def test_a_step_that_is_a_pipeline_has_that_run_as_its_job():
    node = Node(name="inner")
    node.update({**STEP, "task_id": None, "run_id": "e" * 32, "status": "completed"})
    assert node.job is not None
    assert (node.executed, node.job.task_id()) == ("e" * 32, "e" * 32)
