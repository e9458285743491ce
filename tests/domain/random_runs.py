"""Random runs: any pipeline, whose steps end in any way and order. What drew them decides what they are.

Run as a program it prints the SHA-256 of many logs, for a comparison between two processes.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import msgspec

from domain.content import Content, Script
from domain.lifecycle import RUN_ENDED
from domain.pipeline import Approval, ContinueBehaviour, Definition, HostDefinition, Retry, StepDefinition
from domain.refused import Refused
from domain.run import ApproveStep, CompleteStep, PauseRun, RejectStep, ResumeRun, RetryStep
from domain.run_events import CacheAnswered
from tests.domain.play import Play, pipeline, step

T = TypeVar("T")
MOST_STEPS = 10
MOST_MOVES = 8 * MOST_STEPS
SEEDS = range(40)
# What can happen to a step that is queued or running.
MOVES = ("completes", "fails", "stops", "lost", "begins", "asked")
FLAGS = ("continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort")
QUEUES = ("default", "default", "default", "${pipeline.where}", "nowhere")
HOOKS = ("pre", "created", "retry", "post", "status")
RETRIES = (None, None, None, Retry(times=1), Retry(times=2, delay=5, factor=2, jitter=0.5, max_delay=7))
TEMPLATE = Content(script=Script(source="5" * 64, entry_point="train.py"))


class Draw(Protocol):
    """Where the choices come from: a generator with a seed, or hypothesis."""

    def __call__(self, choices: Sequence[T], /) -> T: ...


def behaviour(draw: Draw) -> ContinueBehaviour | None:
    return ContinueBehaviour(**{flag: draw([True, False]) for flag in FLAGS}) if draw([True, False]) else None


def seldom(draw: Draw) -> bool:
    return not draw(range(5))


def template(draw: Draw) -> dict[str, Any]:
    """What the step runs, and what holds it before that."""
    deadline = draw([None, 30.0])
    match draw(range(10)):
        case 0:
            return {"approval": Approval(message="sure?", deadline=deadline)}
        case 1:
            return {"approval": Approval(deadline=deadline), "base_task_id": None, "content": None}
        case 2:
            return {"pipeline": "c" * 64, "pipeline_id": "c" * 32, "base_task_id": None, "content": None}
        case 3:
            return {"clone": False, "base_task_id": draw(["d" * 32, "e" * 32])}
        case 4:
            return {"draft": True}
        case 5:
            return {"hooks": ["factory"], "base_task_id": None, "content": None}
        case _:
            return {}


def random_step(draw: Draw, name: str, before: Sequence[str], *, hooked: bool) -> StepDefinition:
    parents = [parent for parent in before if draw([True, False, False])]
    override: dict[str, Any] = {"General/a": "${pipeline.rate}", "General/b": 1} if draw([True, False]) else {}
    if before and draw([True, False, False, False]):
        override["General/data"] = f"${{{draw(before)}.artifacts.data.url}}"  # there, if that step has made it
    special = template(draw)
    hooks = [hook for hook in HOOKS if hooked and seldom(draw)]
    return step(
        name,
        *parents,
        **{**special, "hooks": [*special.get("hooks", ()), *hooks]},
        parameter_override=override,
        queue=draw(QUEUES),
        continue_behaviour=behaviour(draw),
        max_attempts=draw([1, 2]),
        on_lost=draw(["requeue", "fail"]),
        retry=draw(RETRIES),
        cache=seldom(draw),
        time_limit=60.0 if seldom(draw) else None,
    )


def random_pipeline(draw: Draw) -> Definition:
    names = [f"s{number}" for number in range(draw(range(1, MOST_STEPS + 1)))]
    hooked = draw([True, False])
    steps = [random_step(draw, name, names[:number], hooked=hooked) for number, name in enumerate(names)]
    asks = hooked or any(one.hooks for one in steps)
    return pipeline(
        steps,
        abort_on_failure=draw([True, False, False]),
        defaults={"rate": 0.5, "where": draw(["default", "no"])},
        retry=Retry() if seldom(draw) else None,
        time_limit=300.0 if seldom(draw) else None,
        hook_timeout=40.0,
        hooks=["post"] if asks and seldom(draw) else [],
        host=HostDefinition() if asks or seldom(draw) else None,
    )


def open_steps(play: Play) -> list[str]:
    """Those that an agent holds or could take."""
    return [
        name
        for name, status in play.statuses.items()
        if status in ("queued", "running") and play.run.plan.steps[name].pipeline is None
    ]


def random_move(play: Play, draw: Draw) -> None:
    """One thing that somebody may try. A refusal is an answer as well."""
    move = draw((*[_agents] * 8, _children, _people, _people, _host, _host, _host, _clock))
    with suppress(Refused):
        move(play, draw)


def _agents(play: Play, draw: Draw) -> None:
    if not (found := open_steps(play)):
        return
    name, move = draw(found), draw(MOVES)
    if move == "begins" and play.step(name).status == "running":
        play.artifact(name)  # a running step begins no more: it makes something
    else:
        play.play(f"{name} {move}")


def _children(play: Play, draw: Draw) -> None:
    if found := running_children(play):
        play.child_ends(draw(found), draw(["completed", "failed", "stopped"]), "so it was")


def running_children(play: Play) -> list[str]:
    steps = play.run.plan.steps
    return [name for name, one in play.statuses.items() if one == "running" and steps[name].pipeline is not None]


def _people(play: Play, draw: Draw) -> None:
    name = draw(play.run.plan.names)
    match draw(("approve", "approve", "reject", "pause", "resume", "stop", "retry", "retry", "complete", "enqueue")):
        case "approve":
            play.command(ApproveStep(step=name, actor="ana", reason="fine"))
        case "reject":
            play.command(RejectStep(step=name, actor="ben"))
        case "pause":
            play.command(PauseRun(actor="ana"))
        case "resume":
            play.command(ResumeRun())
        case "retry":
            play.command(RetryStep(step=name, actor="ana"))
        case "complete":
            play.command(CompleteStep(step=name, actor="ana", outputs={"x": 1}))
        case "enqueue":
            enqueue_draft(play, name)
        case _:
            if not draw(range(3)):
                play.stop("enough", draw(["stopped", "failed"]))


def enqueue_draft(play: Play, name: str) -> None:
    """As the controller lets people do it."""
    if play.step(name).status == "waiting" and name in play.tasks and play.run.status == "running":
        play.enqueue(name)


def _host(play: Play, draw: Draw) -> None:
    host = play.run.host
    if host.status == "queued":
        play.host_starts(session=f"h{host.attempt + 1}")
    elif host.status == "running" and not draw(range(12)):
        play.host_lost() if draw([True, True, False]) else play.host_ends(draw(["failed", "stopped", "completed"]))
    elif host.status == "running":
        answer_any(play, draw)


def answer_any(play: Play, draw: Draw) -> None:
    if not play.run.hooks:
        return
    hook_id = draw(sorted(play.run.hooks))
    asked = play.run.hooks[hook_id].asked
    said: dict[str, Any] = {"verdict": draw([True, True, False, None])}
    if asked.kind == "pre" and draw([True, False]):
        said |= {"parameters": {"General/a": 7}, "queue": draw([None, "services", "nowhere"])}
    if asked.kind == "factory" and draw([True, True, False]):
        said["task_id"] = draw(["d" * 32, "f" * 32])
    if seldom(draw):
        said["error"] = "Traceback\nValueError: no"
    play.answer(asked.step, asked.kind, **said)


def _clock(play: Play, draw: Draw) -> None:
    play.passes(draw([1, 10, 70]))


def random_run(draw: Draw, look: Callable[[Play], None] = lambda _: None) -> Play:
    """A run until it has ended; `look` sees it after each move.

    After so many moves everybody does just what is waited for, so that it comes to an end.
    """
    play = Play(random_pipeline(draw), TEMPLATE, draft=draw([True, False, False, False]), cache=draw(["use", "off"]))
    play.kept = {name: CacheAnswered(step=name, task_id="9" * 32) for name in play.plan.names if seldom(draw)}
    play.drafts = {"d" * 32}
    look(play)
    if play.run.status == "created":
        play.stop("not wanted") if draw([True, False, False]) else play.start()
        look(play)
    for _ in range(draw(range(MOST_MOVES))):
        if play.run.status in RUN_ENDED and not draw(range(3)):
            break
        random_move(play, draw)
        look(play)
    for _ in range(40 * MOST_STEPS):
        if play.run.status in RUN_ENDED:
            break
        help_on(play)
        look(play)
    return play


def help_on(play: Play) -> None:
    """Do what the run waits for. Raises AssertionError when it waits for nothing that anybody could do."""
    run = play.run
    if run.status == "created":
        play.start()
    elif run.status == "paused" and not run.ending:
        play.command(ResumeRun())
    elif found := open_steps(play):
        play.complete(found[0])
    elif found := running_children(play):
        play.child_ends(found[0])
    elif run.hooks and run.host.status == "queued":
        play.host_starts(session=f"h{run.host.attempt + 1}")
    elif run.hooks and run.host.status == "running":
        asked = run.hooks[min(run.hooks)].asked
        play.answer(asked.step, asked.kind, verdict=True, task_id="f" * 32 if asked.kind == "factory" else None)
    else:
        _serve(play)


def _serve(play: Play) -> None:
    """One step that waits, by what it waits for."""
    waiting = {play.step(name).gates.waits_for: name for name, one in play.statuses.items() if one == "waiting"}
    if name := waiting.get("approval"):
        play.command(ApproveStep(step=name))
    elif name := waiting.get("draft"):
        play.enqueue(name)
    else:
        assert play.run.timers, f"nobody can help it on: {play.statuses}, {waiting}, host {play.run.host.status}"
        play.passes(1 + (min(play.run.timers.values()) - play.now) / 1e6)


def line(fact: Any) -> str:
    """A fact or a decision as the log would hold it."""
    data = msgspec.json.encode(fact.event, order="sorted").decode()
    return f"{fact.stream} {fact.step} {type(fact.event).__name__} {data}"


def digest_of_many(seeds: Sequence[int]) -> str:
    text = sha256()
    for seed in seeds:
        play = random_run(random.Random(seed).choice)
        text.update("\n".join([*map(line, play.log), play.run.status, play.run.reason]).encode())
    return text.hexdigest()


if __name__ == "__main__":
    print(digest_of_many(SEEDS))
