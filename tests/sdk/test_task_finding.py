"""Tasks found by their filters, against the real server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from foldline import Task
from foldline.client import Client, shared
from foldline.errors import NotFound, NotSupported
from tests.sdk.settling import settle


@pytest.fixture(scope="module")
def made(server_url: str) -> dict[str, str]:
    """Five tasks by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOLDLINE_URL", server_url)
        base = Task.create("finding", "base", task_type="data_processing")
        first = Task.clone(base, name="first", parent=base, comment="with care")
        first.set_script(repository="https://example.org/cats.git", commit="abc")
        first.set_tags(["a", "b"])
        second = Task.clone(base, name="second", parent=base)
        second.set_parameters({"Args/lr": 0.5})
        second.set_tags(["a"])
        second.mark_failed(force=True)
        archived = Task.create("finding", "archived")
        archived.set_archived(True)
        other = Task.create("finding/other", "first")
        settle(shared())
    return {"base": base.id, "first": first.id, "second": second.id, "archived": archived.id, "other": other.id}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"project_name": "finding"}, "archived second first base", id="a project, newest first"),
        pytest.param({"project_name": ["finding", "finding/other"]}, "archived second first base other", id="projects"),
        pytest.param({"project_name": "finding/.pipelines/a"}, "archived second first base", id="a hidden project"),
        pytest.param({"project_name": "finding", "task_name": "^(base|first)$"}, "first base", id="a pattern of names"),
        pytest.param({"project_name": "finding", "tags": ["a", "-b"]}, "second", id="tags"),
        pytest.param({"project_name": "finding", "tags": ["__$all", "a", "b"]}, "first", id="an algebra of tags"),
        pytest.param({"task_filter": {"tags": ["b"], "search_text": "CARE"}}, "first", id="a text in the comment"),
    ],
)
def test_queries(made: dict[str, str], server: Client, asked: dict[str, object], expected: str):
    assert Task.query_tasks(**asked) == [made[name] for name in expected.split()]  # pyright: ignore


@pytest.mark.parametrize(
    ("task_filter", "expected"),
    [
        pytest.param({"status": ["failed"]}, "second", id="status"),
        pytest.param({"status": [Task.TaskStatusEnum.failed, "stopped"]}, "second", id="status as a constant"),
        pytest.param({"type": [Task.TaskTypes.data_processing]}, "second first base", id="type"),
        pytest.param({"parent": "base"}, "second first", id="parent"),
        pytest.param({"system_tags": ["-archived"]}, "second first base", id="system tags"),
        pytest.param({"id": ["base"]}, "base", id="ids"),
        pytest.param({"order_by": ["name"]}, "archived base first second", id="ordered"),
        pytest.param({"order_by": ["-name"], "page_size": 2, "page": 1}, "base archived", id="a page"),
        pytest.param({"order_by": ["-started"], "page_size": 1}, "second", id="what has none stands last"),
        pytest.param({"_all_": {"fields": ["script.repository"], "pattern": "cats"}}, "first", id="all fields"),
        pytest.param({"_any_": {"fields": ["comment", "name"], "pattern": "care|base"}}, "first base", id="any field"),
        pytest.param({"search_hidden": True, "only_fields": ["id"]}, "archived second first base", id="nothing hidden"),
        pytest.param({"started": [">2020-01-01"]}, "second", id="a time"),
    ],
)
def test_filters(made: dict[str, str], server: Client, task_filter: dict[str, object], expected: str):
    asked = {
        name: made[value] if name == "parent" else [made[one] for one in value] if name == "id" else value  # pyright: ignore
        for name, value in task_filter.items()
    }
    found = Task.query_tasks("finding", task_filter=asked)
    assert found == [made[name] for name in expected.split()]
    assert Task.get_all(project="finding", **asked).response.tasks == [server.tasks.get(str(one)) for one in found]


def test_a_time_to_come_finds_nothing(made: dict[str, str], server: Client):
    bound = datetime.now(UTC) + timedelta(days=1)
    assert Task.query_tasks("finding", task_filter={"created": [f">={bound.isoformat()}"]}) == []


def test_fields_come_by_clearmls_names(made: dict[str, str], server: Client):
    fields = ["status", "script.version_num", "hyperparams.Args.lr.value", "last_update", "no.such"]
    found: list[Any] = Task.query_tasks("finding", "second|first", additional_return_fields=fields)
    assert [{name: one[name] for name in fields if name != "last_update"} for one in found] == [
        {"status": "failed", "script.version_num": "", "hyperparams.Args.lr.value": 0.5, "no.such": None},
        {"status": "created", "script.version_num": "abc", "hyperparams.Args.lr.value": None, "no.such": None},
    ]
    assert all(isinstance(one["last_update"], datetime) for one in found)


def test_one_task_is_the_last_that_changed_and_is_not_archived(server: Client):
    older, newer = Task.create("finding one", "t"), Task.create("finding one", "t")
    assert Task.get_task(project_name="finding one", task_name="t") == newer
    older.mark_completed(force=True)
    assert Task.get_task(project_name="finding one", task_name="t") == older
    older.set_archived(True)
    assert Task.get_task(project_name="finding one", task_name="t") == newer
    newer.set_archived(True)
    assert Task.get_task(project_name="finding one", task_name="t") == older
    assert Task.get_task(project_name="finding one", task_name="t", allow_archived=False) is None
    assert Task.get_tasks(project_name="finding one", allow_archived=False) == []
    assert Task.get_by_name("t") == older


def test_a_filter_there_is_not_is_said(server: Client):
    with pytest.raises(NotSupported, match=r"knows id, name, .*, not colour"):
        Task.query_tasks(task_filter={"colour": "red"})


def test_a_deleted_task_is_not_found(server: Client):
    task = Task.create("finding deleted", "t")
    Task.enqueue(task, "default")
    assert task.delete() is False
    with pytest.raises(Exception, match="is queued: stop it, then delete it"):
        task.delete(raise_on_error=True)
    Task.dequeue(task)
    assert task.delete() is True
    assert Task.query_tasks(task_name="^t$", task_filter={"id": [task.id]}) == []
    with pytest.raises(NotFound, match="was deleted"):
        Task.get_task(task.id)


def test_projects(made: dict[str, str], server: Client):
    assert Task.get_project_id("finding/other") == "finding/other"
    assert Task.get_project_id("no such project") is None
    assert {project.name for project in Task.get_projects(name="^finding(/|$)")} == {"finding", "finding/other"}
