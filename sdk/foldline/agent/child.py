"""One attempt of a function step: in a child that a spawner forked, or as an interpreter of its own.

`python -m foldline.agent.child <order.json>` runs the order {"root", "task", "cwd", "env", "paths"} and ends as a
script would. The `paths` are searched after the sources, before what is installed.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import foldline
from foldline.client import Client
from foldline.own_process import save_work_on_terminate
from foldline.running import call_function, load_function

Json = dict[str, Any]

OURS: Final = os.path.dirname(foldline.__file__) + os.sep
IMPORTLIB: Final = os.path.dirname(importlib.__file__) + os.sep


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    root = None if order["root"] is None else Path(order["root"])
    script = order["task"]["script"]
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.path[:0] = order.get("paths", ())
    save_work_on_terminate()
    sys.exit(run(lambda: load_function(root, script), order["task"], Client()))


def run(load: Callable[[], Callable[..., Any]], task: Json, client: Client) -> int:
    """Load the function and call it for `task`. Returns the exit code; an exception is printed as Python does it."""
    script = task["script"]
    sys.argv = [str(script.get("entry_point") or script.get("module") or ""), *map(str, script.get("arguments") or ())]
    try:
        call_function(load(), task, client)
    except SystemExit as left:
        return exit_code(left)
    except BaseException as error:
        trace = _without_our_frames(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 1
    return 0


def exit_code(left: SystemExit) -> int:
    """The exit code that the interpreter makes of `sys.exit(...)`; a message goes to stderr."""
    if left.code is None:
        return 0
    if isinstance(left.code, int):
        return left.code & 0xFF
    print(left.code, file=sys.stderr)
    return 1


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the user's code on; all of it when no code of theirs was reached."""
    theirs = trace
    while theirs is not None:
        file = theirs.tb_frame.f_code.co_filename
        if not file.startswith((OURS, IMPORTLIB, "<frozen importlib")):
            return theirs
        theirs = theirs.tb_next
    return trace


if __name__ == "__main__":
    main()
