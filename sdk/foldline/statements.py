"""Which top-level statements of a file one of its functions can feel."""

import ast
import builtins
import copy
import symtable
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
BUILTINS: Final = frozenset(dir(builtins))
# Calls of the others change nothing.
ACTIVE_BUILTINS: Final = frozenset({"setattr", "delattr", "next", "map", "filter", "exec", "eval", "__import__"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One top-level statement of a file."""

    node: ast.stmt
    binds: frozenset[str]  # the names it gives a value
    uses: frozenset[str]  # the module's names that it needs, in functions' bodies too
    acts: frozenset[str]  # those of them that it uses as it is executed, with effects one cannot see
    orders: frozenset[str]  # what it gives orders to, like `np` in np.random.seed(1); a function, when it is called
    is_data: bool  # whether what it binds may change: no function, class or import


def needed(tree: ast.Module, name: str, values: Mapping[str, Any]) -> list[Statement]:
    """What has to be the same for `name` to do the same, in the order of the file.

    `values` is what the module holds: it tells this package's objects, whose calls define the pipeline, from others.
    """
    ours = {each for each, value in values.items() if _is_ours(value)}
    # Components and pipelines: calling them defines steps.
    ours |= {node.name for node in tree.body if isinstance(node, DEFINITIONS) and ours & set(_decorators(node))}
    functions = {node.name for node in tree.body if isinstance(node, DEFINITIONS)}
    known = [_read(node, ours, functions) for node in tree.body if not _is_guard(node)]
    bound = frozenset[str]().union(*(statement.binds for statement in known))
    closures = _Closures(known)
    # A seed, an option, a variable of the environment: set in a library, it is felt by whoever uses that anywhere.
    everywhere = {each for node in ast.walk(tree) for each in _imports(node)} - ours - _quiet(values)
    chosen = {number for number, each in enumerate(known) if closures.ordered(each) & everywhere}
    wanted = {name} | {each for number in chosen for each in known[number].uses & bound}
    while True:
        data = {each for statement in known if statement.is_data for each in statement.binds} & wanted
        more = {
            number
            for number, statement in enumerate(known)
            if number not in chosen and _matters(statement, closures, wanted, data, bound)
        }
        if not more:
            return [known[number] for number in sorted(chosen)]
        chosen |= more
        wanted |= {each for number in more for each in known[number].uses | known[number].binds} & bound


def executed(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when the file is imported as a step's, other than definitions and imports."""
    for node in tree.body:
        if not isinstance(node, (*DEFINITIONS, ast.Import, ast.ImportFrom)) and not _is_guard(node):
            yield node


def _matters(
    statement: Statement, closures: "_Closures", wanted: set[str], data: set[str], bound: frozenset[str]
) -> bool:
    """Whether it binds what the function uses, or may change that as it is executed."""
    if statement.binds & wanted or "*" in statement.binds or closures.of(statement.acts) & data:
        return True
    # Of a decorator, a base class or an assignment others feel only what it keeps in variables.
    only_binds = statement.is_data or isinstance(statement.node, DEFINITIONS)
    return not only_binds and bool(statement.acts & wanted & bound)


class _Closures:
    """For names, all names that are used, or given orders, through them."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._uses: dict[str, set[str]] = {}
        self._orders: dict[str, set[str]] = {}
        for statement in statements:
            for name in statement.binds:
                self._uses.setdefault(name, set()).update(statement.uses)
            if isinstance(statement.node, DEFINITIONS):
                self._orders.setdefault(statement.node.name, set()).update(statement.orders)

    def of(self, names: Iterable[str]) -> set[str]:
        return _reached(names, self._uses)

    def ordered(self, statement: Statement) -> set[str]:
        """What executing it gives orders to."""
        return set[str]() if isinstance(statement.node, DEFINITIONS) else _reached(statement.orders, self._orders)


def _reached(names: Iterable[str], through: Mapping[str, Iterable[str]]) -> set[str]:
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += through.get(name, ())
    return found


def _read(node: ast.stmt, ours: set[str], functions: set[str]) -> Statement:
    if isinstance(node, DEFINITIONS):
        decorators = [each for each in node.decorator_list if root(each) not in ours]
        node = copy.copy(node)
        node.decorator_list = decorators
        parts: list[ast.AST] = [*decorators]
        if isinstance(node, ast.ClassDef):
            parts += [*node.bases, *(each.value for each in node.keywords)]
        orders = frozenset(order for each in node.body for order in _orders(each, ours, functions))
        return Statement(node, *_symbols(node), _names(*parts), orders, False)
    binds, uses = _symbols(node)
    if isinstance(node, ast.Import | ast.ImportFrom):
        star = {alias.name for alias in node.names} & {"*"}
        return Statement(node, binds | star, frozenset(), frozenset(), frozenset(), False)
    acts, orders = frozenset(_effects(node, ours)), frozenset(_orders(node, ours, functions))
    return Statement(node, binds, uses, acts, orders, bool(binds - {"_"}))


def _symbols(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The module's names that a statement binds, by `global` in a function too, and those that it needs."""
    table = symtable.symtable(ast.unparse(node), "statement", "exec")
    binds = {each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()}
    uses = {each.get_name() for each in table.get_symbols() if each.is_referenced()}
    waiting = table.get_children()
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        of_module = [each for each in scope.get_symbols() if each.is_global()]
        uses |= {each.get_name() for each in of_module}
        binds |= {each.get_name() for each in of_module if each.is_assigned()}
    return frozenset(binds), frozenset(uses) - BUILTINS


def _names(*nodes: ast.AST) -> frozenset[str]:
    found = (each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name))
    return frozenset(found) - BUILTINS


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)


