"""The commands of `foldline run` with which people have their say while a run goes on."""

import json
from typing import Annotated

from cyclopts import Parameter

from foldline.cli.columns import FIELDS, STEP, progress, why
from foldline.cli.connection import connected
from foldline.cli.naming import run_id
from foldline.cli.output import Format, Json, show_one
from foldline.cli.values import values_from

Results = Annotated[
    list[str], Parameter(name="--output", help="NAME=VALUE; VALUE is JSON, else text. May be given several times.")
]


def pause(run: str, *, reason: str = "", output: Format = "table") -> None:
    """Pause a run: no step starts until it is resumed; what runs goes on."""
    with connected() as client:
        show_one(client.runs.pause(run_id(client, run), reason), FIELDS, output)


def resume(run: str, *, reason: str = "", output: Format = "table") -> None:
    """Let a paused run go on."""
    with connected() as client:
        show_one(client.runs.resume(run_id(client, run), reason), FIELDS, output)


def approve(run: str, step: str, *, reason: str = "", output: Format = "table") -> None:
    """Say yes to a step that waits for it."""
    with connected() as client:
        show_one(client.runs.approve(run_id(client, run), step, reason), STEP, output, identity="name")


def reject(run: str, step: str, *, reason: str = "", output: Format = "table") -> None:
    """Say no to a step that waits for a yes: it fails."""
    with connected() as client:
        show_one(client.runs.reject(run_id(client, run), step, reason), STEP, output, identity="name")


def retry(run: str, step: str, *, reason: str = "", output: Format = "table") -> None:
    """Run a failed or stopped step again, and those that were skipped because of it."""
    with connected() as client:
        show_one(client.runs.retry_step(run_id(client, run), step, reason), STEP, output, identity="name")


def complete(run: str, step: str, *, reason: str = "", results: Results | None = None) -> None:
    """Take a step as completed, though its task did not run or went wrong.

    Parameters
    ----------
    results
        The values that it would have returned.
    """
    with connected() as client:
        outputs = values_from(results or [])
        done = client.runs.complete_step(run_id(client, run), step, reason, outputs=outputs or None)
        show_one(done, STEP, "table")


def tree(run: str, *, output: Format = "table") -> None:
    """Show a run with its steps, the runs that some of them are, and what was made from inside its processes."""
    with connected() as client:
        found = client.runs.tree(run_id(client, run))
    if output == "table":
        print("\n".join(tree_lines(found)))
    elif output == "ids":
        print("\n".join(_ids(found)))
    else:
        print(json.dumps(found, indent=2 if output == "json" else None, ensure_ascii=False))


def tree_lines(tree: Json, indent: str = "") -> list[str]:
    """One line for each run, step and task, indented under what it belongs to."""
    run = tree["run"]
    lines = [f"{indent}{run['name']}  {run['status']}  {progress(run['step_counts'])}  {run['id']}"]
    for branch in tree["steps"]:
        step = branch["step"]
        said = why(step)
        lines.append(f"{indent}  {step['name']}  {step['status']}{f': {said}' if said else ''}")
        if branch["run"] is not None:
            lines += tree_lines(branch["run"], f"{indent}    ")
    for made in tree["made"]:
        lines.append(f"{indent}  made: {made['name']}  {made['status']}  {made['kind']} {made['id']}")
        if made["run"] is not None:
            lines += tree_lines(made["run"], f"{indent}    ")
    return lines


def _ids(tree: Json) -> list[str]:
    below = [branch["run"] for branch in (*tree["steps"], *tree["made"]) if branch["run"] is not None]
    return [str(tree["run"]["id"]), *(found for one in below for found in _ids(one))]
