"""A fingerprint of the code that a function depends on, so that a cached result is used just as long as it holds.

It covers the statements of the function's file that the function can feel, and the whole text of the project's
modules that these import. Comments, layout and the lines that define the pipeline are not part of it. Where reading
the source cannot tell what is used (`exec`, `importlib`, a star import), the whole snapshot stands for the code.
"""

import ast
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from foldline import statements
from foldline.placing import main_module, module_of_main, place_of
from foldline.projects import import_base, import_folders, is_installed
from foldline.sources import Snapshot, snapshot
from foldline.statements import root

Place = tuple[ModuleType, str]

# Names through which code reaches what its text does not name.
OPAQUE: Final = frozenset({"exec", "eval", "compile", "globals", "locals", "__import__", "__builtins__"})
OPAQUE_MODULES: Final = frozenset({"builtins", "imp", "importlib", "pkgutil", "runpy"})

_COMMAND_LINE: Final = re.compile(
    r"argv|argparse|parse_(known_)?args|ArgumentParser|OptionParser|getopt|click|typer|fire|docopt|absl|hydra|tyro"
)

_trees: dict[tuple[Path, int, int], ast.Module] = {}


class _Opaque(Exception):
    """Reading the source does not tell what it uses."""


def code_of(
    function: Callable[..., Any],
    sources: Snapshot | None = None,
    place: Place | None = None,
    helpers: Sequence[Callable[..., Any]] = (),
    arguments: Sequence[str] = (),
) -> str:
    """SHA-256 of the code that `function` and its `helpers` depend on; of the whole snapshot where that is not clear.

    `sources` and `place` are found when they are not given. The `arguments` of the script's command line count where
    the code may read them. A function of an installed module is its own name.
    """
    place = place or place_of(function)
    file = None if place is None else getattr(place[0], "__file__", None)
    if place is None or not file:
        return of_words(repr(function))
    path = Path(file).resolve()
    if is_installed(path):
        return of_words(place[0].__name__, place[1])
    try:
        reader = _Reader(path, None if sources is None else sources.root)
        reader.read_function(place)
        for helper in helpers:
            reader.read_helper(helper)
        return of_words(reader.digest(), *(arguments if reader.may_read_arguments else ()))
    except (_Opaque, SyntaxError, ValueError):
        whole = sources if sources is not None and sources.sha256 else snapshot(path)
        return of_words(whole.sha256, *arguments)


def of_words(*words: str) -> str:
    """SHA-256 of the words, in hex."""
    return hashlib.sha256("".join(f"{len(word)} {word} " for word in words).encode()).hexdigest()


