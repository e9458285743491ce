"""What other libraries show and save, reported without a word: matplotlib's figures, and files of trained models.

Nothing is imported for it: a library is met when the script imports it, and left alone again by `unwatch`.
"""

import fnmatch
import functools
import io
import logging
import os
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import quote

from foldline.importing import AfterImport
from foldline.logger import logger_of
from foldline.reports.pictures import png_of_figure
from foldline.reports.values import name as printable

if TYPE_CHECKING:
    from foldline.client import Client

SERIES: Final = "plot image"
# Those whose show() only warns that it cannot: the figure has been reported, which is what was meant.
SHOWS_NOTHING: Final = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})

log = logging.getLogger("foldline")


class Saver(NamedTuple):
    """A function that writes a model to the file that one of its arguments names."""

    module: str
    function: str  # a name in the module, or Class.method
    position: int
    keyword: str
    framework: str
    switches: tuple[str, ...]  # of auto_connect_frameworks


SAVERS: Final = (
    Saver("joblib", "dump", 1, "filename", "ScikitLearn", ("joblib", "scikit")),
    Saver("torch", "save", 1, "f", "PyTorch", ("pytorch",)),
    Saver("keras.src.models.model", "Model.save", 1, "filepath", "Keras", ("keras", "tensorflow")),
    Saver("xgboost.core", "Booster.save_model", 1, "fname", "XGBoost", ("xgboost",)),
    Saver("lightgbm.basic", "Booster.save_model", 1, "filename", "LightGBM", ("lightgbm",)),
    Saver("catboost.core", "CatBoost.save_model", 1, "fname", "CatBoost", ("catboost",)),
)

Frameworks = bool | Mapping[str, Any]

_watching: "Capture | None" = None


def watch(client: "Client", identifier: str, frameworks: Frameworks) -> None:
    """From now on report to the task what the libraries show and save; `frameworks` is Task.init's switch or switches.

    A switch is a bool, or the patterns of the file names that are meant; one that is left out is on.
    """
    global _watching
    if _watching is not None and _watching.meant == (identifier, frameworks):
        return  # Task.init once more: what was reported is remembered
    unwatch()
    if frameworks is False or frameworks == {}:
        return
    _watching = Capture(client, identifier, frameworks)


def unwatch() -> None:
    """Give the libraries their own functions back."""
    global _watching
    if _watching is not None:
        _watching.end()
        _watching = None


