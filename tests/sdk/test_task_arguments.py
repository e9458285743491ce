"""argparse, parsed before Task.init or after, in all the ways that scripts parse."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foldline import Task, arguments
from foldline.client import Client
from foldline.errors import DefinitionError


@pytest.fixture
def by_agent(server: Client, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A task, as if this process had been started for it; its script's command line is empty."""
    task = Task.create(project_name=request.node.name, task_name="arguments")
    server.tasks.start(task.id, session="5e" * 16, host="test")
    monkeypatch.setenv("FOLDLINE_TASK_ID", task.id)
    monkeypatch.setenv("FOLDLINE_ATTEMPT", "1")
    monkeypatch.setattr("sys.argv", ["train.py"])
    yield task
    arguments.unwatch()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--lr", type=float, default=0.1)
    made.add_argument("--epochs", type=int, default=3)
    made.add_argument("--name", default="n")
    made.add_argument("--verbose", action=argparse.BooleanOptionalAction, default=True)
    return made


def values(task: Task) -> dict[str, Any]:
    return task.get_parameters_as_dict().get("Args", {})


def test_parsed_before_the_task_is_begun(by_agent: Task):
    by_agent.set_parameters({"Args/lr": "0.5", "Args/verbose": "False"})
    parsed = parser().parse_args()
    assert (parsed.lr, parsed.verbose) == (0.5, False)
    assert values(by_agent) == {"lr": "0.5", "verbose": "False"}
    Task.init()
    assert values(by_agent) == {"lr": "0.5", "verbose": "False", "epochs": 3, "name": "n"}
    assert vars(parsed) == {"lr": 0.5, "epochs": 3, "name": "n", "verbose": False}


def test_known_ones_among_others(by_agent: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--lr", "1", "--unknown", "x"])
    by_agent.set_parameters({"Args/epochs": 9})
    Task.init()
    parsed, rest = parser().parse_known_args()
    assert (parsed.lr, parsed.epochs, rest) == (1.0, 9, ["--unknown", "x"])


@pytest.mark.parametrize("given", [None, [], ["--lr", "1"]], ids=["by itself", "empty", "spelled out"])
def test_the_command_line_however_it_is_handed_over(
    by_agent: Task, monkeypatch: pytest.MonkeyPatch, given: list[str] | None
):
    monkeypatch.setattr("sys.argv", ["train.py", *(given or [])])
    Task.init()
    parser().parse_args(given)
    assert values(by_agent)["lr"] == (1.0 if given else 0.1)


def test_a_list_of_the_programs_own_is_not_the_command_line(by_agent: Task):
    Task.init()
    assert parser().parse_args(["--lr", "1"]).lr == 1.0
    assert values(by_agent) == {}


def with_subcommands() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--seed", type=int, default=1)
    commands = made.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--lr", type=float, required=True, help="how fast")
    commands.add_parser("test").add_argument("--split")
    return made


def test_subcommands(by_agent: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "train"])
    by_agent.set_parameters({"Args/lr": "0.5", "Args/seed": 7})
    Task.init()
    parsed = with_subcommands().parse_args()
    assert vars(parsed) == {"seed": 7, "command": "train", "lr": 0.5}
    assert values(by_agent) == {"lr": "0.5", "seed": 7, "command": "train"}
    with pytest.raises(SystemExit):
        with_subcommands().parse_args(["train", "--seed", "2"])


def test_a_subcommand_that_only_the_server_knows(by_agent: Task):
    by_agent.set_parameters({"Args/command": "train", "Args/lr": "0.5"})
    Task.init()
    assert vars(with_subcommands().parse_args()) == {"seed": 1, "command": "train", "lr": 0.5}


@pytest.mark.parametrize(
    ("wanted", "tied"),
    [
        pytest.param({"lr": False}, ["epochs", "name", "verbose"], id="all but one"),
        pytest.param({"lr": True, "*": False}, ["lr"], id="one only"),
        pytest.param({}, [], id="an empty choice"),
        pytest.param(False, [], id="none"),
    ],
)
def test_which_are_tied(by_agent: Task, wanted: Any, tied: list[str]):
    Task.init(auto_connect_arg_parser=wanted)
    parser().parse_args()
    assert sorted(values(by_agent)) == tied


def test_types_of_every_kind(by_agent: Task, tmp_path: Path):
    (tmp_path / "file").write_text("text")
    made = argparse.ArgumentParser()
    made.add_argument("--flag", type=bool, default=True)
    made.add_argument("--path", type=Path, default=Path("a"))
    made.add_argument("--pairs", type=lambda text: tuple(text.split("=")), nargs="*", default=[])
    made.add_argument("--level", action="count", default=0)
    made.add_argument("--tag", action="append")
    made.add_argument("--kind", choices=["a", "b"], default="a")
    made.add_argument("--file", type=argparse.FileType(), default=str(tmp_path / "file"))
    by_agent.set_parameters(
        {
            "Args/flag": "False",
            "Args/path": "/b",
            "Args/pairs": ["x=1", "y=2"],
            "Args/level": 2,
            "Args/tag": ["t"],
            "Args/kind": "b",
        }
    )
    Task.init()
    parsed = made.parse_args()
    with parsed.file as file:
        assert file.read() == "text"
    assert (parsed.flag, parsed.path, parsed.pairs) == (False, Path("/b"), [("x", "1"), ("y", "2")])
    assert (parsed.level, parsed.tag, parsed.kind) == (2, ["t"], "b")


def test_a_value_that_an_option_cannot_have(by_agent: Task):
    by_agent.set_parameter("Args/epochs", "many")
    Task.init()
    with pytest.raises(DefinitionError, match="Args/epochs cannot be 'many'"):
        parser().parse_args()


def test_without_a_task_nothing_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--lr", "1"])
    monkeypatch.setenv("FOLDLINE_URL", "http://127.0.0.1:9")
    assert parser().parse_args().lr == 1.0
    arguments.unwatch()
