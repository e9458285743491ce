"""Random runs: any pipeline, whose steps end in any way and order. What drew them decides what they are.

Run as a program it prints the SHA-256 of many logs, for a comparison between two processes.
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import msgspec

from domain.pipeline import ContinueBehaviour, Definition, StepDefinition
from tests.domain.play import Play, pipeline, step

T = TypeVar("T")
MOST_STEPS = 12
SEEDS = range(40)
# What can happen to a step that is queued or running; the last one, to the run.
MOVES = ("completes", "fails", "stops", "lost", "begins", "asked")
FLAGS = ("continue_on_fail", "continue_on_abort", "skip_children_on_fail", "skip_children_on_abort")
QUEUES = ("default", "default", "default", "${pipeline.where}", "nowhere")


class Draw(Protocol):
    """Where the choices come from: a generator with a seed, or hypothesis."""

    def __call__(self, choices: Sequence[T], /) -> T: ...


def behaviour(draw: Draw) -> ContinueBehaviour | None:
    return ContinueBehaviour(**{flag: draw([True, False]) for flag in FLAGS}) if draw([True, False]) else None


def random_step(draw: Draw, name: str, before: Sequence[str]) -> StepDefinition:
    parents = [parent for parent in before if draw([True, False, False])]
    override: dict[str, Any] = {"General/a": "${pipeline.rate}", "General/b": 1} if draw([True, False]) else {}
    if before and draw([True, False, False, False]):
        override["General/data"] = f"${{{draw(before)}.artifacts.data.url}}"  # there, if that step has made it
    return step(
        name,
        *parents,
        parameter_override=override,
        queue=draw(QUEUES),
        continue_behaviour=behaviour(draw),
        max_attempts=draw([1, 2]),
        on_lost=draw(["requeue", "fail"]),
    )


def random_pipeline(draw: Draw) -> Definition:
    names = [f"s{number}" for number in range(draw(range(1, MOST_STEPS + 1)))]
    steps = [random_step(draw, name, names[:number]) for number, name in enumerate(names)]
    return pipeline(
        steps, abort_on_failure=draw([True, False, False]), defaults={"rate": 0.5, "where": draw(["default", "no"])}
    )


def open_steps(play: Play) -> list[str]:
    """Those that an agent holds or could take."""
    return [name for name, status in play.statuses.items() if status in ("queued", "running")]


def random_move(play: Play, draw: Draw) -> None:
    if not draw(range(12)):
        play.stop("enough", draw(["stopped", "failed"]))
        return
    name, move = draw(open_steps(play)), draw(MOVES)
    if move == "begins" and play.step(name).status == "running":
        play.artifact(name)  # a running step begins no more: it makes something
    else:
        play.play(f"{name} {move}")


def random_run(draw: Draw, look: Callable[[Play], None] = lambda _: None) -> Play:
    """A run until nothing is open any more; `look` sees it after each move.

    Every move but a few begins, ends or loses an attempt; those few are cut off, so that it comes to an end.
    """
    play = Play(random_pipeline(draw), draft=draw([True, False, False, False]))
    look(play)
    if play.run.status == "created":
        play.stop("not wanted") if draw([True, False, False]) else play.start()
        look(play)
    for _ in range(8 * MOST_STEPS):
        if not open_steps(play):
            return play
        random_move(play, draw)
        look(play)
    for name in iter(lambda: next(iter(open_steps(play)), ""), ""):
        play.complete(name)
        look(play)
    return play


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
