"""Functions of any project, started in any way, run elsewhere as they would here.

Each case is a project, the command that submits a function of it, and what the function returns in another process
that has nothing but the snapshot.
"""

import json
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from foldline import pickled, scripts
from foldline.client import Client
from foldline.errors import DefinitionError, FoldlineError
from tests.sdk.canned import Answer, Canned
from tests.sdk.processes import python, run

# Stands for the pipeline's start: what it submits lies in the folder of PROBE afterwards.
PROBE = """
import json, os
from pathlib import Path
from foldline import scripts, sources
from foldline.definition import end_definition

def submit(function, **options):
    end_definition()
    script, found = scripts.script_of_function(function, [], **options)
    out = Path(os.environ["PROBE"])
    (out / "script.json").write_text(json.dumps(script))
    if found is not None and found.pickled:
        (out / "pickled").write_bytes(found.pickled)
    if found is not None and found.data:
        (out / "sources.tar.gz").write_bytes(found.data)
        sources.unpack(out / "sources.tar.gz", found.sha256, out / "unpacked")
"""

CALL = """
import json, os, sys
from pathlib import Path
from foldline.running import load_function
out = Path(os.environ["PROBE"])
script = json.loads((out / "script.json").read_text())
root = out / "unpacked" / script["source"] if script.get("source") else None
function = load_function(root, script)
work = root / script["working_dir"] if root else out
os.chdir(work)
print("result", json.dumps(function()))
"""