class _Reader:
    """Collects pieces of code, each once, and the modules of the project that they import."""

    def __init__(self, path: Path, root: Path | None) -> None:
        self._root = root or path.parent
        self._bases = [self._root, *(self._root / name for name in import_folders(self._root, self._root))]
        self.may_read_arguments = False
        self._pieces: dict[str, str] = {}
        self._modules: set[Path] = set()
        self._local: set[str] = set()  # names of modules of the project, as they are imported
        self._asked: set[str] = set()  # names of what is asked for attributes by names known at run time only

    def digest(self) -> str:
        """Raises _Opaque when a module of the project is asked for what only the running code can name."""
        if both := self._local & self._asked:
            raise _Opaque(f"getattr({both.pop()}, ...)")
        return of_words(*(word for piece in sorted(self._pieces.items()) for word in piece))

    def read_function(self, place: Place) -> None:
        """The statements of its file that it can feel."""
        module, name = place
        path = Path(str(module.__file__)).resolve()
        own = module_of_main() if module is main_module() else module.__name__
        package = own if path.name == "__init__.py" else own.rpartition(".")[0]
        self._bases += filter(None, [path.parent, import_base(path, own)])
        tree = _parsed(path)
        for node in statements.executed(tree):
            if what := _opaque_in(node):
                raise _Opaque(what)
        needed = statements.needed(tree, name, vars(module))
        if not any(name in statement.binds for statement in needed):
            raise _Opaque(f"{name} is not bound by the text of {path}")
        for number, statement in enumerate(needed):
            self._take(f"{self._name(path)} {name} {number:06}", statement.node, package)

    def read_helper(self, helper: Callable[..., Any]) -> None:
        place = place_of(helper)
        if place is None:
            raise _Opaque("a helper that no file defines")
        file = getattr(place[0], "__file__", None)
        if file and not is_installed(Path(file)):
            self.read_function(place)

    def _take(self, key: str, node: ast.stmt | ast.Module, package: str) -> None:
        if what := _opaque_in(node):
            raise _Opaque(what)
        text = self._pieces[key] = ast.unparse(node)
        self.may_read_arguments = self.may_read_arguments or _COMMAND_LINE.search(text) is not None
        self._asked.update(_asked_in(node))
        for each in ast.walk(node):
            if isinstance(each, ast.Import):
                for alias in each.names:
                    if self._read_module(alias.name):
                        self._local.add(alias.asname or alias.name.split(".")[0])
            elif isinstance(each, ast.ImportFrom):
                self._read_from(each, package)

    def _read_from(self, node: ast.ImportFrom, package: str) -> None:
        module = node.module or ""
        if node.level:
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1]
            module = ".".join([*above, *filter(None, [module])])
        for alias in node.names:
            # What is imported may be a module itself.
            if self._read_module(f"{module}.{alias.name}" if module else alias.name):
                self._local.add(alias.asname or alias.name)
            if module and self._read_module(module) and alias.name == "*":
                raise _Opaque(f"from {module} import *")

    def _read_module(self, name: str) -> bool:
        """The whole text of a module of the project, of the packages around it, and of what these import."""
        found = False
        parts = name.split(".")
        for base in self._bases:
            for count in range(1, len(parts) + 1):
                folder = base.joinpath(*parts[:count])
                for path, package in (
                    (folder / "__init__.py", ".".join(parts[:count])),
                    (folder.with_name(f"{folder.name}.py"), ".".join(parts[: count - 1])),
                ):
                    if path.is_file() and not is_installed(path):
                        found = found or count == len(parts)
                        self._read_file(path.resolve(), package)
        return found

    def _read_file(self, path: Path, package: str) -> None:
        if path not in self._modules:
            self._modules.add(path)
            self._take(self._name(path), _parsed(path), package)

    def _name(self, path: Path) -> str:
        return (path.relative_to(self._root) if path.is_relative_to(self._root) else path).as_posix()


def _parsed(path: Path) -> ast.Module:
    """The file's tree, read once while it stays as it is."""
    status = path.stat()
    key = (path, status.st_mtime_ns, status.st_size)
    if key not in _trees:
        _trees[key] = ast.parse(path.read_bytes())
    return _trees[key]


def _opaque_in(node: ast.AST) -> str:
    """What in `node` reaches code that its text does not name; "" when nothing does."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name) if name in OPAQUE:
                return name
            case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
                return "sys.modules"
            case ast.Import(names=names) if OPAQUE_MODULES & {each.name.split(".")[0] for each in names}:
                return "importlib"
            case ast.ImportFrom(module=str(name)) if name.split(".")[0] in OPAQUE_MODULES:
                return name
            case ast.ImportFrom(module="sys", names=names) if any(each.name == "modules" for each in names):
                return "sys.modules"
            case _:
                pass
    return ""


def _asked_in(node: ast.AST) -> Iterator[str]:
    """`x` of each `getattr(x.y, name)` whose name only the running code knows."""
    for each in ast.walk(node):
        match each:
            case ast.Call(func=ast.Name(id="getattr"), args=[thing, name, *_]) if not isinstance(name, ast.Constant):
                yield root(thing)
            case _:
                pass