def _orders(node: ast.AST, ours: set[str], functions: set[str]) -> Iterator[str]:
    """What calls begin with whose value nobody takes, and assignments into things; the file's functions it calls."""
    for each in _executed(node):
        match each:
            case ast.Expr(value=ast.Call() | ast.Await() as call) | ast.Assign(targets=[ast.Name(id="_")], value=call):
                yield from {root(call)} - ours
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield from {root(each)} - ours
            case ast.Call(func=ast.Name(id=name)) if name in functions:
                yield from {name} - ours
            case _:
                pass


def _effects(node: ast.AST, ours: set[str]) -> Iterator[str]:
    """The names that a statement's calls, and its assignments into things, begin with or are given."""
    for each in _executed(node):
        if isinstance(each, ast.Call):
            if _is_active(each, ours):
                yield from _names(each)
        elif isinstance(each, ast.Attribute | ast.Subscript) and isinstance(each.ctx, ast.Store | ast.Del):
            yield from filter(None, [root(each)])
        elif isinstance(each, ast.AugAssign):
            yield from filter(None, [root(each.target)])
        elif isinstance(each, ast.For | ast.With | ast.AsyncFor | ast.AsyncWith):
            heads = [each.iter] if isinstance(each, ast.For | ast.AsyncFor) else [i.context_expr for i in each.items]
            yield from _names(*(head for head in heads if isinstance(head, ast.Call) and _is_active(head, ours)))


def _is_active(call: ast.Call, ours: set[str]) -> bool:
    name = root(call.func)
    return name not in ours and (name not in BUILTINS or name in ACTIVE_BUILTINS)


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    return (root(each) for each in node.decorator_list)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that run with it: not the bodies of functions that it defines."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def root(node: ast.AST) -> str:
    """`a` of `a.b(c)[d].e`; "" when it begins otherwise."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred | ast.Await):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, which a step never enters."""
    if not isinstance(node, ast.If) or not isinstance(node.test, ast.Compare) or node.orelse:
        return False
    sides = [node.test.left, *node.test.comparators]
    return isinstance(node.test.ops[0], ast.Eq) and {_word(side) for side in sides} == {"__name__", "__main__"}


def _word(node: ast.expr) -> object:
    return node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None


def _quiet(values: Mapping[str, Any]) -> set[str]:
    """The names of what only tells people something."""
    modules = ("logging", "warnings", "pprint", "time")
    return {
        name
        for name, value in values.items()
        if type(value).__module__ == "logging" or getattr(value, "__name__", None) in modules
    }


def _is_ours(value: object) -> bool:
    """Whether it is something of this package, through which a script talks about tasks and pipelines."""
    names = (getattr(value, "__module__", None), type(value).__module__, getattr(value, "__name__", None))
    return any(isinstance(name, str) and name.partition(".")[0] == "foldline" for name in names)
