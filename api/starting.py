"""What a server's process arranges for itself: before its parts are imported, and once they are all there."""

import gc
import sys
import warnings
from typing import Any, cast

# Imported by packages of ours if they are there, and of no use here: one prints tracebacks in colour, one is for
# models of an age that these never had.
NEVER_USED = ("rich", "pydantic.v1")

# Objects more than there were that make the collector look at the young ones, and how often it goes on to older ones.
# By default it looks after 700: a run of many steps, whose state stays, would be walked again and again.
THRESHOLDS = (50_000, 20, 50)


def prepare() -> None:
    """Be ready soon, and stay light: to be called before the server is imported, by a process that is nothing else."""
    gc.set_threshold(*THRESHOLDS)
    from pydantic import BaseModel
    from pydantic.warnings import UnsupportedFieldAttributeWarning

    modules = cast(dict[str, Any], sys.modules)
    for name in NEVER_USED:
        modules.setdefault(name, None)  # to the import system: there is no such module
    # Of the bodies and shapes that the API describes most are never asked for: each is built when it first is.
    BaseModel.model_config["defer_build"] = True
    # FastAPI ignores it where it has models built, which is not the place any more.
    warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)


def settle() -> None:
    """What is there when the server begins stays to its end: the collector need never look at it again."""
    gc.freeze()
