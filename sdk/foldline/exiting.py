"""How the script of this process ended. Python tells an exit hook nothing of the code it leaves with.

`sys.excepthook` sees every exception that escapes, but SystemExit. Whether that escaped is read off the main module's
frame, which stands at its last instruction: a return, or what raised. Its code is heard as it is raised: by sys.exit,
and by `raise SystemExit(...)` in the script.
"""

import ast
import contextlib
import dis
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

UNKNOWN = (
    "ended by a SystemExit whose exit code could not be seen, raised outside the script itself: "
    "end it with sys.exit(code)"
)
_NOTHING = object()


class Ending:
    """Listens, from its making to `forget`, for what this process comes to."""

    def __init__(self) -> None:
        self.interrupted = False
        self._exception: str | None = None
        self._code: Any = _NOTHING
        self._frame = _main_frame()
        self._hooks = (sys.excepthook, sys.exit)
        self._changed: dict[str, Any] = {}
        sys.excepthook, sys.exit = self._on_exception, self._on_exit
        if self._frame is not None:
            self._listen_in(self._frame.f_globals)

    def failure(self) -> str | None:
        """Why it failed, once the script has ended; None when it ended well."""
        if self._exception is not None:
            return self._exception
        if self._frame is None:
            return None if self._code is _NOTHING else _said(self._code)
        if _returned(self._frame):
            return None
        return UNKNOWN if self._code is _NOTHING else _said(self._code)

    def forget(self) -> None:
        """Listen no more."""
        if sys.excepthook == self._on_exception:
            sys.excepthook = self._hooks[0]
        if sys.exit == self._on_exit:
            sys.exit = self._hooks[1]
        if self._frame is not None:
            names = self._frame.f_globals
            for name, before in self._changed.items():
                if before is _NOTHING:
                    names.pop(name, None)
                else:
                    names[name] = before
        self._changed.clear()

    def _listen_in(self, names: dict[str, Any]) -> None:
        # `from sys import exit` has taken the function itself.
        for name in [name for name, value in names.items() if value is self._hooks[1]]:
            self._changed[name] = names[name]
            names[name] = self._on_exit
        if "SystemExit" not in names and _only_raises_it(names.get("__file__")):
            heard = self

            class Heard(SystemExit):
                def __init__(self, *arguments: Any) -> None:
                    super().__init__(*arguments)
                    heard._code = self.code

            Heard.__name__ = Heard.__qualname__ = "SystemExit"
            self._changed["SystemExit"] = _NOTHING
            names["SystemExit"] = Heard

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            self.interrupted = True
        else:
            self._exception = traceback.format_exception_only(kind, error)[-1].strip()
        self._hooks[0](kind, error, trace)

    def _on_exit(self, code: Any = None, /) -> NoReturn:
        self._code = code
        raise SystemExit(code)


def _said(code: Any) -> str | None:
    if code is None or code == 0:
        return None
    return f"exit code {code}" if isinstance(code, int) else str(code)


def _main_frame() -> FrameType | None:
    """The frame of the main module, when it is what called us."""
    names = sys.modules["__main__"].__dict__
    frame = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame
        frame = frame.f_back
    return None


def _returned(frame: FrameType) -> bool:
    return dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("RETURN")


def _only_raises_it(path: str | None) -> bool:
    """Whether the script uses the name SystemExit for nothing but to raise it: where it catches it, which class it
    is matters."""
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        tree = ast.parse(Path(path or "").read_bytes())
        raised = {
            id(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
            for node in ast.walk(tree)
            if isinstance(node, ast.Raise) and node.exc is not None
        }
        used = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "SystemExit"]
        return bool(used) and all(id(node) in raised for node in used)
    return False
