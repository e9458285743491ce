"""`foldline run`: what one does with runs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from foldline.cli import control
from foldline.cli.columns import FIELDS, RUNS, STEPS, Parameters, progress
from foldline.cli.connection import SECONDS_TO_ANSWER, SECONDS_WHILE_WATCHING, connected
from foldline.cli.naming import run_id
from foldline.cli.output import Format, Json, show, show_one
from foldline.cli.values import values_from
from foldline.client import Client
from foldline.errors import FoldlineError

OUTCOMES = {"completed": 0, "failed": 10, "stopped": 11}

app = App(name="run", help="Submit, list, watch, pause, stop, replay and verify runs; judge steps.")
for command in (
    control.pause,
    control.resume,
    control.approve,
    control.reject,
    control.retry,
    control.complete,
    control.tree,
):
    app.command(command)


@app.command
def submit(
    definition: Path,
    *,
    parameter: Parameters | None = None,
    name: str | None = None,
    queue: str | None = None,
    tag: Annotated[list[str] | None, Parameter(name="--tag")] = None,
    draft: bool = False,
    cache: Literal["use", "refresh", "off"] | None = None,
    key: str | None = None,
    watch: bool = False,
    output: Format = "table",
) -> int:
    """Submit a pipeline.

    Parameters
    ----------
    definition
        A file with the definition as JSON; - reads it from standard input.
    name
        The run's name, instead of the pipeline's with its number.
    queue
        The queue of every step, instead of those in the definition.
    tag
        A tag for the run; may be given several times.
    draft
        Create the run but do not start it.
    cache
        For steps that reuse results: use them; refresh, run and keep what they make; or off.
    key
        The idempotency key: the same key submits once, however often it is sent.
    watch
        Stay until the run has ended; the exit code is its outcome.
    """
    with connected(patience=SECONDS_WHILE_WATCHING if watch else SECONDS_TO_ANSWER) as client:
        run = client.runs.submit(
            read_definition(definition),
            parameters=values_from(parameter or []),
            name=name,
            queue=queue,
            tags=tag,
            draft=draft,
            cache=cache,
            key=key,
        )
        if not watch:
            show_one(run, FIELDS, output)
            return 0
        return _watch(client, str(run["id"]), None)


@app.command
def ls(
    *,
    status: list[str] | None = None,
    project: str | None = None,
    name: str | None = None,
    tag: list[str] | None = None,
    kind: Literal["pipeline", "custom"] | None = None,
    limit: int = 30,
    output: Format = "table",
) -> None:
    """List runs, the newest first.

    Parameters
    ----------
    kind
        pipeline, or custom: tasks that made others from inside their process.
    """
    with connected() as client:
        found = client.runs.list(status=status, project=project, name=name, tag=tag, kind=kind, limit=limit)
        show(found, RUNS, output)


@app.command(name="show")
def show_(run: str, *, output: Format = "table") -> None:
    """Show a run and its steps.

    Parameters
    ----------
    run
        Its id, the beginning of it, @latest or @failed. ID@318 shows it as of its 318th event, ID@TIME as of a time.
    """
    name, at = split_at(run)
    with connected() as client:
        identity = run_id(client, name)
        found = client.runs.get(identity, at=at)
        if output == "ids":
            print(identity)
            return
        steps = list(client.runs.steps(identity, at=at))
        if output != "table":
            show_one({**found, "steps": steps}, FIELDS, output)
            return
        if at is not None:
            print(f"as of event {found['version']}:")
        show_one(found, FIELDS, output)
        print()
        show(steps, STEPS, output)


@app.command
def watch(run: str = "@latest", *, timeout: float | None = None) -> int:
    """Watch a run until it has ended; the exit code is its outcome. Ctrl-C leaves the run alone.

    Parameters
    ----------
    run
        Its id, the beginning of it, @latest or @failed.
    timeout
        Seconds after which to leave with exit code 12; the run goes on.
    """
    with connected(patience=SECONDS_WHILE_WATCHING) as client:
        return _watch(client, run_id(client, run), timeout)


def _watch(client: Client, identity: str, timeout: float | None) -> int:
    from foldline.cli.watch import TookTooLong, follow

    try:
        ended = follow(client, identity, timeout)
    except KeyboardInterrupt:
        said = f"left run {identity}, which goes on; watch it again with: foldline run watch {identity[:8]}"
        print(f"\n{said}", file=sys.stderr)
        return 130
    except TookTooLong:
        print(f"run {identity} has not ended after {timeout:g} s; it goes on", file=sys.stderr)
        return 12
    return OUTCOMES[ended["status"]]


@app.command
def logs(run: str, step: str | None = None, *, attempt: int | None = None, follow: bool = False) -> None:
    """Print what a step wrote; of the step that failed first, when none is named.

    Parameters
    ----------
    step
        The step's name.
    attempt
        Which attempt; the last one otherwise.
    follow
        Stay and print what comes, until the attempt has ended.
    """
    from foldline.cli.logs import print_log

    with connected() as client:
        identity = run_id(client, run)
        found = [one for one in client.runs.steps(identity) if (one["name"] == step if step else _worth_reading(one))]
        if not found:
            raise FoldlineError(f"run {identity} has no step {step!r}" if step else "no step has started yet")
        chosen = next((one for one in found if one["status"] == "failed"), found[-1])
        if chosen["task_id"] is None:
            raise FoldlineError(f"step {chosen['name']!r} has no task: it is {chosen['status']} ({chosen['reason']})")
        print_log(client, chosen["task_id"], attempt=attempt, follow=follow)


def _worth_reading(step: Json) -> bool:
    return step["attempts"] > 0


@app.command
def start(run: str, *, output: Format = "table") -> None:
    """Start a run that was submitted as a draft."""
    with connected() as client:
        show_one(client.runs.start(run_id(client, run)), FIELDS, output)


@app.command
def stop(run: str, *, reason: str = "", output: Format = "table") -> None:
    """Stop a run: what runs may save its work, what waits is skipped."""
    with connected() as client:
        show_one(client.runs.stop(run_id(client, run), reason), FIELDS, output)


@app.command
def replay(
    run: str,
    *,
    from_: Annotated[int | None, Parameter(name="--from")] = None,
    to: int | None = None,
    speed: float = 0,
    output: Format = "table",
) -> None:
    """Show a run's states one after another, event by event, rebuilt from the log.

    Parameters
    ----------
    from_
        The first event to show.
    to
        The last event to show.
    speed
        0: at once; 1: as fast as it happened; 10: ten times as fast.
    """
    with connected() as client:
        for line in client.runs.replay(run_id(client, run), start=from_, end=to, speed=speed):
            if output in ("json", "ndjson"):
                print(json.dumps(line, ensure_ascii=False), flush=True)
            else:
                print(replay_line(line), flush=True)


def replay_line(line: Json) -> str:
    """One event of a replay for people: its number, its time, what happened, how the run then stood."""
    state = line["run"]
    at = str(line["at"])[11:23]
    return f"{line['version']:>6}  {at}  {line['type']:<18} {line['step'] or '':<20} {progress(state['step_counts'])}"


@app.command
def verify(run: str, *, output: Format = "table") -> int:
    """Fold and decide the whole run again, and compare with what was recorded. Exit code 13 when it differs."""
    with connected() as client:
        found = client.runs.verify(run_id(client, run))
    if output != "table":
        print(json.dumps(found, indent=2 if output == "json" else None, ensure_ascii=False))
    elif found["ok"]:
        print(f"verified: {found['events']} events, {found['decisions']} decisions, nothing differs")
    else:
        print(f"not verified: {len(found['differences'])} differences; the first:")
        show(
            found["differences"],
            [(name, lambda d, name=name: d[name]) for name in ("what", "where", "message")],
            output,
        )
    return 0 if found["ok"] else 13


def split_at(text: str) -> tuple[str, str | None]:
    """("ID", "318") of "ID@318"; @latest and @failed are names."""
    name, at, moment = text.rpartition("@")
    return (name, moment) if at and name else (text, None)


def read_definition(path: Path) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        definition = json.loads(text)
    except OSError as error:
        raise FoldlineError(f"cannot read {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise FoldlineError(f"{path} is no JSON: {error}") from error
    if not isinstance(definition, dict):
        raise FoldlineError(f"{path} holds no pipeline definition: it must be a JSON object")
    return definition  # pyright: ignore[reportUnknownVariableType]
