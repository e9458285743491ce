"""Models: one row each, whichever tasks speak of them."""

from typing import Any

import pytest

from domain.task import EndTask, ModelAdded, PublishTask, ResetTask
from eventstore.sql import SqlStore
from projections import following, queries
from projections.queries import Row
from projections.runner import Runner
from projections.tables import model_row, model_tag
from tests.projections.rows import ON_SQLITE, rows_of
from tests.projections.world import World


def shown(store: SqlStore, runner: Runner, **asked: Any) -> list[Row]:
    runner.catch_up()
    with store.database.reading() as connection:
        return queries.models(connection, **asked)[0]


def made(world: World, *models: ModelAdded) -> str:
    """A task that has named these."""
    task_id = world.task()
    for model in models:
        world.do(task_id, model)
    return task_id


def output(key: str, **fields: Any) -> ModelAdded:
    return ModelAdded(**{"id": key, "kind": "output", "name": key, **fields})


def test_a_model_has_all_that_was_said_of_it(world: World, store: SqlStore, runner: Runner):
    said = {
        "url": "s3://b/m",
        "project": "iris",
        "framework": "ONNX",
        "comment": "good",
        "tags": ["a", "ü" * 300],
        "labels": {"cat": 1},
        "config_text": "x",
        "config_dict": {"depth": 3},
        "metadata": {"k": {"value": "1", "type": "int"}},
        "parent": "p",
        "iteration": 7,
    }
    task_id = made(world, output("m", **said))
    [row] = shown(store, runner)
    assert {name: row[name] for name in said} == said
    assert (row["id"], row["task"], row["kind"], row["published"], row["archived"]) == (
        "m",
        task_id,
        "output",
        False,
        False,
    )
    assert row["created_at"] == row["changed_at"]


def test_the_newest_word_about_a_model_counts_and_it_keeps_its_place(world: World, store: SqlStore, runner: Runner):
    task_id = made(world, output("m", tags=["old"]), output("n"))
    world.do(task_id, output("m", tags=["new"], archived=True))
    newest, oldest = shown(store, runner)
    assert (newest["id"], oldest["id"], oldest["tags"], oldest["archived"]) == ("n", "m", ["new"], True)
    assert oldest["created_at"] <= oldest["changed_at"]
    assert list(rows_of(store, model_tag)) == [("new", "m")]


@ON_SQLITE
def test_who_reads_a_model_does_not_change_it(world: World, store: SqlStore, runner: Runner):
    reader = made(world, ModelAdded(id="m", kind="input", name="first word"))
    maker = made(world, output("m", name="made"))
    world.do(reader, ModelAdded(id="m", kind="input", name="read again"))
    made(world, ModelAdded(id="m", kind="input", name="read elsewhere"))
    [row] = shown(store, runner)
    assert (row["name"], row["task"], row["kind"]) == ("made", maker, "output")


@ON_SQLITE
def test_a_task_that_is_published_publishes_its_models(world: World, store: SqlStore, runner: Runner):
    task_id = made(world, output("m"), ModelAdded(id="in", kind="input", name="in"))
    world.begin(task_id)
    world.do(task_id, EndTask(status="completed"))
    runner.catch_up()
    world.do(task_id, PublishTask())
    assert [row["id"] for row in shown(store, runner, published=True)] == ["m"]
    world.do(task_id, output("m", tags=["later"], published=True))
    assert [row["tags"] for row in shown(store, runner, published=True)] == [["later"]]


@ON_SQLITE
@pytest.mark.parametrize("page", [1, 100])
def test_a_reset_forgets_what_is_not_published(world: World, store: SqlStore, runner: Runner, monkeypatch, page: int):
    monkeypatch.setattr(following, "PAGE", page)
    task_id = made(world, output("draft", tags=["a"]), output("kept", published=True))
    other = made(world, output("other"))
    for one in (task_id, other):
        world.begin(one)
        world.do(one, EndTask(status="failed"))
    world.do(task_id, ResetTask())
    assert [row["id"] for row in shown(store, runner)] == ["other", "kept"]
    assert rows_of(store, model_tag) == {}


FILTERS = [
    ({"project": "iris"}, ["b", "a"]),
    ({"name": "a"}, ["a"]),
    ({"tags": ["x", "none"]}, ["c", "a"]),
    ({"framework": "ONNX"}, ["c"]),
    ({"url": "s3://b/" + "u" * 300}, ["b"]),
    ({"published": True}, ["b"]),
    ({"archived": False}, ["b", "a"]),
    ({"model_id": "c"}, ["c"]),
    ({"task_id": "nobody"}, []),
]


@pytest.mark.parametrize(("asked", "found"), FILTERS, ids=lambda part: str(part)[:40])
@ON_SQLITE
def test_models_are_chosen(world: World, store: SqlStore, runner: Runner, asked: dict[str, Any], found: list[str]):
    made(
        world,
        output("a", project="iris", tags=["x"]),
        output("b", project="iris", url="s3://b/" + "u" * 300, published=True),
        output("c", project="other", tags=["x", "y"], framework="ONNX", archived=True),
    )
    assert [row["name"] for row in shown(store, runner, **asked)] == found


@ON_SQLITE
def test_rows_made_anew_are_the_same(world: World, store: SqlStore, runner: Runner):
    task_id = made(world, output("m", tags=["a"]), output("n"))
    world.do(task_id, output("m", tags=["b"]))
    runner.catch_up()
    before = rows_of(store, model_row), rows_of(store, model_tag)
    runner.rebuild("models")
    assert (rows_of(store, model_row), rows_of(store, model_tag)) == before
