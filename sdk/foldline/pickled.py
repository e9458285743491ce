"""Functions that no file defines, as bytes: those of a notebook or an interactive session, nested ones, lambdas.

Off unless FOLDLINE_PICKLE=1 is set where the pipeline is made. Only the step's own process ever loads the bytes.
"""

import json
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, Final

from foldline.errors import DefinitionError, FoldlineError

OPT_IN: Final = "FOLDLINE_PICKLE"


def wanted() -> bool:
    return os.environ.get(OPT_IN, "").lower() in ("1", "true", "yes")


def dump(function: Callable[..., Any], name: str) -> bytes:
    """A line that says which Python made it, then the pickle. Raises DefinitionError when it cannot be one."""
    try:
        import cloudpickle  # pyright: ignore
    except ImportError:
        raise DefinitionError(f"{name} can travel as a pickle only: pip install 'foldline[pickle]'") from None
    try:
        data: bytes = cloudpickle.dumps(function)  # pyright: ignore
    except Exception as why:  # what refuses to be pickled says so with any error it likes
        raise DefinitionError(f"{name} cannot be pickled ({why}): put it into a file, at the top level") from why
    return json.dumps({"python": _python(), "name": name}).encode() + b"\n" + data


def load(data: bytes) -> Callable[..., Any]:
    """The function. Raises FoldlineError, without touching the pickle, when another Python made it."""
    head, _, body = data.partition(b"\n")
    made = json.loads(head)
    if made["python"] != _python():
        raise FoldlineError(
            f"{made['name']} was pickled by Python {made['python']} and this is {_python()}: run the agent with "
            f"Python {made['python']}, or put the function into a file"
        )
    try:
        return pickle.loads(body)
    except ModuleNotFoundError as error:
        if error.name != "cloudpickle":
            raise
        raise FoldlineError(
            "a pickled function needs cloudpickle where the agent runs: pip install 'foldline[pickle]'"
        ) from None


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
