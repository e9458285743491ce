"""What connect() takes and gives back, against the real server."""

import copy
import json
import pickle
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pydantic
import pytest

from foldline import Task, arguments
from foldline.client import Client


@pytest.fixture
def task(server: Client, request: pytest.FixtureRequest) -> Task:
    return Task.create(project_name=request.node.name, task_name="connect")


@pytest.fixture
def by_agent(task: Task, server: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    yield task
    arguments.unwatch()


class Colour(Enum):
    red = "r"
    blue = "b"


@dataclass
class Inner:
    layers: int = 2


@dataclass(frozen=True)
class Options:
    lr: float = 0.1
    colour: Colour = Colour.red
    path: Path = Path("a")
    sizes: tuple[int, int] = (1, 2)
    inner: Inner = field(default_factory=Inner)
    anything: Any = field(default_factory=object)


class Model(pydantic.BaseModel):
    lr: float = 0.1
    names: list[str] = ["a"]
    more: dict[str, int] = {"x": 1}


def test_what_is_written_into_the_dict_is_on_the_task(task: Task):
    params = task.connect({"lr": 0.1, "model": {"layers": 2}, "old": 1})
    params["lr"] = 0.5
    params["model"]["layers"] = 3
    params["model"]["new"] = [1]
    params.update(epochs=3)
    params.setdefault("seed", 7)
    del params["old"]
    expected = {"lr": 0.5, "model/layers": 3, "model/new": [1], "epochs": 3, "seed": 7}
    assert task.get_parameters() == {f"General/{name}": value for name, value in expected.items()}
    params |= {"seed": True}
    assert params.pop("epochs") == 3
    assert task.get_parameter("General/seed") is True
    assert task.get_parameter("General/epochs") is None


def test_the_dict_is_a_dict_to_everybody(task: Task):
    params = task.connect({"a": {"b": 1}})
    for again in (copy.deepcopy(params), copy.copy(params), params.copy(), pickle.loads(pickle.dumps(params))):
        assert again == {"a": {"b": 1}}
        assert type(again) is dict
        assert type(again["a"]) is dict
    assert json.dumps(params) == '{"a": {"b": 1}}'
    task.upload_artifact("params", params)
    assert (task.artifacts["params"].format, task.artifacts["params"].get()) == ("json", {"a": {"b": 1}})


def test_a_write_that_the_server_refuses_is_only_a_warning(by_agent: Task, caplog: pytest.LogCaptureFixture):
    params = by_agent.connect({"a": 1})
    by_agent.mark_completed()
    params["a"] = 2
    assert params == {"a": 2}
    assert "a change of a connected dict did not reach the task" in caplog.text


def test_the_servers_value_meets_a_name_that_the_code_writes_later(by_agent: Task):
    by_agent.set_parameters({"General/lr": 0.5, "General/epochs": "9"})
    params = by_agent.connect({"lr": 0.1})
    params["epochs"] = 3
    assert params == {"lr": 0.5, "epochs": 9}
    params["epochs"] = 4
    params["lr"] = 0.01
    assert params == {"lr": 0.01, "epochs": 4}
    assert by_agent.get_parameters() == {"General/lr": 0.01, "General/epochs": 4}


def test_a_dataclass_with_another_inside(task: Task):
    options = Options()
    assert task.connect(options, name="options") is options
    assert task.get_parameters() == {
        "options/lr": 0.1,
        "options/colour": "red",
        "options/path": "a",
        "options/sizes": (1, 2),
        "options/inner/layers": 2,
    }
    colour = task.data.hyperparams["options"]["colour"]
    assert (colour.type, colour.description) == ("Colour", "one of red, blue")


def test_a_frozen_dataclass_gets_the_servers_values_in_its_types(by_agent: Task):
    by_agent.set_parameters(
        {
            "General/lr": "1",
            "General/colour": "blue",
            "General/path": "/b",
            "General/sizes": [3, 4],
            "General/inner/layers": "5",
        }
    )
    options = by_agent.connect(Options(anything=None))
    expected = Options(lr=1.0, colour=Colour.blue, path=Path("/b"), sizes=(3, 4), inner=Inner(5), anything=None)
    assert options == expected
    assert by_agent.get_parameter("General/anything", "absent") is None


def test_a_pydantic_model(by_agent: Task):
    by_agent.set_parameters({"General/lr": 1, "General/more/x": "2"})
    model = by_agent.connect(Model())
    assert model == Model(lr=1.0, more={"x": 2})
    assert by_agent.get_parameters() == {"General/lr": 1, "General/names": ["a"], "General/more/x": "2"}


def test_a_class_by_its_values(by_agent: Task):
    class Base:
        lr = 0.1
        _hidden = 1

    class Config(Base):
        epochs = 3
        names = ("a", "b")
        factory = object()

        @property
        def double(self) -> int:
            return 2 * self.epochs

    by_agent.set_parameter("General/epochs", "7")
    assert by_agent.connect(Config) is Config
    assert (Config.epochs, Config().double) == (7, 14)
    assert by_agent.get_parameters() == {"General/lr": 0.1, "General/epochs": "7", "General/names": ("a", "b")}


def test_parsed_arguments_by_hand_are_an_object_like_any(by_agent: Task):
    by_agent.set_parameters({"General/lr": "0.5", "mine/lr": 0.7})
    parsed = Namespace(lr=0.1)
    assert by_agent.connect(parsed) is parsed
    assert parsed.lr == 0.5
    assert by_agent.connect(Namespace(lr=0.1), name="mine").lr == 0.7


def test_a_configuration_dict_is_stored_again_when_it_changes(task: Task):
    config = task.connect_configuration({"layers": [1]}, name="net", description="of the net")
    config["layers"] = [1, 2]
    assert task.get_configuration_object_as_dict("net") == {"layers": [1, 2]}
    found = task.data["configuration"]["net"]
    assert (found["type"], found["description"]) == ("dictionary", "of the net")
    with pytest.raises(ValueError, match="a dict, a list or a path"):
        task.connect_configuration(3)


def test_labels(by_agent: Task):
    assert by_agent.get_labels_enumeration() == {}
    assert by_agent.connect_label_enumeration({"cat": 1}) == {"cat": 1}
    by_agent.set_model_label_enumeration({"dog": 2})
    mine = {"cat": 1}
    assert by_agent.connect_label_enumeration(mine) is mine
    assert mine == {"dog": 2}
    assert by_agent.connect_label_enumeration({"cow": 3}, ignore_remote_overrides=True) == {"cow": 3}
    assert by_agent.get_labels_enumeration() == {"cow": 3}


def test_user_properties_in_all_their_forms(task: Task):
    task.set_user_properties({"name": "one", "value": 1, "description": "d"}, {"two": 2, "three": {"value": 3}}, four=4)
    assert task.get_user_properties(value_only=True) == {"one": 1, "two": 2, "three": 3, "four": 4}
    assert task.get_user_properties()["one"]["description"] == "d"
    assert task.delete_user_properties({"section": "properties", "name": "one"}, ("properties", "two"), "three") is True
    assert task.delete_user_properties("one", "four") is False
    assert task.get_user_properties() == {}
