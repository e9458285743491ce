"""The fingerprint of a function's code: what can change what it does changes it, and nothing else."""

import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from foldline import fingerprint
from foldline.fingerprint import code_of, of_words
from foldline.sources import snapshot

SCRIPT = """
    import functools
    import math
    import os
    import random

    from foldline import PipelineController, Task
    import tools
    from tools import clean, models

    # The first of all constants.
    FACTOR = 3
    UNUSED = 1
    CONFIG = {"lr": 0.1}
    CONFIG["epochs"] = 2
    CONFIG.update(depth=1)
    REGISTRY = []
    random.seed(1)

    def register(cls):
        REGISTRY.append(cls)
        return cls

    def timed(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)
        return wrapper

    @register
    class Net:
        layers = 2

    class Base:
        width = 8

    class Model(Base):
        def run(self):
            return helper(self.width)

    def helper(x):
        return math.floor(x * FACTOR)

    @timed
    def step(data, limit=CONFIG["lr"]):
        '''What it does.'''
        data = [number for number in data]
        return clean(Model().run()) + random.random()

    @timed
    def other(data):
        return UNUSED + math.floor(2) + len(data)

    def uses_registry():
        return [each.layers for each in REGISTRY]

    def setup():
        global LATE
        LATE = 1

    setup()

    def seed_everything(seed):
        os.environ["SEED"] = str(seed)

    chosen = seed_everything(1)

    def uses_late():
        return LATE

    def imports_inside():
        from tools import lazy
        return lazy.VALUE

    pipe = PipelineController(name="p", project="t", version="1.0.0")
    pipe.add_function_step(name="step", function=step, function_kwargs=dict(data=[1]))
    pipe.add_function_step(name="other", function=other, function_kwargs=dict(data=[1]), parents=["step"])

    for number in range(2):
        pipe.add_parameter(f"p{number}", number)
    numbers = [data for data in (1, 2)]

    if __name__ == "__main__":
        pipe.start()
"""
TOOLS = {
    "tools/__init__.py": "from .cleaning import clean\n",
    "tools/cleaning.py": "from tools.deep import DEPTH\ndef clean(x):\n    return x + DEPTH\n",
    "tools/deep.py": "DEPTH = 1\n",
    "tools/models.py": "SIZE = 1\n",
    "tools/lazy.py": "VALUE = 1\n",
    "tools/unused.py": "VALUE = 1\n",
}


