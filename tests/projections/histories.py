"""Histories at random: whatever the domain allows, in any order."""

from contextlib import suppress
from random import Random
from typing import Any

from domain import agent as agents
from domain import run as runs
from domain import task as tasks
from domain.content import Content, Edit, Parameter
from domain.pipeline import ContinueBehaviour, Definition, PipelineParameter, StepDefinition
from domain.refused import Refused
from eventstore.codec import digest, encode
from tests.projections.world import STEP_CONTENT, World

QUEUES = ("default", "gpu")
TAGS = ("a", "b", "ü", "x" * 300)
MOVES_AT_ONCE = 20


def happen(world: World, seed: int, moves: int = 300) -> None:
    """`moves` attempts at doing something; what is refused is left."""
    chance = Random(seed)
    world.together(lambda: [world.queue(queue) for queue in QUEUES])
    for _ in range(0, moves, MOVES_AT_ONCE):
        world.together(lambda: [_move(world, chance) for _ in range(MOVES_AT_ONCE)])


def _move(world: World, chance: Random) -> None:
    kinds = {_new_task: 2, _new_run: 1, _agent: 1, _run: 1, _task: 24}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    with suppress(Refused):
        kind(world, chance)


def _new_task(world: World, chance: Random) -> None:
    content = Content(type=chance.choice(("training", "testing")), tags=_tags(chance))
    world.task(chance.choice(("train", "test")), content, project=chance.choice(("iris", "p" * 3000)))


def _new_run(world: World, chance: Random) -> None:
    names = [f"s{number}" for number in range(chance.randint(1, 6))]
    definition = Definition(
        name=chance.choice(("iris", "mnist")),
        project="examples",
        default_queue="default",
        abort_on_failure=chance.random() < 0.2,
        parameters=[PipelineParameter(name="queue", default="gpu")],
        steps=[_step(chance, name, names[:number]) for number, name in enumerate(names)],
    )
    world.submit(
        definition,
        draft=chance.random() < 0.2,
        queue=chance.choice((None, None, "gpu")),
        tags=_tags(chance),
        parameters={"queue": "gpu"},
    )


def _step(chance: Random, name: str, before: list[str]) -> StepDefinition:
    parents = [other for other in before if chance.random() < 0.4]
    artifact = {"General/data": f"${{{parents[0]}.artifacts.data.url}}"} if parents and chance.random() < 0.3 else {}
    return StepDefinition(
        name=name,
        parents=parents,
        parameter_override=artifact,
        task_overrides={"tags": _tags(chance)} if chance.random() < 0.3 else {},
        queue=chance.choice((None, "gpu", "${pipeline.queue}")),
        stage=chance.choice((None, "prepare")),
        continue_behaviour=chance.choice((None, ContinueBehaviour(), ContinueBehaviour(skip_children_on_fail=False))),
        max_attempts=chance.randint(1, 3),
        content=digest(encode(STEP_CONTENT)),
    )


def _agent(world: World, chance: Random) -> None:
    key = world.agent(chance.choice("abc"), session=f"{chance.randrange(10**6):032x}", queues=[chance.choice(QUEUES)])
    session = world.agents[key].session if chance.random() < 0.7 else "0" * 32
    if chance.random() < 0.5:
        world.agent_event(key, agents.AgentLost(session=session, reason="not heard of for 10 s"))
    elif chance.random() < 0.3:
        world.agent_event(key, agents.AgentLeft(session=session))


def _run(world: World, chance: Random) -> None:
    if world.runs:
        run_id = chance.choice(list(world.runs))
        world.command(run_id, chance.choice((runs.StartRun(), runs.StartRun(), runs.StopRun(reason="enough"))))


def _task(world: World, chance: Random) -> None:
    if not world.tasks:
        return
    task_id = chance.choice(list(world.tasks))
    task = world.tasks[task_id]
    outcomes = ("completed", "completed", "failed", "stopped")
    commands: list[tasks.TaskCommand] = [
        *(tasks.EndTask(status=status, reason="because") for status in outcomes),
        tasks.EnqueueTask(queue=chance.choice(QUEUES), priority=chance.randint(0, 2)),
        tasks.EnqueueTask(queue=chance.choice(QUEUES)),
        tasks.DequeueTask(),
        *[tasks.StartTask(agent_id=chance.choice(("", "f" * 32)), session="s" * 32, host="h")] * 4,
        tasks.StopTask(reason="enough", now=chance.random() < 0.5),
        *[tasks.LoseTask(attempt=task.attempt, reason="not heard of for 10 s")] * 3,
        tasks.ResetTask(),
        tasks.PublishTask(),
        tasks.ArtifactAdded(name=chance.choice(("data", "Model")), url="foldline://blobs/x"),
        tasks.ModelAdded(id="m", kind="output", name="m"),
        _edit(chance),
    ]
    world.do(task_id, chance.choice(commands))


def _edit(chance: Random) -> tasks.TaskEdited:
    changes: list[dict[str, Any]] = [
        {"name": "renamed"},
        {"project": "moved"},
        {"parent": "e" * 32},
        {"runtime": {"progress": 1}},
        {"edit": Edit(tags=_tags(chance))},
        {"edit": Edit(type="inference", hyperparameters={"General": {"lr": Parameter(0.1)}})},
    ]
    return tasks.TaskEdited(**chance.choice(changes))


def _tags(chance: Random) -> list[str]:
    return chance.sample(TAGS, chance.randint(0, 3))
