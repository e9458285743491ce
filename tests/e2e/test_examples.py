"""The examples run as their readers run them, on real data, against one server and its agents."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.house import ROOT, House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server, an agent for steps, and one in services mode for the pipelines' own functions."""
    with House(tmp_path_factory.mktemp("examples")) as house:
        house.serve()
        # Out of this repository, which would travel with each step.
        shutil.copytree(ROOT / "examples", house.folder / "examples")
        house.agent("-q", "default", "--slots", "4")
        house.python("services", "-m", "foldline", "agent", "start", "--services")
        yield house


def run(house: House, *command: str) -> str:
    """What `python examples/...` prints; it has to end well."""
    done = house.run_python(str(house.folder / "examples" / command[0]), *command[1:], timeout=180)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def ended(house: House, said: str) -> dict[str, Any]:
    """The run that the script said it had submitted, once it has completed."""
    run_id = said.split("(", 1)[1].split(")", 1)[0]
    run = house.wait(run_id, 180)
    assert run["status"] == "completed", run["reason"]
    return run


def artifact(house: House, task_id: str, name: str) -> Any:
    return json.loads(house.client.blobs.read(house.client.tasks.get(task_id)["artifacts"][name]["sha256"]))


def returned(house: House, task_id: str, name: str) -> Any:
    return house.client.tasks.get(task_id)["hyperparameters"]["return"][name]["value"]


@pytest.mark.slow
def test_functions(house: House):
    done = ended(house, run(house, "functions/pipeline.py"))
    steps = house.steps(done["id"])
    assert steps["train linear"]["parents"] == steps["train tree"]["parents"] == ["split"]
    accuracy = artifact(house, steps["pick"]["task_id"], "accuracy")
    assert set(accuracy) == {"linear", "tree"}
    assert min(accuracy.values()) > 0.85
    assert accuracy[returned(house, steps["pick"]["task_id"], "winner")] == max(accuracy.values())


@pytest.mark.slow
def test_decorator(house: House):
    done = ended(house, run(house, "decorator/pipeline.py"))
    steps = house.steps(done["id"])
    assert list(steps) == ["load", "spread", "scale", *("validate", "validate_1", "validate_2", "validate_3"), "pick"]
    assert {tuple(steps[name]["parents"]) for name in steps if name.startswith("validate")} == {("scale", "load")}
    assert steps["pick"]["parents"][:4] == ["validate", "validate_1", "validate_2", "validate_3"]
    best = artifact(house, done["id"], "best")
    found = {n: returned(house, steps[f"validate_{n}" if n else "validate"]["task_id"], "accuracy") for n in range(4)}
    assert best["accuracy"] == max(found.values()) > 0.9
    assert best["neighbours"] == [1, 3, 9, 27][max(found, key=lambda n: (found[n], n))]


@pytest.mark.slow
def test_custom_training_until_it_is_good(house: House):
    run(house, "custom/train.py")
    said = run(house, "custom/until_good.py")
    accuracies = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("depth ")]
    assert len(accuracies) > 1
    assert all(accuracy < 0.95 for accuracy in accuracies[:-1])
    assert accuracies[-1] >= 0.95
    [found] = house.client.tasks.list(project="custom", name="until good")
    best = artifact(house, found["id"], "best")
    assert best["depth"] == 1 + len(accuracies)
    assert house.client.tasks.get(best["task_id"])["parent"] == found["id"]
    assert house.client.tasks.scalars(found["id"])["last"]["search"]["accuracy"]["count"] == len(accuracies)
    [custom] = [one for one in house.client.runs.list(kind="custom") if one["id"] == found["id"]]
    assert custom["status"] == "completed"


@pytest.mark.slow
def test_custom_pipelines_until_one_is_good(house: House):
    said = run(house, "custom/pipelines_until_good.py")
    accuracies = [float(line.split()[-1]) for line in said.splitlines() if line.startswith("depth ")]
    assert len(accuracies) > 1
    assert accuracies[-1] >= 0.95 > max(accuracies[:-1])
    [found] = house.client.tasks.list(project="custom", name="pipelines until good")
    best = artifact(house, found["id"], "best")
    assert best["depth"] == 1 + len(accuracies)
    assert house.client.runs.get(best["run_id"])["parameters"] == {"depth": best["depth"]}
    made = list(house.client.runs.list(origin=found["id"]))
    assert len(made) == len(accuracies)
    assert {one["status"] for one in made} == {"completed"}