class Capture:
    def __init__(self, client: "Client", identifier: str, frameworks: Frameworks) -> None:
        self.meant = (identifier, frameworks)
        switches: Mapping[str, Any] = {} if isinstance(frameworks, bool) else frameworks
        self._switches = switches
        self._client = client
        self._undo: list[Callable[[], None]] = []
        met: dict[str, Callable[[ModuleType], None]] = {}
        if switches.get("matplotlib", True):
            met |= {"matplotlib.figure": self._meet_figures, "matplotlib.pyplot": self._meet_pyplot}
        for saver in SAVERS:
            patterns = self._patterns(saver) if switches else ["*"]
            if patterns is not None:
                met[saver.module] = functools.partial(self._meet_saver, saver, patterns)
        self._imports = AfterImport(met)
        self._imports.install()

    @functools.cached_property
    def _figures(self) -> "Figures":
        return Figures(self._client, self.meant[0])

    @functools.cached_property
    def _models(self) -> "Models":
        return Models(self._client, self.meant[0])

    def end(self) -> None:
        self._imports.remove()
        while self._undo:
            self._undo.pop()()

    def _patterns(self, saver: Saver) -> list[str] | None:
        """The names of files that are meant; None for none."""
        said = [self._switches.get(switch, True) for switch in saver.switches]
        if not all(said):
            return None
        named = [one for one in said if one is not True]
        return [str(pattern) for one in named for pattern in ([one] if isinstance(one, str) else one)] or ["*"]

    def _meet_figures(self, module: ModuleType) -> None:
        figures = self._figures

        def savefig(original: Callable[..., Any], figure: Any, *args: Any, **kwargs: Any) -> Any:
            saved = original(figure, *args, **kwargs)
            figures.report(figure)
            return saved

        self._replace(getattr(module, "Figure", None), "savefig", savefig)

    def _meet_pyplot(self, module: ModuleType) -> None:
        figures = self._figures

        def show(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            open_figures: Any = sys.modules["matplotlib._pylab_helpers"]
            for manager in open_figures.Gcf.get_all_fig_managers():
                figures.report(manager.canvas.figure)
            backend = str(cast(Any, module).get_backend()).lower()
            return None if backend in SHOWS_NOTHING else original(*args, **kwargs)

        self._replace(module, "show", show)

    def _meet_saver(self, saver: Saver, patterns: list[str], module: ModuleType) -> None:
        *path, name = saver.function.split(".")
        owner = functools.reduce(lambda found, part: getattr(found, part, None), path, cast(Any, module))
        models = self._models

        def save(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with models.saving() as outermost:
                saved = original(*args, **kwargs)
            file = kwargs.get(saver.keyword, args[saver.position] if len(args) > saver.position else None)
            if outermost and isinstance(file, str | os.PathLike):
                models.register(Path(cast(Any, file)), patterns, saver.framework)
            return saved

        self._replace(owner, name, save)

    def _replace(self, owner: Any, name: str, instead: Callable[..., Any]) -> None:
        """Put `instead`, which is given the original first, into its place. What is not there stays away."""
        original = getattr(owner, name, None)
        if not callable(original):
            return

        @functools.wraps(original)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return instead(original, *args, **kwargs)

        def undo() -> None:
            if getattr(owner, name, None) is replacement:
                setattr(owner, name, original)

        setattr(owner, name, replacement)
        self._undo.append(undo)


class _Reported(NamedTuple):
    title: str
    iteration: int
    content: int  # a hash of the picture


class Figures:
    """Reports matplotlib's figures as pictures, each state of each figure once."""

    def __init__(self, client: "Client", identifier: str) -> None:
        self._logger = logger_of(client, identifier)
        self._reported: weakref.WeakKeyDictionary[Any, _Reported] = weakref.WeakKeyDictionary()
        self._next: dict[str, int] = {}
        self._untitled = 0

    def report(self, figure: Any) -> None:
        """At the highest iteration so far; a second figure of one title goes behind the first."""
        try:
            content = png_of_figure(figure)
            before = self._reported.get(figure)
            title = before.title if before else self._title(figure)
            if before and before.content == hash(content):
                return
            first = before.iteration if before else self._next.get(title, 0)
            iteration = max(self._logger.highest_iteration, first)
            self._next[title] = max(self._next.get(title, 0), iteration + 1)
            self._reported[figure] = _Reported(title, iteration, hash(content))
            highest = self._logger.highest_iteration
            self._logger.report_media(title, SERIES, iteration, stream=io.BytesIO(content), file_extension="png")
            self._logger.highest_iteration = highest
        except Exception as why:  # whatever a figure holds: the script only wanted to show it
            log.warning("a matplotlib figure could not be reported: %s", why)

    def _title(self, figure: Any) -> str:
        heading = getattr(figure, "_suptitle", None)
        found = [figure.get_label(), heading.get_text() if heading else "", *(axes.get_title() for axes in figure.axes)]
        title = next((printable(text, "") for text in found if printable(text, "")), None)
        if title is None:
            title = f"untitled {self._untitled:02d}"
            self._untitled += 1
        return title


class Models:
    """Registers files of models as output models of the task."""

    def __init__(self, client: "Client", identifier: str) -> None:
        self._client = client
        self._id = identifier
        self._local = threading.local()

    def saving(self) -> "_Saving":
        """For `with`: tells whether this is no save inside of another, such as a part of a larger model."""
        return _Saving(self._local)

    def register(self, path: Path, patterns: list[str], framework: str) -> None:
        if not any(fnmatch.fnmatch(path.name, pattern) or fnmatch.fnmatch(str(path), pattern) for pattern in patterns):
            return
        try:
            if not path.is_file():
                return
            sha256, _ = self._client.blobs.put_file(path)
            task = self._client.tasks.get(self._id)["name"]
            url = f"foldline://blobs/{sha256}/{quote(path.name, safe='')}"
            name = f"{task} - {path.stem}"
            # One model for each file: a checkpoint that is written again takes the older one's place.
            identifier = uuid.uuid5(uuid.UUID(self._id), str(path.absolute())).hex
            model = {"id": identifier, "kind": "output", "name": name, "url": url, "framework": framework}
            self._client.tasks.add_model(self._id, model)
        except Exception as why:  # the model is saved, which is what the script wanted
            log.warning("the model %s could not be registered: %s", path, why)


class _Saving:
    def __init__(self, local: threading.local) -> None:
        self._local = local

    def __enter__(self) -> bool:
        depth = getattr(self._local, "depth", 0)
        self._local.depth = depth + 1
        return depth == 0

    def __exit__(self, *_: object) -> None:
        self._local.depth -= 1
