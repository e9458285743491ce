"""Histories at random: whatever the domain allows, in any order."""

from contextlib import suppress
from random import Random
from typing import Any

from domain import agent as agents
from domain import deadlines
from domain import run as runs
from domain import task as tasks
from domain.content import Content, Edit, Parameter
from domain.pipeline import (
    Approval,
    ContinueBehaviour,
    Definition,
    HostDefinition,
    PipelineParameter,
    Retry,
    StepDefinition,
)
from domain.queue import QueuePaused, QueueResumed
from domain.refused import Refused
from domain.run_events import HostEnded, HostLost, HostStarted, RunEdited
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
    kinds = {_new_task: 2, _new_run: 1, _agent: 1, _queue: 1, _run: 3, _step_of_run: 8, _host: 8, _time: 2, _task: 24}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    with suppress(Refused):
        kind(world, chance)


def _new_task(world: World, chance: Random) -> None:
    content = Content(type=chance.choice(("training", "testing")), tags=_tags(chance))
    origin = chance.choice((None, *world.tasks))
    world.task(chance.choice(("train", "test")), content, project=chance.choice(("iris", "p" * 3000)), origin=origin)


def _new_run(world: World, chance: Random) -> None:
    names = [f"s{number}" for number in range(chance.randint(1, 6))]
    definition = Definition(
        name=chance.choice(("iris", "mnist")),
        project="examples",
        default_queue="default",
        abort_on_failure=chance.random() < 0.2,
        hooks=chance.choice(((), (), ("created",), ("post",))),
        host=chance.choice((None, HostDefinition(), HostDefinition(queue="gpu"))),
        retry=chance.choice((None, Retry(times=1))),
        time_limit=chance.choice((None, None, 1.0)),
        parameters=[PipelineParameter(name="queue", default="gpu")],
        steps=[_step(chance, name, names[:number]) for number, name in enumerate(names)],
    )
    world.submit(
        definition,
        draft=chance.random() < 0.2,
        queue=chance.choice((None, None, "gpu")),
        tags=_tags(chance),
        parameters={"queue": "gpu"},
        cache=chance.choice(("use", "use", "refresh", "off")),
        parent_run=chance.choice((None, "a" * 32)),
        origin=chance.choice((None, *world.tasks)),
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
        retry=chance.choice((None, Retry(times=2), Retry(delay=5.0))),
        time_limit=chance.choice((None, 1.0)),
        cache=chance.random() < 0.3,
        draft=chance.random() < 0.2,
        approval=chance.choice((None, None, Approval(), Approval(deadline=1.0))),
        hooks=chance.sample(("pre", "created", "retry", "post", "status"), chance.choice((0, 0, 1, 2))),
        content=digest(encode(STEP_CONTENT)),
    )


def _agent(world: World, chance: Random) -> None:
    key = world.agent(chance.choice("abc"), session=f"{chance.randrange(10**6):032x}", queues=[chance.choice(QUEUES)])
    session = world.agents[key].session if chance.random() < 0.7 else "0" * 32
    if chance.random() < 0.5:
        world.agent_event(key, agents.AgentLost(session=session, reason="not heard of for 10 s"))
    elif chance.random() < 0.3:
        world.agent_event(key, agents.AgentLeft(session=session))


def _queue(world: World, chance: Random) -> None:
    event = chance.choice((QueuePaused(actor="ana", reason="moving"), QueueResumed(actor="ana")))
    world.queue(chance.choice(QUEUES), event)


def _run(world: World, chance: Random) -> None:
    if world.runs:
        commands: list[runs.RunCommand] = [
            runs.StartRun(),
            runs.StopRun(reason="enough"),
            *[runs.PauseRun(actor="ana", reason="lunch")] * 2,
            *[runs.ResumeRun(actor="ana")] * 4,
            RunEdited(name="renamed"),
            RunEdited(edit=Edit(tags=_tags(chance), comment="good")),
            tasks.ArtifactAdded(name=chance.choice(("report", "Table")), url="foldline://blobs/x"),
            tasks.RemoveArtifacts(names=["report"]),
        ]
        world.command(chance.choice(list(world.runs)), chance.choice(commands))


def _step_of_run(world: World, chance: Random) -> None:
    """What people say about steps, where there is something to say."""
    if not world.runs:
        return
    run_id = chance.choice(list(world.runs))
    step = chance.choice(world.runs[run_id].plan.names)
    commands: list[runs.RunCommand] = [
        *[runs.ApproveStep(step=step, actor="ana")] * 3,
        runs.RejectStep(step=step, reason="no"),
        *[runs.RetryStep(step=step, actor="ana")] * 3,
        runs.CompleteStep(step=step, outputs={"size": 7}),
    ]
    world.command(run_id, chance.choice(commands))


def _host(world: World, chance: Random) -> None:
    """A host begins, is lost, ends, or answers what it is asked first."""
    with_host = [run for run in world.runs.values() if run.host.status in ("queued", "running")]
    if not with_host:
        return
    run = chance.choice(with_host)
    if run.host.status == "queued":
        agent = chance.choice(("", "f" * 32))
        world.run_event(run.id, HostStarted(attempt=run.host.attempt + 1, agent_id=agent, session="h" * 32))
    elif chance.random() < 0.1:
        attempt = run.host.attempt
        ended = HostEnded(attempt=attempt, status=chance.choice(("completed", "failed")), reason="because")
        world.run_event(run.id, chance.choice((ended, HostLost(attempt=attempt, reason="not heard of"))))
    elif run.hooks:
        world.command(run.id, _answer(run, chance))


def _answer(run: runs.Run, chance: Random) -> runs.AnswerHook:
    hook = min(run.hooks)
    error = "Traceback\nValueError: bad" if chance.random() < 0.1 else None
    verdict = chance.choice((None, None, True, False))
    return runs.AnswerHook(hook_id=hook, session="h" * 32, attempt=run.host.attempt, verdict=verdict, error=error)


def _time(world: World, chance: Random) -> None:
    """All that is due in a run comes at once, however far ahead it lies."""
    if world.runs:
        run_id = chance.choice(list(world.runs))
        for event in deadlines.passed(world.runs[run_id], now=2**62):
            world.run_event(run_id, event, event.step)


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
        tasks.RemoveArtifacts(names=["data"]),
        tasks.ModelAdded(id=chance.choice("mn"), kind=chance.choice(("input", "output")), name="m", tags=_tags(chance)),
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
