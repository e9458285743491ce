"""Figures that a script shows or saves, and models that it saves: reported without a word, and nothing imported."""

import importlib
import io
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import matplotlib
import pytest
from PIL import Image

from foldline import Task, capture, running
from foldline.client import Client
from foldline.importing import AfterImport
from foldline.logger import Logger, logger_of
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import run

matplotlib.use("Agg")

import matplotlib.pyplot as plt

TASK = "7a" * 16
PLOTS, MODELS = f"tasks/{TASK}/plots", f"tasks/{TASK}/models"


@pytest.fixture
def client(canned: Canned) -> Iterator[Client]:
    canned.on("HEAD", "blobs/*", Answer(404, {"detail": "none"}))
    canned.on("PUT", "blobs/*", Answer(201))
    canned.on("POST", PLOTS, Answer(201, {}))
    canned.on("POST", MODELS, Answer(201, {}))
    canned.on("GET", f"tasks/{TASK}", Answer(200, {"id": TASK, "name": "train"}))
    with Client(canned.url, patience=0) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its own server, which the loggers of the others do not know."""
    monkeypatch.setattr("foldline.logger._loggers", {})


@pytest.fixture
def logger(client: Client) -> Iterator[Logger]:
    """That of the task which matplotlib and all others are watched for."""
    capture.watch(client, TASK, True)
    yield logger_of(client, TASK)
    capture.unwatch()
    plt.close("all")


def told(canned: Canned, logger: Logger) -> list[tuple[str, str, int]]:
    assert logger.flush()
    plots = [asked.json() for asked in canned.to("POST", PLOTS)]
    assert {plot["kind"] for plot in plots} <= {"image"}
    return [(plot["title"], plot["series"], plot["iteration"]) for plot in plots]


def test_shown_figures_are_reported_and_showing_them_warns_of_nothing(canned: Canned, logger: Logger):
    plt.figure(num="by its label")
    plt.figure().subplots().set_title("by its axes")
    plt.figure().suptitle("by its heading")
    plt.figure()
    current = plt.gcf()
    plt.show()
    assert plt.gcf() is current
    names = ["by its label", "by its axes", "by its heading", "untitled 00"]
    assert told(canned, logger) == [(name, "plot image", 0) for name in names]
    sent = [asked.content for asked in canned.asked if asked.method == "PUT"]
    with Image.open(io.BytesIO(sent[-1])) as opened:
        assert opened.format == "PNG"


def test_saved_figures_are_reported_once_in_each_of_their_states(canned: Canned, logger: Logger, tmp_path: Path):
    figure, axes = plt.subplots()
    axes.set_title("loss")
    plt.savefig(tmp_path / "a.png")
    figure.savefig(io.BytesIO())
    plt.show()
    capture.watch(logger.client, TASK, True)  # as a second Task.init does
    plt.show()
    assert told(canned, logger) == [("loss", "plot image", 0)]
    axes.plot([1, 2])
    figure.savefig(tmp_path / "b.pdf")
    assert told(canned, logger) == [("loss", "plot image", 0)] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.pdf"}


def test_figures_of_one_title_come_one_behind_the_other_and_with_the_iterations(canned: Canned, logger: Logger):
    canned.on("POST", f"tasks/{TASK}/scalars", Answer(204))
    for color in ("red", "green"):
        figure, axes = plt.subplots(facecolor=color)
        axes.set_title("sample")
        figure.savefig(io.BytesIO())
    logger.report_scalar("loss", "train", 1, 10)
    figure, axes = plt.subplots(facecolor="blue")
    axes.set_title("sample")
    figure.savefig(io.BytesIO())
    plt.subplots()
    plt.show()
    assert [(title, iteration) for title, _, iteration in told(canned, logger)] == [
        ("sample", 0),
        ("sample", 1),
        ("sample", 10),
        ("untitled 00", 10),
    ]


def test_a_figure_that_cannot_be_drawn_is_the_scripts_own_affair(
    canned: Canned, logger: Logger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def breaks(figure: Any) -> bytes:
        raise RuntimeError("no ink")

    monkeypatch.setattr(capture, "png_of_figure", breaks)
    plt.figure().savefig(io.BytesIO())
    assert "could not be reported: no ink" in caplog.text
    assert told(canned, logger) == []


def test_afterwards_the_libraries_have_their_own_functions_back(client: Client):
    def functions() -> list[Any]:
        return [plt.show, matplotlib.figure.Figure.savefig, joblib.dump]  # pyright: ignore[reportAttributeAccessIssue]

    before, finders = functions(), list(sys.meta_path)
    capture.watch(client, TASK, True)
    capture.watch(client, TASK, True)
    assert [now is not then for now, then in zip(functions(), before, strict=True)] == [True, True, True]
    capture.unwatch()
    assert functions() == before
    assert sys.meta_path == finders


@pytest.mark.parametrize("switches", [False, {}, {"matplotlib": False, "joblib": False}])
def test_what_is_switched_off_is_left_alone(client: Client, switches: Any):
    before = [plt.show, joblib.dump]
    capture.watch(client, TASK, switches)
    try:
        assert [plt.show, joblib.dump] == before
    finally:
        capture.unwatch()


def models(canned: Canned) -> list[dict[str, Any]]:
    return [asked.json() for asked in canned.to("POST", MODELS)]


def test_a_saved_model_is_an_output_model(canned: Canned, logger: Logger, tmp_path: Path):
    path = tmp_path / "my tree.pkl"
    assert joblib.dump({"depth": 3}, path) == [str(path)]
    joblib.dump({"depth": 4}, filename=str(path))
    joblib.dump([1], io.BytesIO())
    first, second = models(canned)
    stored = {asked.path: asked.content for asked in canned.asked if asked.method == "PUT"}
    assert (first["kind"], first["name"], first["framework"]) == ("output", "train - my tree", "ScikitLearn")
    assert second["url"] == f"foldline://{list(stored)[-1]}/my%20tree.pkl"
    assert stored[list(stored)[-1]] == path.read_bytes()
    assert first["id"] == second["id"], "a file that is written again is the same model"


def test_only_files_that_are_meant_are_models(canned: Canned, client: Client, tmp_path: Path):
    capture.watch(client, TASK, {"joblib": ["*.joblib"], "scikit": True})
    try:
        joblib.dump(1, tmp_path / "a.pkl")
        joblib.dump(1, tmp_path / "b.joblib")
    finally:
        capture.unwatch()
    assert [model["name"] for model in models(canned)] == ["train - b"]


def test_a_model_that_cannot_be_stored_is_saved_all_the_same(
    canned: Canned, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    capture.watch(client, "no task", True)
    try:
        joblib.dump(1, tmp_path / "a.pkl")
    finally:
        capture.unwatch()
    assert "a.pkl could not be registered" in caplog.text
    assert joblib.load(tmp_path / "a.pkl") == 1


FRAMEWORKS = {
    "torch": ("save(1, f='model.pt')", "PyTorch"),
    "keras.src.models.model": ("Model().save('model.keras')", "Keras"),
    "xgboost.core": ("Booster().save_model('model.json')", "XGBoost"),
    "lightgbm.basic": ("Booster().save_model(filename='model.txt')", "LightGBM"),
    "catboost.core": ("CatBoost().save_model('model.cbm')", "CatBoost"),
}
# Written like these libraries' own functions, as far as a caller sees them.
LIKE_THEM = """
from pathlib import Path

