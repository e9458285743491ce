"""Models: put out by tasks, found and read by others, against the real server."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline import InputModel, Model, OutputModel, Task, arguments
from foldline.client import Client
from foldline.definition import definition_mode
from foldline.errors import DefinitionError, FoldlineError, NotFound
from foldline.models import Framework
from foldline.models.frameworks import framework_of


@pytest.fixture
def project(request: pytest.FixtureRequest, server: Client) -> str:
    return request.node.name


@pytest.fixture
def task(project: str) -> Task:
    return Task.create(project, "train")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "tree.pkl").write_bytes(b"weights")
    return tmp_path / "tree.pkl"


@pytest.fixture
def model(task: Task, weights: Path) -> OutputModel:
    """Of `task`, with weights."""
    made = OutputModel(task, name="tree", tags=["best"], config_dict={"depth": 3}, label_enumeration={"cat": 1})
    made.update_weights(str(weights), iteration=7)
    return made


@pytest.fixture
def run_by_agent(task: Task, server: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """`task`, as if this process had been started for its first attempt."""
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    yield task
    arguments.unwatch()


def read(path: str | None) -> bytes:
    return Path(str(path)).read_bytes()


# Made


def test_what_a_task_puts_out_another_reads(model: OutputModel, task: Task, project: str, weights: Path):
    found = InputModel(model_id=model.id)
    assert read(found.get_weights()) == read(found.get_local_copy()) == b"weights"
    assert (found.name, found.project, found.task, found.framework) == ("tree", project, task.id, "ScikitLearn")
    assert (found.tags, found.labels, found.config_dict, found.config_text) == (
        ["best"],
        {"cat": 1},
        {"depth": 3},
        '{\n  "depth": 3\n}',
    )
    assert found.comment == f"snapshot {weights} stored"
    assert found.url == model.url
    assert found.url.endswith("/tree.pkl")
    assert weights.exists()
    assert (found.published, found.system_tags, found.original_task) == (False, [], task.id)


def test_new_weights_are_the_same_model(model: OutputModel, task: Task, weights: Path, server: Client):
    weights.write_bytes(b"better")
    model.comment = "by hand"
    url = model.update_weights(str(weights), target_filename="best.onnx", iteration=8)
    assert url.endswith("/best.onnx")
    [record] = server.tasks.get(task.id)["models"]["output"]
    assert (record["id"], record["url"], record["iteration"]) == (model.id, url, 8)
    assert record["comment"] == f"snapshot {weights} stored\nby hand"
    model.update_weights(str(weights), update_comment=False)
    assert model.comment == record["comment"]
    assert read(Model(model.id).get_local_copy()) == b"better"


def test_before_its_weights_a_model_is_on_no_record(task: Task, server: Client):
    made = OutputModel(task)
    made.name, made.tags = "later", ["a"]
    made.update_labels({"dog": 2})
    made.update_design(config_text="depth: 3")
    assert (made.name, made.url, made.published, made.labels) == ("later", "", False, {"dog": 2})
    assert server.tasks.get(task.id)["models"]["output"] == []
    with pytest.raises(NotFound):
        print(Model(made.id).name)
    made.update_weights(register_uri="s3://bucket/m.pt")
    found = Model(made.id)
    assert (found.name, found.tags, found.url, found.framework) == ("later", ["a"], "s3://bucket/m.pt", "PyTorch")
    assert found.config_text == "depth: 3"
    with pytest.raises(DefinitionError, match="is no JSON"):
        print(found.config_dict)


def test_configuration_and_labels_are_the_tasks(task: Task, weights: Path):
    task.set_model_label_enumeration({"cat": 1})
    task.set_model_config(config_dict={"depth": 3})
    made = OutputModel(task)
    made.update_weights(str(weights))
    assert (made.name, made.labels, made.config_dict) == ("train", {"cat": 1}, {"depth": 3})
    made.labels, made.config_dict = {"dog": 2}, {"depth": 4}
    assert (Model(made.id).labels, Model(made.id).config_dict) == ({"dog": 2}, {"depth": 4})


def test_a_model_is_made_by_a_task(run_by_agent: Task, weights: Path, monkeypatch: pytest.MonkeyPatch):
    made = OutputModel(name="mine")
    made.update_weights(str(weights))
    assert run_by_agent.models["output"]["tree"].id == made.id
    other = Task.create("p", "other")
    with pytest.raises(ValueError, match="make another one"):
        made.connect(other)
    monkeypatch.delenv("FOLDLINE_TASK_ID")
    with pytest.raises(ValueError, match=r"call Task\.init first"):
        OutputModel()


def test_an_attempt_that_is_over_puts_out_no_models(run_by_agent: Task, weights: Path, server: Client):
    made = OutputModel(run_by_agent)
    server.tasks.stop(run_by_agent.id, now=True)
    server.tasks.start(run_by_agent.id, session="5f" * 16, host="elsewhere")
    with pytest.raises(FoldlineError, match=r"Attempt 1 .* is over"):
        made.update_weights(str(weights))


@pytest.mark.parametrize(("given", "deleted"), [({"auto_delete_file": False}, False), ({}, True)])
def test_weights_may_go_to_another_store(task: Task, weights: Path, tmp_path: Path, given: dict, deleted: bool):
    made = OutputModel(task)
    url = made.update_weights(str(weights), upload_uri=str(tmp_path / "store"), **given)
    assert url.startswith((tmp_path / "store").as_uri())
    digest = hashlib.sha256(b"weights").hexdigest()
    assert url.endswith(f"/train.{task.id}/models/sha256-{digest}/tree.pkl")
    assert read(Model(made.id).get_weights()) == b"weights"
    assert weights.exists() is not deleted
    assert made.upload_storage_uri == str(tmp_path / "store")


def test_where_weights_go_by_default(task: Task, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(OutputModel, "_default_uri", None)
    OutputModel.set_default_upload_uri(str(tmp_path / "all"))
    made = OutputModel(task)
    assert made.update_weights(str(weights), auto_delete_file=False).startswith((tmp_path / "all").as_uri())
    task.output_uri = str(tmp_path / "tasks")
    assert made.update_weights(str(weights)).startswith((tmp_path / "tasks").as_uri())
    OutputModel.set_default_upload_uri(None)
    OutputModel.wait_for_uploads()


def test_several_files_are_a_package(task: Task, tmp_path: Path):
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    (tmp_path / "pack" / "a.bin").write_text("a")
    (tmp_path / "pack" / "sub" / "b.bin").write_text("b")
    whole = OutputModel(task, name="whole")
    url = whole.update_weights(str(tmp_path / "pack"))
    assert url.endswith("/pack.zip")
    found = Model(whole.id)
    assert found.system_tags == ["package"]
    files: Any = found.get_weights_package()
    assert [path.name for path in files] == ["a.bin", "sub"]
    assert (Path(str(found.get_local_copy())) / "sub" / "b.bin").read_text() == "b"
    some = OutputModel(task, name="some")
    names = [str(tmp_path / "pack" / "a.bin"), str(tmp_path / "pack" / "sub" / "b.bin")]
    assert some.update_weights_package(names) == url.replace("pack.zip", "model_package.zip")
    single = OutputModel(task, name="single")
    single.update_weights(names[0])
    with pytest.raises(ValueError, match="one file, not a package"):
        Model(single.id).get_weights_package()


def test_what_makes_no_sense_is_refused(task: Task, weights: Path):
    made = OutputModel(task)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "either weights_filename"),
        ({"weights_filename": str(weights), "register_uri": "s3://b/x"}, "either weights_filename"),
        ({"weights_filename": "gone.pkl"}, r"there is no file gone\.pkl"),
    ]
    for given, said in wrong:
        with pytest.raises(ValueError, match=said):
            made.update_weights(**given)
    with pytest.raises(ValueError, match="either weights_filenames"):
        made.update_weights_package()
    with pytest.raises(ValueError, match=r"no file .*gone\.pkl"):
        made.update_weights_package(["gone.pkl"])
    with pytest.raises(ValueError, match="either config_text or config_dict"):
        OutputModel(task, config_text="a", config_dict={})
    with pytest.raises(ValueError, match="whole numbers"):
        made.update_labels({"cat": "1"})  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match="JSON"):
        made.update_design(config_dict={"a": object()})


def test_what_is_published_changes_no_more(model: OutputModel, weights: Path, server: Client, task: Task):
    Model(model.id).publish()
    for change in (
        lambda: model.update_weights(str(weights)),
        lambda: model.update_labels({}),
        lambda: model.update_design("x"),
        lambda: model.set_upload_destination("s3://b"),
    ):
        with pytest.raises(ValueError, match="is published and cannot be changed"):
            change()
    model.tags = ["still", "tagged"]
    assert (Model(model.id).published, Model(model.id).tags) == (True, ["still", "tagged"])


def test_a_model_may_be_made_anew(model: OutputModel, project: str, weights: Path):
    again = Task.create(project, "train again")
    weights.write_bytes(b"again")
    more = OutputModel(again, base_model_id=model.id, comment="continued")
    more.update_weights(str(weights))
    found = Model(model.id)
    assert (more.id, found.task, found.name, found.tags) == (model.id, again.id, "tree", ["best"])
    assert read(found.get_weights()) == b"again"


def test_metadata_keeps_its_types(model: OutputModel):
    model.set_metadata("accuracy", "0.9", "float")
    model.set_metadata("shape", "[1, 2]", "list")
    model.set_metadata("odd", "x", "int")
    found = Model(model.id)
    assert (found.get_metadata("accuracy"), found.get_metadata_casted("accuracy")) == ("0.9", 0.9)
    assert found.get_all_metadata_casted() == {"accuracy": 0.9, "shape": [1, 2], "odd": "x"}
    assert found.get_metadata("none") is found.get_metadata_casted("none") is None
    found.set_all_metadata({"n": {"value": "1", "type": "int"}}, replace=False)
    assert Model(model.id).get_all_metadata_casted() == {"accuracy": 0.9, "shape": [1, 2], "odd": "x", "n": 1}
    found.set_all_metadata({"yes": {"value": "True", "type": "bool"}})
    assert Model(model.id).get_all_metadata() == {"yes": {"value": "True", "type": "bool"}}
    assert Model.query_models(metadata={"yes": "True"})[0].id == model.id


def test_what_is_reported_stands_with_the_task(model: OutputModel, task: Task):
    model.report_single_value("accuracy", 0.9)
    assert task.flush()
    assert task.get_reported_single_value("accuracy") == 0.9
    with pytest.raises(AttributeError, match="report_nothing"):
        model.report_nothing("x")


# Found


def test_models_are_found(project: str, task: Task, weights: Path, model: OutputModel):
    other = OutputModel(task, name="other", tags=["best", "large"])
    other.update_weights(str(weights))
    other.publish()

    def found(**asked: Any) -> list[str]:
        return [one.name for one in Model.query_models(project_name=project, **asked)]

    assert found() == ["other", "tree"]
    assert found(model_name="tree") == ["tree"]
    assert found(tags=["best", "-large"]) == ["tree"]
    assert found(tags=["__$all", "best", "large"]) == ["other"]
    assert found(only_published=True) == ["other"]
    assert found(max_results=1) == ["other"]
    model.archive()
    assert (found(), found(include_archived=True)) == (["other"], ["other", "tree"])
    Model(model.id).unarchive()
    assert found() == ["other", "tree"]
    assert InputModel(name="other", project=project, tags=["large"], only_published=True).id == other.id
    with pytest.raises(ValueError, match=r"there is no model with name='gone'"):
        InputModel(name="gone", project=project)


def test_removed_means_out_of_sight(model: OutputModel, project: str):
    assert Model.remove(model.id) is True
    assert Model.query_models(project_name=project) == []
    assert Model(model.id).system_tags == ["archived"]
    assert Model.remove("nothing") is False
    with pytest.raises(NotFound):
        Model.remove("nothing", raise_on_errors=True)


def test_weights_that_cannot_be_had(task: Task, caplog: pytest.LogCaptureFixture):
    made = OutputModel(task)
    made.update_weights(register_uri="/nowhere/m.pkl")
    assert made.url == "file:///nowhere/m.pkl"
    assert Model(made.id).get_weights() is None
    assert "cannot be fetched" in caplog.text
    with pytest.raises(FoldlineError, match="no file"):
        Model(made.id).get_local_copy(raise_on_error=True)
    with pytest.raises(FoldlineError, match="no weights yet"):
        OutputModel(task).get_weights(raise_on_error=True)


# Read


def test_a_tasks_models_by_place_and_name(model: OutputModel, task: Task, weights: Path):
    second = OutputModel(task, name="forest")
    second.connect(task, name="listed")
    second.update_weights(str(weights))
    models = task.models
    assert [one.id for one in models["output"]] == [model.id, second.id]
    assert models.output[-1].id == models["output"]["listed"].id == models.output["forest"].id == second.id
    assert list(models.output.keys()) == ["tree", "listed"]
    assert (models.output.get("none"), models.output.get(5, "none"), len(models["input"])) == (None, "none", 0)
    with pytest.raises(KeyError, match="it has tree, listed"):
        models.output["none"]
    assert task.output_models_id == {"tree": model.id, "listed": second.id}
    second.connect(task, name="renamed")
    assert list(task.get_models()["output"].keys()) == ["tree", "renamed"]


def test_what_a_task_reads_is_on_its_record(model: OutputModel, project: str, weights: Path):
    reader = Task.create(project, "infer")
    read_model = InputModel(model.id)
    assert reader.connect(read_model) is read_model
    assert reader.input_models_id == {"tree": model.id}
    assert reader.get_labels_enumeration() == {"cat": 1}
    assert reader.get_model_config_dict() == {"depth": 3}
    assert Model(model.id).task == model.task
    next_one = OutputModel(reader)
    next_one.update_weights(str(weights))
    assert reader.models.output[0]._data()["parent"] == model.id
    other = Task.create(project, "infer more")
    other.set_input_model(model_name="tree", name="base", update_task_labels=False, update_task_design=False)
    assert (other.input_models_id, other.get_labels_enumeration()) == ({"base": model.id}, {})


def test_the_model_that_the_task_names_takes_its_place(model: OutputModel, run_by_agent: Task, weights: Path):
    chosen = OutputModel(run_by_agent, name="chosen")
    chosen.update_weights(str(weights))
    run_by_agent.connect(InputModel(chosen.id), name="base")
    connected = InputModel(model.id)
    run_by_agent.connect(connected, name="base")
    assert connected.id == chosen.id
    kept = InputModel(model.id)
    kept.connect(run_by_agent, name="base", ignore_remote_overrides=True)
    assert (kept.id, run_by_agent.input_models_id["base"]) == (model.id, model.id)


def test_a_model_is_imported_once(project: str, server: Client, tmp_path: Path):
    url = f"https://example.com/{project}/resnet.pt"
    assert InputModel.load_model(url) is None
    made = InputModel.import_model(url, name="resnet", project=project, tags=["x"], create_as_published=True)
    assert (made.framework, made.published, made.project, made.tags) == ("PyTorch", True, project, ["x"])
    again = InputModel.import_model(url, name="other name")
    assert (again.id, again.name) == (made.id, "resnet")
    holder = server.tasks.get(made.task)
    assert (holder["name"], holder["system_tags"], holder["status"]) == ("resnet", ["model"], "created")
    made.archive()
    assert InputModel.load_model(url) is None
    found = InputModel.load_model(url, load_archived=True)
    assert found is not None
    assert found.id == made.id
    local = InputModel.import_model(str(tmp_path / "m.bin"), config_dict={"a": 1}, is_package=True, project=project)
    assert (local.url, local.config_dict, local.system_tags) == ((tmp_path / "m.bin").as_uri(), {"a": 1}, ["package"])


def test_what_a_task_imports_is_on_its_record(run_by_agent: Task, project: str):
    made = InputModel.import_model(f"s3://bucket/{project}/m.onnx", label_enumeration={"a": 0})
    assert (made.task, made.labels, made.project) == (run_by_agent.id, {"a": 0}, project)
    assert run_by_agent.input_models_id == {"m": made.id}


def test_an_empty_model_is_nobodys(task: Task):
    blank = InputModel.empty(config_dict={"depth": 1}, label_enumeration={"a": 0})
    task.connect(blank)
    assert (blank.id, blank.config_dict, blank.labels, list(task.models["input"])) == ("", {"depth": 1}, {"a": 0}, [])


def test_an_output_model_in_a_line(task: Task, weights: Path):
    first = task.update_output_model(str(weights), name="base", model_name="tree", tags=["t"])
    [made] = task.models["output"]
    assert (made.name, made.url, made.tags, list(task.output_models_id)) == ("tree", first, ["t"], ["base"])
    weights.write_bytes(b"more")
    task.update_output_model(str(weights), name="base", model_name="tree")
    task.update_output_model("s3://bucket/other.pt")
    assert task.output_models_id.keys() == {"base", "other"}
    assert task.output_models_id["base"] == made.id
    assert read(Model(made.id).get_weights()) == b"more"


def test_while_a_step_is_defined_no_model_is_made(model: OutputModel, task: Task, weights: Path):
    with definition_mode():
        later = OutputModel(task, name="later")
        assert not later.update_weights(str(weights))
        read_later = InputModel(model.id)
    assert [one.id for one in task.models["output"]] == [model.id]
    assert read_later.name == "tree"
    later.update_weights(str(weights))
    assert [one.name for one in task.models["output"]] == ["tree", "later"]


@pytest.mark.parametrize(
    ("filename", "framework"),
    [("m.PT", Framework.pytorch), ("predict_net.pb", Framework.caffe2), ("m.pb", Framework.tensorflow), ("m", "")],
)
def test_frameworks_are_told_by_their_files(filename: str, framework: str):
    assert framework_of(filename) == framework


def test_packages_are_the_same_bytes_for_the_same_files(task: Task, tmp_path: Path):
    urls: list[str] = []
    for at in (1_000_000_000, 1_500_000_000):
        (tmp_path / "a.bin").write_text("a")
        os.utime(tmp_path / "a.bin", (at, at))
        urls.append(OutputModel(task).update_weights_package([str(tmp_path / "a.bin")]))
    assert urls[0] == urls[1]
