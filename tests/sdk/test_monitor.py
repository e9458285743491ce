"""Monitor against the real server."""

import pytest

from foldline import PipelineController, Task
from foldline.automation.monitor import Monitor
from foldline.calls.tasks import Tasks
from foldline.client import Client


class Failures(Monitor):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def process_task(self, task: Task) -> None:
        self.seen.append(task.name)
        if task.name == "odd":
            raise RuntimeError("no luck")


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def monitor(server: Client, project: str) -> Failures:
    monitor = Failures()
    monitor.set_projects(project_names=[project])
    return monitor


def failed(project: str, name: str) -> Task:
    task = Task.create(project_name=project, task_name=name)
    task.mark_failed(force=True)
    return task


def test_each_failure_is_seen_once_from_the_first_look_on(monitor: Failures, project: str):
    failed(project, "before")
    monitor.monitor_step()
    first = failed(project, "first")
    Task.create(project_name=project, task_name="draft")
    failed(f"{project} too", "elsewhere")
    monitor.monitor_step()
    monitor.monitor_step()
    assert monitor.seen == ["first"]
    first.set_comment("looked at")
    monitor.monitor_step()
    assert monitor.seen == ["first"]
    first.reset()
    first.mark_failed(force=True)
    monitor.monitor_step()
    assert monitor.seen == ["first", "first"]


def test_an_error_keeps_nothing_from_the_others(monitor: Failures, project: str, capsys: pytest.CaptureFixture[str]):
    monitor.monitor_step()
    for name in ("odd", "even"):
        failed(project, name)
    monitor.monitor_step()
    assert sorted(monitor.seen) == ["even", "odd"]
    assert "process_task failed for task " in capsys.readouterr().out


def test_what_could_not_be_asked_is_asked_again(
    monitor: Failures, project: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monitor.monitor_step()
    failed(project, "late")

    def away(*_: object) -> None:
        raise ConnectionError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Tasks, "get", away)
        monitor.monitor_step()
    assert "could not look for changes, and looks again: no answer" in capsys.readouterr().out
    monitor.monitor_step()
    assert monitor.seen == ["late"]


def test_which_projects_and_names(server: Client, project: str):
    named, matched, nowhere = Failures(), Failures(), Failures()
    named.set_task_name_filter("^train")
    named.set_projects(project_ids=[project])
    matched.set_projects(project_names_re=[f"^{project}/"])
    nowhere.set_projects(project_names=["nowhere"])
    monitors = (named, matched, nowhere)
    for monitor in monitors:
        monitor.monitor_step()
    failed(project, "train")
    failed(project, "test")
    failed(f"{project}/deep", "train deep")
    for monitor in monitors:
        monitor.monitor_step()
    assert [monitor.seen for monitor in monitors] == [["train"], ["train deep"], []]


def test_a_run_is_seen_like_the_task_that_it_is(monitor: Failures, project: str, server: Client):
    monitor.get_query_parameters = lambda: {"status": ["stopped"], "type": ["controller"], "tags": ["-quiet"]}
    monitor.monitor_step()
    for tags in (["loud"], ["quiet"]):
        pipe = PipelineController(name=f"nightly {tags[0]}", project=project, add_run_number=False)
        pipe.add_approval_step(name="look", message="good?")
        pipe.add_tags(tags)
        assert pipe.create_draft()
        server.runs.start(str(pipe.task.id))
        server.runs.stop(str(pipe.task.id))
    Task.create(project_name=project, task_name="task").mark_stopped(force=True)
    monitor.monitor_step()
    assert monitor.seen == ["nightly loud"]


def test_it_goes_on_until_it_is_interrupted(monitor: Failures, project: str):
    def interrupt(task: Task) -> None:
        Failures.process_task(monitor, task)
        raise KeyboardInterrupt

    monitor.monitor_step()
    failed(project, "first")
    monitor.process_task = interrupt
    with pytest.raises(KeyboardInterrupt):
        monitor.monitor(pool_period=0)
    assert monitor.seen == ["first"]
