"""docs/outcomes.md is true: every row of its tables is played, and ends as the row says."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.lifecycle import RUN_ENDED
from domain.pipeline import STRICT
from domain.refused import Refused
from tests.outcomes import of_callbacks, of_dynamic, of_machines, of_people, of_results, of_tasks
from tests.outcomes.world import SCENARIOS, World, new_world

PAGE = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text(encoding="utf-8")
PLAYED = (of_callbacks, of_dynamic, of_machines, of_people, of_results, of_tasks)
SAYS_WHY = ("failed", "skipped", "cached")


@dataclass(frozen=True)
class Row:
    key: str
    what: str
    clearml: str
    steps: dict[str, str]
    run: str
    reason: str


def read(line: str) -> Row:
    key, what, clearml, steps, run, reason = (
        cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]
    )
    pairs = {} if steps == "-" else dict(pair.split() for pair in steps.split(", "))
    return Row(key.strip("`"), what, clearml, pairs, run, "" if reason == "-" else reason)


ROWS = [read(line) for line in PAGE.splitlines() if line.startswith("| `")]


def fits(said: str, pattern: str) -> bool:
    """`…` stands for anything."""
    return re.fullmatch(".+".join(map(re.escape, pattern.split("…"))), said) is not None


def test_every_row_is_played_and_everything_played_has_a_row():
    keys = [row.key for row in ROWS]
    assert sorted(keys) == sorted(SCENARIOS)
    assert len(keys) == len(set(keys))
    assert {play.__module__ for play in SCENARIOS.values()} == {module.__name__ for module in PLAYED}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_every_row_says_what_clearml_does_and_where_that_was_found(row):
    assert row.what
    assert re.search(r"\([1-9][0-9. ,a-d]*\)$", row.clearml), row.clearml


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_it_ends_as_the_page_says(row):
    with new_world() as world:
        if row.run == "refused":
            with pytest.raises(Refused) as refused:
                SCENARIOS[row.key](world)
            assert fits(str(refused.value), row.reason), str(refused.value)
        else:
            SCENARIOS[row.key](world)
            ended_as(world, row)
        world.server.check()
        can_be_stopped(world)
        world.beside.check()


def ended_as(world: World, row: Row) -> None:
    run = world.server.run(world.run_id)
    assert (dict(world.statuses), run.status) == (row.steps, row.run)
    train = run.step("train").reason if "train" in row.steps else ""
    said = {"completed": train, "failed": run.reason, "stopped": run.reason}.get(run.status, "")
    assert fits(said, row.reason), said
    assert all(run.step(name).reason for name, status in row.steps.items() if status in SAYS_WHY)
    assert run.status in RUN_ENDED or any(status not in ("pending", "skipped") for status in row.steps.values())
    if run.status == "completed":
        no_accident(world)


def no_accident(world: World) -> None:
    """Each step came to a good end, or its author allowed what it came to, or a callback or such a step skipped it."""
    run = world.server.run(world.run_id)
    for name in run.plan.names:
        step, behaviour = run.step(name), run.plan.steps[name].continue_behaviour or STRICT
        match step.status:
            case "failed":
                assert behaviour.continue_on_fail
            case "stopped":
                assert behaviour.continue_on_abort
            case "skipped":
                parents = {run.step(parent).status for parent in run.plan.parents[name]}
                assert parents & {"failed", "stopped", "skipped"} or "returned False" in step.reason
            case other:
                assert other in ("completed", "cached")


def can_be_stopped(world: World) -> None:
    """Whatever it waits for, nothing hangs: it ends, as soon as somebody wants it to."""
    if not world.run_id or world.over:
        return
    world.stops(reason="it took too long")
    world.obeys()
    run = world.server.run(world.run_id)
    assert (run.status, run.reason) == ("stopped", "it took too long")
