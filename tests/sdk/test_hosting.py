"""A process as the host of a run: begun with the run, kept by its heartbeat, ended once."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from foldline import PipelineController, Task, own_process, process
from foldline.automation.hosting import Hosting, hosted_run_id
from foldline.errors import FoldlineError, Refused
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import run
from tests.support.waiting import wait_until

RUN_ID = "a" * 32
RUN: dict[str, Any] = {
    "id": RUN_ID,
    "name": "iris #3",
    "project": "examples",
    "version": 7,
    "status": "running",
    "reason": "",
    "warnings": [],
    "started_at": None,
    "ended_at": None,
    "step_counts": {"completed": 1, "failed": 0, "stopped": 0},
}
ENDED = {"items": [], "status": "completed", "version": 9}


@pytest.fixture
def hosted(canned: Canned, monkeypatch: pytest.MonkeyPatch) -> Canned:
    """A server that takes a run with its host, whose heart beats often."""
    monkeypatch.setattr(own_process, "LONGEST_PAUSE", 0.02)
    canned.on("POST", "runs", Answer(201, RUN))
    canned.on("POST", f"tasks/{RUN_ID}/heartbeat", Answer(200, {"stop": False, "reason": ""}))
    canned.on("POST", f"tasks/{RUN_ID}/complete", Answer(200, {"id": RUN_ID, "runtime": {}}))
    canned.on("POST", f"tasks/{RUN_ID}/fail", Answer(200, {"id": RUN_ID}))
    canned.on("POST", f"tasks/{RUN_ID}/stop", Answer(200, {"id": RUN_ID}))
    canned.on("POST", f"tasks/{RUN_ID}/logs", Answer(200, {"offset": 10**6}))
    return canned


def test_submitting_makes_this_process_the_host_until_it_says_otherwise(hosted: Canned):
    made, hosting = Hosting.submit({"name": "iris"}, queue="default")
    sent = hosted.to("POST", "runs")[0].json()
    assert (made, sent["queue"], hosting.run_id, hosting.attempt) == (RUN, "default", RUN_ID, 1)
    assert sent["host"]["session"] == hosting.session
    assert Task.current_task() == Task(RUN_ID)
    beaten = wait_until(lambda: hosted.to("POST", f"tasks/{RUN_ID}/heartbeat"), "a heartbeat")
    assert beaten[0].json() == {"session": hosting.session, "attempt": 1}
    hosting.finish("failed", "no luck")
    assert hosted.to("POST", f"tasks/{RUN_ID}/fail")[0].json() == {"reason": "no luck"}
    assert Task.current_task() is None


def test_a_run_that_has_ended_has_ended_its_host(hosted: Canned):
    hosted.replace("POST", f"tasks/{RUN_ID}/complete", Answer(409, {"code": "refused", "detail": "It has ended."}))
    _, hosting = Hosting.submit({"name": "iris"})
    hosting.ended()
    assert len(hosted.to("POST", f"tasks/{RUN_ID}/complete")) == 1


def test_a_process_that_is_a_task_already_stays_that_task(hosted: Canned):
    process.set_own_task("d" * 32, 4)
    _, hosting = Hosting.submit({"name": "iris"})
    assert (process.task_id(), process.attempt_of("d" * 32)) == ("d" * 32, 4)
    hosting.finish()
    assert (process.task_id(), process.attempt_of("d" * 32)) == ("d" * 32, 4)
    process.set_own_task(None)


def test_a_stop_request_is_passed_on_once_and_the_lease_is_kept(hosted: Canned):
    asked: list[str] = []
    _, hosting = Hosting.submit({"name": "iris"})
    hosting.on_stop(lambda: asked.append("early"))
    hosted.replace("POST", f"tasks/{RUN_ID}/heartbeat", Answer(200, {"stop": True, "reason": "by ana"}))
    wait_until(lambda: asked, "the stop request")
    before = len(hosted.to("POST", f"tasks/{RUN_ID}/heartbeat"))
    wait_until(lambda: len(hosted.to("POST", f"tasks/{RUN_ID}/heartbeat")) > before + 2, "heartbeats after it")
    hosting.on_stop(lambda: asked.append("late"))
    assert asked == ["early", "late"]
    hosting.finish("stopped", "by ana")
    assert hosted.to("POST", f"tasks/{RUN_ID}/stop")[0].json() == {"reason": "by ana", "now": True}


def test_questions_and_steps_are_sent_as_this_hosts(hosted: Canned):
    _, hosting = Hosting.submit({"name": "iris"})
    session = {"session": hosting.session, "attempt": 1}
    hosted.on("GET", f"runs/{RUN_ID}", Answer(200, RUN))
    hosted.on("GET", f"runs/{RUN_ID}/hooks", Answer(200, ENDED))
    hosted.on(
        "POST", f"runs/{RUN_ID}/steps", Answer(201, {"name": "a"}), Answer(409, {"code": "diverged", "detail": ""})
    )
    hosted.on("POST", f"runs/{RUN_ID}/hooks/h", Answer(200, {}))
    assert hosting.wait_past(7, 90) == RUN
    assert "after=7&wait=30" in hosted.to("GET", f"runs/{RUN_ID}")[0].query
    assert hosting.hooks(2) == ENDED
    assert hosting.add_step(0, "f", {"name": "a"}) == {"name": "a"}
    assert hosted.to("POST", f"runs/{RUN_ID}/steps")[0].json() == {
        **session,
        "call": 0,
        "fingerprint": "f",
        "step": {"name": "a"},
    }
    with pytest.raises(Refused) as no:
        hosting.add_step(0, "g", {"name": "a"})
    assert no.value.code == "diverged"
    hosting.answer("h", verdict=False)
    assert hosted.to("POST", f"runs/{RUN_ID}/hooks/h")[0].json() == {**session, "verdict": False}
    hosting.finish()


def test_only_the_run_itself_is_hosted(monkeypatch: pytest.MonkeyPatch):
    assert hosted_run_id() is None
    monkeypatch.setenv("FOLDLINE_RUN_ID", RUN_ID)
    monkeypatch.setenv("FOLDLINE_TASK_ID", "d" * 32)
    assert hosted_run_id() is None, "a step's task is no host"
    with pytest.raises(FoldlineError, match="no agent started this process as the host"):
        Hosting.given()
    monkeypatch.setenv("FOLDLINE_TASK_ID", RUN_ID)
    assert hosted_run_id() == RUN_ID


def test_an_agents_sigterm_is_the_stop_request_and_the_second_one_the_end(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"RUN_ID": RUN_ID, "TASK_ID": RUN_ID, "SESSION": "s", "ATTEMPT": "3"}.items():
        monkeypatch.setenv(f"FOLDLINE_{name}", value)
    before, asked = signal.getsignal(signal.SIGTERM), threading.Event()
    try:
        hosting = Hosting.given()
        assert (hosting.session, hosting.attempt) == ("s", 3)
        hosting.on_stop(asked.set)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(asked.is_set, "the stop request")
        with pytest.raises(SystemExit):
            _terminated()
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(20)


def test_start_locally_calls_the_callbacks_here(hosted: Canned):
    called: list[str] = []
    hook = {"id": "1", "kind": "post", "step": "a", "status": "completed", "parameters": None, "retries": 0}
    step = {"name": "a", "status": "waiting", "reason": "", "task_id": "t", "attempts": 1, "parents": []}
    asked = {"items": [hook], "status": "running", "version": 8}
    hosted.on("HEAD", "blobs/*", Answer(200, {}))
    hosted.on("GET", f"runs/{RUN_ID}/hooks", Answer(200, asked), Answer(200, ENDED))
    hosted.on("GET", f"runs/{RUN_ID}/steps/a", Answer(200, {**step, "started_at": None, "ended_at": None}))
    hosted.on("POST", f"runs/{RUN_ID}/hooks/1", Answer(200, {}))
    hosted.on("GET", f"runs/{RUN_ID}", Answer(200, {**RUN, "status": "completed"}))
    pipe = PipelineController("iris", "examples")
    pipe.add_step(
        "a", base_task_id="b" * 32, execution_queue="x", post_execute_callback=lambda p, n: called.append(n.name)
    )
    pipe.start_locally()
    assert called == ["a"]
    assert pipe.is_successful()
    assert len(hosted.to("POST", f"tasks/{RUN_ID}/complete")) == 1


def test_an_exception_while_it_hosts_stops_the_run_and_fails_the_host(hosted: Canned, tmp_path: Path):
    hosted.on("HEAD", "blobs/*", Answer(200, {}))
    hosted.on("GET", f"runs/{RUN_ID}", Answer(200, RUN), Answer(200, {**RUN, "status": "stopped"}))
    hosted.on("GET", f"runs/{RUN_ID}/hooks", Answer(422, {"code": "invalid", "detail": "what?"}))
    hosted.on("POST", f"runs/{RUN_ID}/stop", Answer(200, {**RUN, "status": "stopped"}))
    (tmp_path / "pipeline.py").write_text(
        "from foldline import PipelineController\n"
        "pipe = PipelineController('p', 't')\n"
        "pipe.add_step('a', base_task_id='b' * 32, execution_queue='x', pre_execute_callback=print)\n"
        "pipe.start_locally()\n"
    )
    done = run("pipeline.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "what?" in done.stderr
    assert len(hosted.to("POST", f"runs/{RUN_ID}/stop")) == 1
    assert hosted.to("POST", f"tasks/{RUN_ID}/fail")[0].json()["reason"].endswith("what?")
