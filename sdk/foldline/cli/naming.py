"""Which run or task is meant: a whole id, the beginning of one, or @latest and @failed."""

import re
from itertools import islice
from typing import Any

from foldline.client import Client
from foldline.errors import FoldlineError

WHOLE = re.compile(r"[0-9a-f]{32}")
LOOK_BACK = 1000  # how many of the newest are looked at for the beginning of an id


class Unclear(FoldlineError):
    """None, or several, are meant."""


def run_id(client: Client, name: str) -> str:
    """Raises Unclear."""
    if WHOLE.fullmatch(name):
        return name
    if name in ("@latest", "@failed"):
        # Of pipelines: a custom run that submits one is as new, and has no history of its own to replay or verify.
        found = client.runs.list(status="failed" if name == "@failed" else None, kind="pipeline", limit=1)
        first = next(iter(found), None)
        if first is None:
            raise Unclear(f"there is no {'failed ' if name == '@failed' else ''}run yet")
        return str(first["id"])
    return _beginning(name, client.runs.list(limit=LOOK_BACK), "run")


def task_id(client: Client, name: str) -> str:
    """Raises Unclear."""
    if WHOLE.fullmatch(name):
        return name
    return _beginning(name, client.tasks.list(limit=LOOK_BACK), "task")


def _beginning(name: str, items: Any, kind: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{2,31}", name):
        raise Unclear(f"{name!r} is no id: give a {kind} id, or the beginning of one")
    found = [str(item["id"]) for item in islice(items, LOOK_BACK) if str(item["id"]).startswith(name)]
    if len(found) == 1:
        return found[0]
    many = f"{len(found)} {kind}s begin with {name}: give more of the id"
    raise Unclear(many if found else f"none of the last {LOOK_BACK} {kind}s begins with {name}: give the whole id")
