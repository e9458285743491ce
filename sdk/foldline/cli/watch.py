"""Watching a run: a block that stays in place on a terminal, one line per change elsewhere."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from foldline.cli.output import STYLES, Json, duration, took
from foldline.client import Client

ENDED = ("completed", "failed", "stopped")
MOST_RUNNING, MOST_ENDED = 8, 5
SEEN_ENDED = ("completed", "cached", "failed", "stopped", "skipped")


class TookTooLong(Exception):
    """The run has not ended in the time given."""


def follow(client: Client, run_id: str, timeout: float | None = None) -> Json:
    """Show the run until it has ended; the run then. Raises TookTooLong."""
    if sys.stdout.isatty():
        return _on_terminal(client, run_id, timeout)
    return _in_lines(client, run_id, timeout)


def looks(client: Client, run_id: str, timeout: float | None) -> Iterator[tuple[Json, list[dict[str, Any]]]]:
    """The run and its steps each time it has changed, and once more when it has ended."""
    deadline = None if timeout is None else time.monotonic() + timeout
    seen, pause = None, 0.1
    while True:
        run = client.runs.get(run_id)
        if run["version"] != seen:
            seen, pause = run["version"], 0.1
            yield run, list(client.runs.steps(run_id))
        if run["status"] in ENDED:
            return
        if deadline is not None and time.monotonic() > deadline:
            raise TookTooLong
        time.sleep(pause)
        pause = min(pause * 1.3, 1.0)


def _in_lines(client: Client, run_id: str, timeout: float | None) -> Json:
    known: dict[str, str] = {}
    warned: set[str] = set()
    last: Json = {}
    for run, steps in looks(client, run_id, timeout):
        last = run
        for warning in run["warnings"]:
            if warning not in warned:
                warned.add(warning)
                print(f"{run['name']}: {warning}", flush=True)
        for step in steps:
            if step["status"] not in ("pending", known.get(step["name"])):
                known[step["name"]] = step["status"]
                print(step_line(step), flush=True)
    print(end_line(last), flush=True)
    return last


def step_line(step: Json) -> str:
    lasted = f" after {took(step['started_at'], step['ended_at'])}" if step["started_at"] and step["ended_at"] else ""
    why = f": {step['reason']}" if step["reason"] else ""
    return f"{step['name']}: {step['status']}{lasted}{why}"


def end_line(run: Json) -> str:
    why = f": {run['reason']}" if run["reason"] else ""
    return f"{run['name']}: {run['status']} after {took(run['started_at'], run['ended_at']) or duration(0)}{why}"


def _on_terminal(client: Client, run_id: str, timeout: float | None) -> Json:
    from rich.console import Console
    from rich.live import Live

    last: Json = {}
    with Live(console=Console(), refresh_per_second=8, transient=False) as live:
        for run, steps in looks(client, run_id, timeout):
            last = run
            live.update(block(run, steps), refresh=True)
    return last


def block(run: Json, steps: list[dict[str, Any]]) -> Any:
    """The run as one block of bounded height, whatever its size: counts, what runs, what ended last, what failed."""
    from rich.text import Text

    counts: dict[str, int] = run["step_counts"]
    lines = [Text.assemble((f"{run['name']}  ", "bold"), (run["status"], STYLES.get(run["status"], "")))]
    lines.append(bar(counts))
    running = [step for step in steps if step["status"] == "running"]
    failed = [step for step in steps if step["status"] == "failed"]
    ended = [step for step in steps if step["ended_at"] and step["status"] != "failed"]
    ended.sort(key=lambda step: step["ended_at"])
    waiting = [step for step in steps if step["status"] == "queued"]
    for step in [*failed[:MOST_ENDED], *ended[-MOST_ENDED:], *running[:MOST_RUNNING], *waiting[:3]]:
        style = STYLES.get(step["status"], "")
        lasted = took(step["started_at"], step["ended_at"])
        lines.append(
            Text.assemble(
                "  ", (f"{step['status']:<10}", style), f" {step['name']:<28} {lasted:>8}  ", (step["reason"], "dim")
            )
        )
    if len(running) > MOST_RUNNING:
        lines.append(Text(f"  ... and {len(running) - MOST_RUNNING} more running"))
    lines += [Text(f"  {warning}", style="yellow") for warning in run["warnings"]]
    if run["reason"]:
        lines.append(Text(f"  {run['reason']}", style="red" if run["status"] == "failed" else "yellow"))
    return Text("\n").join(lines)


def bar(counts: dict[str, int], width: int = 40) -> Any:
    from rich.text import Text

    total = max(sum(counts.values()), 1)
    done = sum(counts[name] for name in SEEN_ENDED)
    filled = width * done // total
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Text.assemble("  ", ("━" * filled, "green"), ("━" * (width - filled), "dim"), f"  {done}/{total}  {words}")