class Project:
    """A script in a folder of its own, which may be edited and asked again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write({"script.py": textwrap.dedent(SCRIPT), **TOOLS})

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert text.count(old) == 1, old
        (self.root / name).write_text(text.replace(old, new))

    def function(self, name: str) -> Callable[..., object]:
        forget()
        fingerprint._trees.clear()
        spec = importlib.util.spec_from_file_location("script", self.root / "script.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules["script"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)

    def code(self, name: str = "step") -> str:
        return code_of(self.function(name))


def forget() -> None:
    for known in [known for known in sys.modules if known.split(".")[0] in ("script", "tools")]:
        del sys.modules[known]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Project(tmp_path)
    forget()


FELT = [
    pytest.param("script.py", "return clean(Model", "return 1 + clean(Model", id="its body"),
    pytest.param("script.py", 'limit=CONFIG["lr"]', "limit=2", id="a default"),
    pytest.param("script.py", "x * FACTOR", "x + FACTOR", id="a helper of a method of a class"),
    pytest.param("script.py", "FACTOR = 3", "FACTOR = 4", id="a global of a helper"),
    pytest.param("script.py", "width = 8", "width = 9", id="a base class"),
    pytest.param("script.py", '{"lr": 0.1}', '{"lr": 0.2}', id="a dict"),
    pytest.param("script.py", 'CONFIG["epochs"] = 2', 'CONFIG["epochs"] = 3', id="an item set later"),
    pytest.param("script.py", "depth=1", "depth=2", id="an update"),
    pytest.param("script.py", "random.seed(1)", "random.seed(2)", id="a seed"),
    pytest.param("script.py", "= seed_everything(1)", "= seed_everything(2)", id="a seed set by a function"),
    pytest.param("script.py", "random.seed(1)", "random.seed(1); os.environ['A'] = '1'", id="the environment"),
    pytest.param("script.py", "def setup():", "tools.clean = len\n\ndef setup():", id="a patched module"),
    pytest.param("script.py", "return function(*args)", "return 2 * function(*args)", id="its decorator"),
    pytest.param("script.py", "import math", "import cmath as math", id="an import"),
    pytest.param("tools/cleaning.py", "x + DEPTH", "x - DEPTH", id="an imported module"),
    pytest.param("tools/deep.py", "DEPTH = 1", "DEPTH = 2", id="what that imports"),
    pytest.param("tools/__init__.py", ".cleaning import", ".cleaning import DEPTH,", id="its package"),
    pytest.param("tools/models.py", "SIZE = 1", "SIZE = 2", id="a module imported in the same line"),
]


@pytest.mark.parametrize(("name", "old", "new"), FELT)
def test_what_the_function_can_feel_changes_it(project: Project, name: str, old: str, new: str):
    before = project.code()
    project.edit(name, old, new)
    assert project.code() != before


UNFELT = [
    pytest.param("script.py", "return UNUSED", "return 5 + UNUSED", id="another step"),
    pytest.param("script.py", "UNUSED = 1", "UNUSED = 2", id="a global that only others use"),
    pytest.param("script.py", "# The first of all constants.", "# No matter.\n\n", id="comments and empty lines"),
    pytest.param("script.py", 'version="1.0.0"', 'version="2.0.0"', id="the pipeline's definition"),
    pytest.param("script.py", "dict(data=[1]), parents", "dict(data=[2]), parents", id="a step's arguments"),
    pytest.param("script.py", "range(2)", "range(3)", id="a loop over a name that is its own"),
    pytest.param("script.py", "in (1, 2)]", "in (1, 2, 3)]", id="a comprehension over another"),
    pytest.param("script.py", "pipe.start()", "pipe.start(queue='other')", id="the guarded part"),
    pytest.param("script.py", "FACTOR = 3", "FACTOR  =  (3)", id="layout"),
    pytest.param("script.py", "LATE = 1", "LATE = 2", id="state that it does not see"),
    pytest.param("tools/unused.py", "VALUE = 1", "VALUE = 2", id="a module nobody imports"),
    pytest.param("tools/lazy.py", "VALUE = 1", "VALUE = 2", id="a module that another function imports"),
    pytest.param("tools/deep.py", "DEPTH = 1", "DEPTH = 1  # said", id="a comment in a module"),
]


@pytest.mark.parametrize(("name", "old", "new"), UNFELT)
def test_what_it_cannot_feel_does_not(project: Project, name: str, old: str, new: str):
    before = project.code()
    project.edit(name, old, new)
    assert project.code() == before


@pytest.mark.parametrize(
    ("function", "name", "old", "new"),
    [
        pytest.param("uses_registry", "script.py", "layers = 2", "layers = 3", id="what registers itself"),
        pytest.param("uses_late", "script.py", "LATE = 1", "LATE = 2", id="a global that a call binds"),
        pytest.param("imports_inside", "tools/lazy.py", "VALUE = 1", "VALUE = 2", id="an import inside"),
        pytest.param("other", "script.py", "UNUSED = 1", "UNUSED = 2", id="its own global"),
    ],
)
def test_other_functions_feel_other_things(project: Project, function: str, name: str, old: str, new: str):
    before = project.code(function)
    project.edit(name, old, new)
    assert project.code(function) != before


@pytest.mark.parametrize(
    "line",
    [
        "return eval('UNUSED')",
        "return globals()['UNUSED']",
        "import importlib; return importlib.import_module('tools.unused').VALUE",
        "return __import__('tools.unused')",
        "import sys; return sys.modules['tools']",
        "return getattr(models, data)",
    ],
)
def test_where_the_text_does_not_tell_the_whole_snapshot_counts(project: Project, line: str):
    project.edit("script.py", "return clean(Model().run()) + random.random()", line)
    assert project.code() == of_words(snapshot(project.root / "script.py").sha256)
    before = project.code()
    project.write({"notes.txt": "of no use to anybody"})
    assert project.code() != before


def test_a_global_that_the_text_does_not_bind_counts_as_the_whole_snapshot(project: Project):
    project.edit("script.py", "UNUSED = 1", "UNUSED = 1; globals()['LATER'] = 1")
    assert project.code() == of_words(snapshot(project.root / "script.py").sha256)


def test_a_star_import_of_a_local_module_counts_as_the_whole_snapshot(project: Project):
    project.edit("script.py", "from tools import clean, models", "from tools import *")
    assert project.code() == of_words(snapshot(project.root / "script.py").sha256)


@pytest.mark.parametrize("line", ["return vars(data)", "return data.eval()", "return getattr(data, 'x')"])
def test_what_only_looks_like_that_does_not(project: Project, line: str):
    project.edit("script.py", "return clean(Model().run()) + random.random()", line)
    assert project.code() != of_words(snapshot(project.root / "script.py").sha256)


COMPONENTS = """
def Component(**options):
    return lambda function: function
Component.__module__ = "foldline.automation"
CONFIG = {"n": 1}

@Component(cache=True)
def step(x):
    return CONFIG["n"]

@Component(queue="default")
def other(x):
    return CONFIG["n"] + 1

@Component()
def pipeline():
    return other(step(CONFIG))

pipeline()
"""


def test_component_options_are_definition_and_other_components_are_others(project: Project):
    project.write({"script.py": COMPONENTS})
    before = project.code()
    project.edit("script.py", "cache=True", "cache=False")
    project.edit("script.py", '["n"] + 1', '["n"] + 2')
    project.edit("script.py", "other(step(CONFIG))", "other(step(2))")
    assert project.code() == before
    project.edit("script.py", '{"n": 1}', '{"n": 2}')
    assert project.code() != before


def test_helpers_count_too(project: Project):
    alone = project.code("other")
    other, helper = project.function("other"), sys.modules["script"].helper
    before = code_of(other, helpers=[helper])
    assert before != alone
    project.edit("script.py", "FACTOR = 3", "FACTOR = 4")
    other = project.function("other")
    assert code_of(other, helpers=[sys.modules["script"].helper]) != before
    assert code_of(other) == alone


def test_the_command_line_counts_where_it_may_be_read(project: Project):
    step = project.function("step")
    assert code_of(step, arguments=["--n", "1"]) == code_of(step)
    project.edit("script.py", "FACTOR = 3", "import argparse; FACTOR = argparse.ArgumentParser().parse_known_args()")
    project.edit("script.py", "x * FACTOR", "x * len(FACTOR)")
    step = project.function("step")
    assert code_of(step, arguments=["--n", "1"]) != code_of(step, arguments=["--n", "2"])


def test_installed_code_is_its_name(project: Project):
    assert code_of(textwrap.dedent) == code_of(textwrap.dedent) != code_of(textwrap.indent)


def test_the_same_code_elsewhere_is_the_same(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    here = project.code()
    there = Project(tmp_path_factory.mktemp("there"))
    monkeypatch.syspath_prepend(str(there.root))
    assert there.code() == here
