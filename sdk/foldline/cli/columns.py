"""What is shown of runs and their steps."""

from typing import Annotated

from cyclopts import Parameter

from foldline.cli.output import Column, Json, took, when

RUNS: list[Column] = [
    ("id", lambda run: run["id"]),
    ("name", lambda run: run["name"]),
    ("project", lambda run: run["project"]),
    ("status", lambda run: run["status"]),
    ("kind", lambda run: run["kind"]),
    ("steps", lambda run: progress(run["step_counts"])),
    ("started", lambda run: when(run["started_at"])),
    ("took", lambda run: took(run["started_at"], run["ended_at"])),
    ("reason", lambda run: run["reason"]),
]
STEPS: list[Column] = [
    ("step", lambda step: step["name"]),
    ("status", lambda step: step["status"]),
    ("attempts", lambda step: step["attempts"]),
    ("took", lambda step: took(step["started_at"], step["ended_at"]) if step["ended_at"] else ""),
    ("task", lambda step: step["task_id"]),
    ("reason", lambda step: why(step)),
]
FIELDS: list[Column] = [
    *((name, lambda run, name=name: run[name]) for name in ("id", "name", "project", "status", "reason")),
    ("waits", lambda run: waits(run)),
    ("version", lambda run: run["version"]),
    ("pipeline", lambda run: run["pipeline_version"]),
    ("created", lambda run: when(run["created_at"])),
    ("started", lambda run: when(run["started_at"])),
    ("ended", lambda run: when(run["ended_at"])),
    ("took", lambda run: took(run["started_at"], run["ended_at"]) if run["ended_at"] else ""),
    ("parameters", lambda run: run["parameters"] or None),
    ("cache", lambda run: run["cache"] if run["cache"] != "use" else ""),
    ("step of", lambda run: f"{run['parent']['step']} of run {run['parent']['run_id']}" if run["parent"] else ""),
    ("host", lambda run: run["host"]["status"] if run["host"] else ""),
    ("warnings", lambda run: run["warnings"]),
]
STEP: list[Column] = [
    *((name, lambda step, name=name: step[name]) for name in ("name", "status")),
    ("reason", lambda step: why(step)),
    ("task", lambda step: step["task_id"]),
    ("attempts", lambda step: step["attempts"]),
]
Parameters = Annotated[list[str], Parameter(name=["--parameter", "-p"], help="NAME=VALUE; VALUE is JSON, else text.")]


def progress(counts: Json) -> str:
    """`3/7`, and what else there is to know."""
    good = counts["completed"] + counts["cached"]
    rest = [f"{counts[name]} {name}" for name in ("running", "failed", "stopped", "skipped") if counts[name]]
    return f"{good}/{sum(counts.values())}" + (f" ({', '.join(rest)})" if rest else "")


def waits(shown: Json) -> str:
    """What a run or a step waits for, and until when at latest."""
    waiting = shown["waiting_for"]
    if waiting is None:
        return ""
    return waiting["text"] + (f" (until {when(waiting['until'])})" if waiting["until"] else "")


def why(step: Json) -> str:
    """Why it is what it is, and what it waits for."""
    reason, waiting = step["reason"], waits(step)
    if not waiting or not reason or waiting.startswith(reason):
        return waiting or reason
    return f"{reason}; {waiting}"