def save(obj, f):
    Path(f).write_text("a model")

class Booster:
    def save_model(self, fname=None, filename=None):
        save(self, fname or filename)

class CatBoost(Booster):
    pass

class Model:
    def save(self, filepath):
        Booster().save_model(filepath)
"""


@pytest.mark.parametrize(("module", "saving", "framework"), [(name, *found) for name, found in FRAMEWORKS.items()])
def test_models_of_many_libraries_are_noticed_when_those_are_imported_later(
    canned: Canned,
    logger: Logger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    saving: str,
    framework: str,
):
    folder = tmp_path / "libraries"
    path = folder.joinpath(*module.split("."))
    path.mkdir(parents=True)
    (path / "__init__.py").write_text(LIKE_THEM)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    try:
        library = importlib.import_module(module)
        eval(saving, vars(library))
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == module.split(".")[0]]:
            del sys.modules[name]
    assert [(model["name"], model["framework"]) for model in models(canned)] == [("train - model", framework)]


def test_a_module_is_told_of_once_it_has_been_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "told_of_later.py").write_text("value = 7")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[ModuleType] = []
    watching = AfterImport({"told_of_later": seen.append, "io": seen.append, "not_there_at_all": seen.append})
    watching.install()
    try:
        assert seen == [io]
        module = importlib.import_module("told_of_later")
        assert (seen, seen[-1].value) == ([io, module], 7)
        importlib.reload(module)
        assert seen == [io, module, module]
        with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
            importlib.import_module("not_there_at_all")
    finally:
        watching.remove()
        sys.modules.pop("told_of_later", None)
    assert watching not in sys.meta_path


def test_a_function_step_is_watched_while_it_runs(canned: Canned, client: Client):
    def step() -> None:
        plt.figure(num="of a step").savefig(io.BytesIO())

    task = {"id": TASK, "name": "step", "hyperparameters": {}, "script": {"returns": []}}
    before = plt.show
    try:
        running.call_function(step, task, client)
    finally:
        plt.close("all")
    assert [asked.json()["title"] for asked in canned.to("POST", PLOTS)] == ["of a step"]
    assert plt.show is before


SCRIPT = """
import logging, subprocess, sys
logging.basicConfig(stream=sys.stderr, format="%(message)s")
from foldline import Task
task = Task.init("capture", "script")
assert not {"matplotlib", "numpy", "joblib"} & set(sys.modules), "nothing is imported for it"
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.title("two\\nlines")
plt.show()
import joblib
joblib.dump({"a": 1}, "tree.pkl")
logging.warning("logged")
print("printed")
task.close()
print("not the task's")
plt.title("after its end")
plt.savefig("after.png")
"""


def test_a_script_is_captured_from_init_to_its_end(tmp_path: Path, server: Client):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = run("-W", "error", "script.py", cwd=tmp_path, MPLBACKEND="agg")
    assert done.returncode == 0, done.stderr
    task = Task.get_task(project_name="capture", task_name="script")
    assert task is not None
    (plot,) = server.plots.list(task.id)
    assert (plot["title"], plot["series"], plot["kind"]) == ("two lines", "plot image", "image")
    assert server.request("GET", plot["content_url"].removeprefix("/api/v1/")).headers["Content-Type"] == "image/png"
    (model,) = task.export_task()["models"]["output"]
    assert (model["name"], model["framework"]) == ("script - tree", "ScikitLearn")
    assert server.blobs.exists(model["url"].split("/")[3])
    log, _ = server.tasks.logs(task.id)
    assert sorted(log.decode().splitlines()) == ["logged", "printed"]