class Project:
    """Files beside each other, and what becomes of a function of theirs."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self._out = folder / "out"
        self._lib = folder / "lib"
        for each in (self.root, self._out, self._lib):
            each.mkdir()
        (self._lib / "probe.py").write_text(PROBE)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def submit(self, *command: str, cwd: str = ".", path: str | None = None, **more: str) -> dict[str, Any]:
        """Run a command that submits a function, with `path` of the project on PYTHONPATH: its script."""
        self._python(*command, cwd=self.root / cwd, paths=[] if path is None else [self.root / path], **more)
        return json.loads((self._out / "script.json").read_text())

    def call(self, **more: str) -> Any:
        """What the submitted function returns in a process that has nothing but the snapshot."""
        self.root.rename(self.root.with_name("gone"))
        said = self._python("-c", CALL, cwd=self._out, paths=(), **more)
        return json.loads(said.splitlines()[-1].removeprefix("result "))

    def _python(self, *arguments: str, cwd: Path, paths: Sequence[Path] = (), **more: str) -> str:
        variables = {"PROBE": str(self._out), "FOLDLINE_URL": "http://127.0.0.1:9", **more}
        before = os.environ.get("PYTHONPATH", "")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(self._lib), *map(str, paths), before])))
            return python(*arguments, cwd=cwd, **variables)

    def file(self, name: str) -> bytes:
        return (self._out / name).read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


MAIN = """
    import dataclasses, functools, json as serial
    from collections import Counter
    from probe import submit

    FACTOR = 3
    TABLE = {"a": 1}
    TABLE["b"] = 2

    def shown(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return ["shown", function(*args, **kwargs)]
        return wrapper

    def bare(function):
        def wrapper():
            return ["bare", function()]
        return wrapper

    @functools.lru_cache
    def helper(x):
        return x * FACTOR

    @shown
    def decorated_helper():
        return helper(2)

    @dataclasses.dataclass
    class Config:
        lr: float = 0.5

        def doubled(self):
            return 2 * self.lr

    class Special(Config):
        pass

    def step():
        return [helper(1), decorated_helper(), Special().doubled(), TABLE["b"], serial.loads("1"), Counter("aa")["a"]]

    @shown
    def wrapped():
        return helper(1)

    @bare
    def unwrapped():
        return helper(1)

    renamed = shown(helper)

    def keywords(*, x=FACTOR):
        return x
"""
GUARD = "\nif __name__ == '__main__':\n    submit({function})\n"


@pytest.mark.parametrize("end", [GUARD.format(function="step"), "\nsubmit(step)\n"], ids=["guarded", "bare"])
def test_a_function_finds_all_that_its_script_defines(project: Project, end: str):
    project.write({"main.py": textwrap.dedent(MAIN) + end})
    project.submit("main.py")
    assert project.call() == [3, ["shown", 6], 1.0, 2, 1, 2]


@pytest.mark.parametrize(
    ("function", "result"),
    [("wrapped", ["shown", 3]), ("unwrapped", ["bare", 3]), ("keywords", 3)],
)
def test_a_step_may_be_decorated_by_its_author(project: Project, function: str, result: Any):
    project.write({"main.py": textwrap.dedent(MAIN) + GUARD.format(function=function)})
    assert project.submit("main.py")["function"] == function
    assert project.call() == result


def test_a_function_is_known_by_the_name_that_holds_it(project: Project):
    project.write({"main.py": textwrap.dedent(MAIN) + GUARD.format(function="renamed")})
    assert project.submit("main.py")["function"] == "renamed"


PACKAGE = {
    "pkg/__init__.py": "",
    "pkg/data.py": "VALUE = 7\n",
    "pkg/deep/__init__.py": "from ..data import VALUE\n",
    "pkg/steps.py": "from .data import VALUE\nfrom . import deep\ndef step(): return [VALUE, deep.VALUE, __name__]\n",
    "beside.py": "from pkg.steps import step\nNEAR = 1\n",
}
RUN = "from probe import submit\n"


@pytest.mark.parametrize(
    ("files", "command", "cwd", "path", "result"),
    [
        pytest.param(
            {"main.py": RUN + "import beside\ndef step(): return beside.NEAR\nsubmit(step)"},
            ("main.py",), ".", None, 1, id="a module beside the script",
        ),
        pytest.param(
            {"jobs/main.py": RUN + "import near\ndef step(): return near.X\nsubmit(step)", "jobs/near.py": "X = 2"},
            ("jobs/main.py",), ".", None, 2, id="from another folder",
        ),
        pytest.param(
            {"main.py": RUN + "from pkg.steps import step\nsubmit(step)"},
            ("main.py",), ".", None, [7, 7, "pkg.steps"], id="a function of a local package",
        ),
        pytest.param(
            {"main.py": RUN + "from beside import step\nsubmit(step)"},
            ("../main.py",), "pkg", None, [7, 7, "pkg.steps"], id="imported by way of another module",
        ),
        pytest.param(
            {"pkg/run.py": RUN + "from .data import VALUE\ndef step(): return VALUE\nsubmit(step)"},
            ("-m", "pkg.run"), ".", None, 7, id="python -m with relative imports",
        ),
        pytest.param(
            {"pkg/run.py": RUN + "def step():\n    from . import deep\n    return deep.VALUE\nsubmit(step)"},
            ("-m", "pkg.run"), "..", ".", 7, id="python -m from elsewhere, relative import in the function",
        ),
        pytest.param(
            {"pkg/__main__.py": RUN + "from .steps import step as other\ndef step(): return other()\nsubmit(step)"},
            ("-m", "pkg"), ".", None, [7, 7, "pkg.steps"], id="the main module of a package",
        ),
        pytest.param(
            {"pkg/run.py": RUN + "from .steps import step\nsubmit(step)"},
            ("-m", "pkg.run"), ".", None, [7, 7, "pkg.steps"], id="python -m, a function of another module",
        ),
        pytest.param(
            {"src/shop/__init__.py": "", "src/shop/prices.py": "X = 3\n",
             "main.py": RUN + "def step():\n    from shop.prices import X\n    return X\nsubmit(step)"},
            ("main.py",), ".", "src", 3, id="a src layout, imported in the function",
        ),
        pytest.param(
            {"src/shop/__init__.py": "", "src/shop/prices.py": "X = 3\ndef step(): return X\n",
             "main.py": "import sys\nsys.path.insert(0, 'src')\n" + RUN + "from shop.prices import step\nsubmit(step)"},
            ("main.py",), ".", None, 3, id="a src layout by the script's own hand",
        ),
        pytest.param(
            {"main.py": RUN + "import argparse\nparser = argparse.ArgumentParser()\n"
             "parser.add_argument('--n', type=int, required=True)\nn = parser.parse_args().n\n"
             "def step(): return n\nsubmit(step)"},
            ("main.py", "--n", "5"), ".", None, 5, id="a command line that is read at the top",
        ),
    ],
)  # fmt: skip
def test_local_modules_are_found(
    project: Project, files: dict[str, str], command: tuple[str, ...], cwd: str, path: str | None, result: Any
):
    project.write(PACKAGE | files)
    project.submit(*command, cwd=cwd, path=path)
    assert project.call() == result


def test_a_module_of_python_m_is_an_entry_point_like_clearmls(project: Project):
    project.write(PACKAGE | {"pkg/run.py": RUN + "def step(): return 1\nsubmit(step)"})
    script = project.submit("-m", "pkg.run", "--flag")
    assert (script["entry_point"], script["working_dir"], script["arguments"]) == ("-m pkg.run", ".", ["--flag"])


def test_working_dir_is_where_the_step_runs_and_modules_are_found_all_the_same(project: Project):
    text = RUN + "import sys; sys.path.insert(0, 'src')\nfrom shop.steps import step\nsubmit(step, working_dir='data')"
    step = "import os\ndef step(): return [os.path.basename(os.getcwd()), open('x.txt').read()]\n"
    project.write({"src/shop/__init__.py": "", "src/shop/steps.py": step, "data/x.txt": "1", "main.py": text})
    assert project.submit("main.py")["working_dir"] == "data"
    assert project.call() == ["data", "1"]


def test_a_working_dir_that_does_not_travel_is_refused(project: Project):
    project.write({"main.py": RUN + "def step(): pass\nsubmit(step, working_dir='absent')"})
    with pytest.raises(AssertionError, match="working_dir 'absent' is no folder of"):
        project.submit("main.py")


def test_helpers_are_found_as_the_function_calls_them(project: Project):
    project.write({"tools.py": "def clean(): return 1\ndef other(): return 2\n"})
    text = RUN + "import tools\nfrom tools import clean\ndef step(): return clean()\nsubmit(step, helper_functions={})"
    project.write({"main.py": text.format("[clean, tools.other]")})
    project.submit("main.py")
    project.write({"main.py": text.replace("from tools import clean\n", "").format("[tools.clean]")})
    with pytest.raises(AssertionError, match="write `from tools import clean` in its file"):
        project.submit("main.py")
    project.write({"main.py": text.format("[clean]")})
    project.submit("main.py")
    assert project.call() == 1


# What no file defines


NESTED = """
    from probe import submit
    SHIFT = 1
    class Thing:
        value = 4
    def main():
        factor = 2
        def step():
            from beside import NEAR
            return [factor, SHIFT, Thing.value, NEAR]
        submit({what})
    if __name__ == "__main__":
        main()
"""


def served(canned: Canned, data: bytes, sha256: str) -> str:
    canned.on("GET", f"blobs/{sha256}", Answer(200, data))
    return canned.url


@pytest.mark.parametrize(("what", "result"), [("step", [2, 1, 4, 1]), ("lambda: factor", 2)], ids=["nested", "lambda"])
def test_a_nested_function_travels_as_a_pickle_when_that_is_wanted(
    project: Project, canned: Canned, what: str, result: Any
):
    project.write({"main.py": NESTED.format(what=what), "beside.py": "NEAR = 1\n"})
    script = project.submit("main.py", FOLDLINE_PICKLE="1")
    assert len(script["code"]) == len(script["pickle"]) == 64
    assert project.call(FOLDLINE_URL=served(canned, project.file("pickled"), script["pickle"])) == result


def test_a_function_of_a_session_travels_with_the_modules_beside_it(project: Project, canned: Canned):
    project.write({"beside.py": "NEAR = 1\n"})
    session = "from probe import submit\nimport beside\ndef step(): return beside.NEAR\nsubmit(step)"
    script = project.submit("-c", session, FOLDLINE_PICKLE="1")
    assert script["source"] is not None
    assert project.call(FOLDLINE_URL=served(canned, project.file("pickled"), script["pickle"])) == 1


def test_a_function_of_a_session_without_modules_needs_no_sources(project: Project):
    script = project.submit("-c", "from probe import submit\nsubmit(lambda: 1)", FOLDLINE_PICKLE="1")
    assert script.get("source") is None


def test_without_the_word_for_it_nothing_is_pickled():
    with pytest.raises(DefinitionError, match=r"top level of a file; set FOLDLINE_PICKLE=1 \(and pip install"):
        scripts.script_of_function(lambda: 1, [])


def test_a_wrapper_that_no_name_holds_is_not_taken_for_what_it_wraps(project: Project):
    project.write({"main.py": textwrap.dedent(MAIN) + GUARD.format(function="shown(step)")})
    with pytest.raises(AssertionError, match="step cannot be a step as it is"):
        project.submit("main.py")


def test_another_python_does_not_load_the_pickle():
    data = pickled.dump(lambda: 1, "step")
    assert pickled.load(data)() == 1
    head, _, _ = data.partition(b"\n")
    made = json.loads(head) | {"python": "3.0"}
    with pytest.raises(FoldlineError, match=r"step was pickled by Python 3\.0 and this is"):
        pickled.load(json.dumps(made).encode() + b"\n" + b"not looked at")


def test_what_cannot_be_pickled_says_so():
    import threading

    lock = threading.Lock()
    with pytest.raises(DefinitionError, match=r"step cannot be pickled .*put it into a file"):
        pickled.dump(lambda: lock, "step")


def test_the_pickled_function_is_uploaded_with_the_sources(canned: Canned, client: Client):
    canned.on("HEAD", "blobs/*", Answer(404, {}))
    canned.on("PUT", "blobs/*", Answer(201, {}))
    scripts.upload(client, scripts.Snapshot(Path("/"), "", b"", b"pickled"))
    scripts.upload(client, scripts.Snapshot(Path("/"), "x", b"sources", b"more"))
    assert [asked.content for asked in canned.asked if asked.method == "PUT"] == [b"pickled", b"sources", b"more"]


# Repositories and requirements


def git(folder: Path, *arguments: str) -> str:
    import subprocess

    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *settings, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_a_local_repository_is_its_remote_and_what_is_checked_out(tmp_path: Path):
    git(tmp_path, "init")
    (tmp_path / "x").write_text("")
    (tmp_path / "sub").mkdir()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    said = {"branch": "main", "commit": head}
    assert scripts.repository(str(tmp_path)) == {"repository": str(tmp_path), **said}
    git(tmp_path, "remote", "add", "origin", "https://git.example/x.git")
    assert scripts.repository(str(tmp_path / "sub")) == {"repository": "https://git.example/x.git", **said}
    assert scripts.repository(str(tmp_path), branch="dev")["commit"] == ""
    with pytest.raises(DefinitionError, match="no git repository"):
        scripts.repository(str(tmp_path.parent))


def test_a_script_of_a_repository_names_what_to_run():
    made = scripts.script_of_repository("https://git.example/x.git", "dev", None, "train.py", "jobs")
    assert made == {
        "repository": "https://git.example/x.git",
        "branch": "dev",
        "commit": "",
        "entry_point": "train.py",
        "working_dir": "jobs",
        "arguments": [],
    }
    assert scripts.script_of_repository("https://git.example/x.git", module="pkg.x")["entry_point"] == "-m pkg.x"
    with pytest.raises(DefinitionError, match="give script"):
        scripts.script_of_repository("https://git.example/x.git")


def test_a_function_may_run_inside_a_repository(project: Project):
    text = (
        RUN + "def step(): pass\nsubmit(step, repo='https://git.example/x.git', repo_branch='dev', working_dir='jobs')"
    )
    project.write({"main.py": text})
    script = project.submit("main.py")
    assert (script["repository"], script["branch"], script["working_dir"]) == (
        "https://git.example/x.git",
        "dev",
        "jobs",
    )
    assert script["entry_point"] == "main.py"


def test_requirements_files_travel_with_those_they_include(tmp_path: Path):
    (tmp_path / "requirements.txt").write_text("numpy\n-r more.txt\n--requirement=more.txt\n")
    (tmp_path / "more.txt").write_text("pandas==2.0\n-r requirements.txt\n")
    lines = scripts.requirements(str(tmp_path / "requirements.txt"))["pip"].split()
    assert lines[:2] == ["numpy", "pandas==2.0"]
    assert set(lines) == {"numpy", "pandas==2.0"}
    assert scripts.requirements(["a", "b>1"]) == {"pip": "a\nb>1"}
    assert scripts.requirements(False) == scripts.requirements(None) == scripts.requirements([]) == {}
    with pytest.raises(DefinitionError, match="no requirements file"):
        scripts.requirements("absent.txt")


def test_a_script_without_a_file_is_said(tmp_path: Path):
    done = run("-c", "from foldline import scripts; print(scripts.script_of_main())", cwd=tmp_path)
    assert "has no script" in done.stderr
