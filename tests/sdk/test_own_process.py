"""Scripts that call Task.init, in processes of their own, against the real server."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from foldline import Task
from foldline.client import Client
from tests.sdk.processes import environment, run
from tests.support.waiting import wait_until


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


def script(folder: Path, project: str, text: str) -> str:
    head = f"from foldline import Task\ntask = Task.init(project_name={project!r}, task_name='train', tags=['t'])\n"
    (folder / "train.py").write_text(head + textwrap.dedent(text))
    return "train.py"


def record_of(project: str) -> dict[str, Any]:
    task = Task.get_task(project_name=project, task_name="train")
    assert task is not None
    return task.export_task()


def outcome(project: str) -> tuple[str, str]:
    record = record_of(project)
    return record["status"], record["reason"]


def test_a_script_is_a_task_from_init_to_its_end(tmp_path: Path, project: str, server: Client):
    text = """
    import sys
    options = task.connect({"lr": 0.1})
    task.get_logger().report_scalar("loss", "train", 0.5, 1)
    task.upload_artifact("data", {"a": 1})
    child = Task.create(project_name=task.project, task_name="child")
    print("hello", "wörld")
    print("to stderr", file=sys.stderr)
    assert Task.current_task() == task and task.is_main_task() and Task.running_locally()
    assert Task.init() is task
    """
    done = run(script(tmp_path, project, text), "--fast", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello wörld\n", "to stderr\n")
    record = record_of(project)
    assert (record["status"], record["tags"], record["attempt"]) == ("completed", ["t"], 1)
    assert record["script"]["entry_point"] == "train.py"
    assert record["script"]["arguments"] == ["--fast"]
    assert server.blobs.exists(record["script"]["source"])
    assert record["hyperparameters"]["General"]["lr"]["value"] == 0.1
    assert record["artifacts"]["data"]["size"] > 0
    assert server.tasks.scalars(record["id"])["last"]["loss"]["train"]["last"] == 0.5
    log, _ = server.tasks.logs(record["id"])
    assert sorted(log.decode().splitlines()) == ["hello wörld", "to stderr"]
    child = Task.get_task(project_name=project, task_name="child")
    assert child is not None
    assert child.data["origin"] == record["id"]
    assert record["origin"] is None


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        pytest.param("raise KeyError('why')", 1, ("failed", "KeyError: 'why'"), id="an exception escapes"),
        pytest.param("import sys; sys.exit(3)", 3, ("failed", "exit code 3"), id="exits 3"),
        pytest.param("import sys; sys.exit('no data')", 1, ("failed", "no data"), id="exits with words"),
        pytest.param("import sys; sys.exit(0)", 0, ("completed", ""), id="exits 0"),
        pytest.param("raise SystemExit(3)", 3, ("failed", "exit code 3"), id="raises SystemExit"),
        pytest.param(
            "def main(): return 0\nif __name__ == '__main__':\n    raise SystemExit(main())",
            0,
            ("completed", ""),
            id="raises SystemExit of 0",
        ),
        pytest.param(
            "import sys\ntry:\n    sys.exit(3)\nexcept SystemExit:\n    print('saved')",
            0,
            ("completed", ""),
            id="catches its exit",
        ),
        pytest.param(
            "exec('raise SystemExit(4)', {'__name__': 'elsewhere'})",
            4,
            (
                "failed",
                "ended by a SystemExit whose exit code could not be seen, raised outside the script itself: "
                "end it with sys.exit(code)",
            ),
            id="another module raises SystemExit",
        ),
        pytest.param("task.mark_failed(status_message='by hand')", 0, ("failed", "by hand"), id="marked failed"),
        pytest.param("task.mark_stopped(status_message='by hand')", 0, ("stopped", "by hand"), id="marked stopped"),
        pytest.param("task.mark_completed()\nraise OSError", 1, ("completed", ""), id="marked before it fails"),
        pytest.param("task.close()\nraise OSError", 1, ("completed", ""), id="closed before it fails"),
        pytest.param("raise KeyboardInterrupt", -2, ("stopped", "interrupted from the keyboard"), id="Ctrl-C"),
    ],
)
def test_the_outcome_is_what_the_process_came_to(
    tmp_path: Path, project: str, text: str, code: int, expected: tuple[str, str]
):
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert outcome(project) == expected


def test_one_process_may_be_one_task_after_another(tmp_path: Path, project: str, server: Client):
    text = f"""
    import random, sys
    task.connect({{"old": 1}})
    task.upload_artifact("old", 1)
    try:
        Task.init(task_name="other")
    except Exception as no:
        print(no)
    task.close()

    Task.set_random_seed(7)
    again = Task.init(reuse_last_task_id=task.id, auto_connect_streams={{"stdout": False}}, tags=["again"])
    assert random.random() == random.Random(7).random()
    assert again == task and not again.artifacts and not again.get_parameters(), again.data
    print("shown only")
    print("kept", file=sys.stderr)
    again.publish_on_completion()
    again.close()

    given = Task.create(project_name={project!r}, task_name="given")
    given.set_parameters({{"General/lr": "0.5"}})
    Task.debug_simulate_remote_task(given.id)
    simulated = Task.init(project_name="ignored", task_name="ignored", continue_last_task=True)
    assert simulated == given and not Task.running_locally()
    assert simulated.connect({{"lr": 0.1}}) == {{"lr": 0.5}}
    assert simulated.execute_remotely("default") is None
    simulated.upload_artifact("out", 1)
    """
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "this process is task 'train' of project" in done.stdout
    record = record_of(project)
    assert (record["status"], record["attempt"], record["tags"]) == ("published", 2, ["t", "again"])
    assert server.tasks.logs(record["id"])[0] == b"kept\n"
    given = Task.get_task(project_name=project, task_name="given")
    assert given is not None
    assert (given.get_status(), list(given.artifacts)) == ("completed", ["out"])


def test_workers_are_part_of_the_task_and_other_scripts_are_not(tmp_path: Path, project: str, server: Client):
    text = f"""
    import multiprocessing, subprocess, sys

    def work(number):
        assert Task.current_task() == task
        task.upload_artifact(f"part {{number}}", number)
        return task.id

    if __name__ == "__main__":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(work, [1, 2]) == [task.id] * 2
        other = "from foldline import Task; print(Task.init({project!r}, 'other').id)"
        assert subprocess.check_output([sys.executable, "-c", other], text=True).strip() != task.id
    """
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [train] = Task.get_tasks(project_name=project, task_name="train")
    assert (train.get_status(), sorted(train.artifacts)) == ("completed", ["part 1", "part 2"])
    other = Task.get_task(project_name=project, task_name="other")
    assert other is not None
    assert (other.get_status(), other.data["origin"]) == ("completed", train.id)


def test_an_exception_is_in_the_log(tmp_path: Path, project: str, server: Client):
    done = run(script(tmp_path, project, "raise ValueError('look here')"), cwd=tmp_path)
    assert "ValueError: look here" in done.stderr
    assert b"ValueError: look here" in server.tasks.logs(record_of(project)["id"])[0]


def test_a_script_becomes_a_template(tmp_path: Path, project: str):
    text = "task.connect({'lr': 0.1})\ntask.execute_remotely()\nprint('must not be printed')\n"
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "must not be printed" not in done.stdout
    assert "is a template now" in done.stdout
    record = record_of(project)
    assert record["status"] == "created"
    assert record["hyperparameters"]["General"]["lr"]["value"] == 0.1


def test_a_script_goes_to_a_queue_or_sends_a_clone(tmp_path: Path, project: str):
    text = "task.upload_artifact('before', 1)\ntask.execute_remotely('services')"
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = record_of(project)
    assert (record["status"], record["queue"]) == ("queued", "services")
    assert list(record["artifacts"]) == ["before"]
    Task.dequeue(record["id"])
    text = "clone = task.execute_remotely('services', clone=True, exit_process=False)\nprint('id', clone.id)\n"
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    clone = Task.get_task(done.stdout.split()[-1])
    assert clone is not None
    assert clone.get_status() == "queued"
    Task.dequeue(clone)
    assert Task.query_tasks(project, "^train$", task_filter={"status": ["completed"]})


IN_THE_BACKGROUND = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")


def started(tmp_path: Path, project: str, text: str, *before: str) -> "tuple[subprocess.Popen[str], Task]":
    command = [*before, sys.executable, script(tmp_path, project, text)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    task = wait_until(lambda: Task.get_task(project_name=project, task_name="train"), "the task exists", 60)
    assert task is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process, task


@pytest.mark.parametrize("before", [(), IN_THE_BACKGROUND], ids=["as usual", "where Ctrl-C is ignored"])
def test_a_stop_request_runs_the_abort_callback_and_interrupts_the_script(
    tmp_path: Path, project: str, before: tuple[str, ...]
):
    text = """
    import time
    asked = []
    def save():
        task.upload_artifact("status while saving", task.get_status())
        asked.append(1)
    task.register_abort_callback(save)
    try:
        print("working", flush=True)
        while not asked:
            time.sleep(0.05)
        time.sleep(600)
    except KeyboardInterrupt:
        task.upload_artifact("saved", 1)
    """
    process, task = started(tmp_path, project, text, *before)
    task.mark_stop_request(status_message="enough")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    record = task.export_task()
    assert (record["status"], record["reason"]) == ("stopped", "enough")
    assert list(record["artifacts"]) == ["status while saving", "saved"]
    assert task.artifacts["status while saving"].get() == "in_progress"


def test_a_task_that_was_ended_elsewhere_interrupts_its_process(tmp_path: Path, project: str):
    process, task = started(tmp_path, project, "import time\nprint('working', flush=True)\ntime.sleep(600)\n")
    task.mark_stopped(status_message="gone")
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "no longer this process's" in errors
    assert outcome(project) == ("stopped", "gone")


def test_a_forked_child_does_not_end_its_parents_task(tmp_path: Path, project: str):
    text = """
    import os, sys
    child = os.fork()
    if child == 0:
        sys.exit(3)
    os.waitpid(child, 0)
    """
    done = run(script(tmp_path, project, text), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcome(project) == ("completed", "")


def test_under_an_agent_the_given_task_is_taken_and_its_end_left_to_the_agent(
    tmp_path: Path, project: str, server: Client
):
    given = Task.create(project, "given")
    server.tasks.start(given.id, session="5e" * 16, host="agent")
    text = """
    task.get_logger().report_scalar("loss", "train", 0.5, 1)
    print(task.id, task.connect({"lr": 0.1}))
    task.execute_remotely("default")
    """
    given.set_parameter("General/lr", 0.7)
    done = run(script(tmp_path, project, text), cwd=tmp_path, FOLDLINE_TASK_ID=given.id, FOLDLINE_ATTEMPT="1")
    assert done.stdout == f"{given.id} {{'lr': 0.7}}\n", done.stderr
    assert Task.get_task(project_name=project, task_name="train") is None
    assert given.get_status() == "in_progress"
    assert given.get_last_scalar_metrics()["loss"]["train"]["last"] == 0.5


def test_under_an_agent_sigterm_runs_the_abort_callback_first(tmp_path: Path, project: str, server: Client):
    given = Task.create(project, "given")
    server.tasks.start(given.id, session="5e" * 16, host="agent")
    text = """
    import time
    asked = []
    def save():
        asked.append(1)
        task.upload_artifact("saved", 1)
    task.register_abort_callback(save)
    print("working", flush=True)
    while not asked:
        time.sleep(0.05)
    time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, script(tmp_path, project, text)],
        cwd=tmp_path,
        env=environment(FOLDLINE_TASK_ID=given.id, FOLDLINE_ATTEMPT="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    process.communicate()
    assert list(given.artifacts) == ["saved"]


def test_under_an_agent_sigterm_lets_the_script_save_its_work(tmp_path: Path, project: str, server: Client):
    given = Task.create(project, "given")
    server.tasks.start(given.id, session="5e" * 16, host="agent")
    text = """
    import time
    try:
        print("working", flush=True)
        time.sleep(600)
    finally:
        task.get_logger().report_scalar("loss", "train", 0.5, 1)
    """
    process = subprocess.Popen(
        [sys.executable, script(tmp_path, project, text)],
        cwd=tmp_path,
        env=environment(FOLDLINE_TASK_ID=given.id, FOLDLINE_ATTEMPT="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    process.communicate()
    assert given.get_last_scalar_metrics()["loss"]["train"]["last"] == 0.5
