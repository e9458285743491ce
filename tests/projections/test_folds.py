"""The rows are what the domain's folds say, whatever has happened and however the log was cut into pages."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain.ids import step_task_id
from domain.run import Run
from domain.task import Task, TaskDequeued, TaskEnqueued, TaskFailed
from eventstore.sql import open_store
from projections import following, queries
from projections.runner import Runner
from projections.tables import agent_row, pipeline_row, queue_row, run_row, step_row, task_row, timeline
from tests.projections.histories import happen
from tests.projections.rows import rows_of
from tests.projections.world import World, pipeline


@pytest.fixture(scope="module", params=[1, 2, 3])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Something has happened, and the rows have followed it in pages of an odd length."""
    folder = tmp_path_factory.mktemp("history")
    with closing(open_store(f"sqlite:///{folder}/foldline.db")) as store, pytest.MonkeyPatch.context() as patched:
        world = World(store)
        happen(world, seed=request.param)
        patched.setattr(following, "PAGE", 1 + 16 * request.param)
        Runner(store).catch_up()
        yield world


def test_rows_of_tasks_are_the_tasks(history: World):
    rows = rows_of(history.store, task_row)
    assert rows.keys() == history.tasks.keys()
    for task_id, task in history.tasks.items():
        shown = {name: rows[task_id][name] for name in TASK}
        assert shown == {name: getattr(task, name) for name in TASK}
        assert msgspec.json.decode(rows[task_id]["tags"]) == list(history.content_of(task_id).tags)
        assert rows[task_id]["agent_id"] == ((task.attempts[-1].agent_id or None) if task.attempts else None)


TASK = [
    "version",
    "name",
    "project",
    "type",
    "status",
    "reason",
    "parent",
    "run_id",
    "step",
    "queue",
    "attempt",
    "created_at",
    "queued_at",
    "started_at",
    "ended_at",
]


def test_rows_of_runs_are_the_runs(history: World):
    rows = rows_of(history.store, run_row)
    assert rows.keys() == history.runs.keys()
    for run_id, run in history.runs.items():
        row = rows[run_id]
        assert {name: row[name] for name in RUN} == {name: getattr(run, name) for name in RUN}
        assert msgspec.json.decode(row["parameters"]) == run.parameters
        assert msgspec.json.decode(row["tags"]) == list(run.tags)
        assert msgspec.json.decode(row["step_counts"]) == run.counts
        assert row["default_queue"] == (run.queue or run.plan.definition.default_queue)
        assert msgspec.json.decode(row["hooks"]).keys() == set(run.hooks)
        assert msgspec.json.decode(row["artifacts"]) == sorted(run.outputs.artifacts)
        assert msgspec.json.decode(row["host_state"]) == host_as_row(run)
        assert (row["host_queued_at"] is not None) == (run.host.status == "queued")
        assert (row["host_agent"] is not None) == (run.host.status == "running" and bool(last_agent(run)))


def last_agent(run: Run) -> str | None:
    return run.host.attempts[-1].agent_id or None if run.host.attempts else None


def host_as_row(run: Run) -> Mapping[str, Any] | None:
    host = run.host
    if not host.status:
        return None
    last = host.attempts[-1] if host.attempts else None
    return {
        "status": host.status,
        "queue": host.queue,
        "attempt": host.attempt,
        "agent": last_agent(run),
        "session": last.session if last else None,
        "started_at": last.started_at if last else None,
    }


RUN = [
    "version",
    "name",
    "project",
    "kind",
    "pipeline_id",
    "pipeline_version",
    "number",
    "origin",
    "parent_run",
    "parent_step",
    "cache",
    "status",
    "reason",
    "created_at",
    "started_at",
    "ended_at",
]


def test_rows_of_steps_are_the_steps(history: World):
    rows = rows_of(history.store, step_row)
    expected = {
        step_task_id(run_id, name): (run, number, name)
        for run_id, run in history.runs.items()
        for number, name in enumerate(run.plan.steps)
    }
    assert rows.keys() == expected.keys()
    for key, (run, number, name) in expected.items():
        assert without_rules(rows[key]) == {"id": key, **step_as_row(run, number, name)}


def without_rules(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row without what only the next events need."""
    rules = ("time_limit", "timed_out", "draft", "done", "asks_created", "was_asked")
    return {name: value for name, value in row.items() if name not in rules}


def step_as_row(run: Run, number: int, name: str) -> Mapping[str, Any]:
    step, definition = run.step(name), run.plan.steps[name]
    return {
        "run_id": run.id,
        "number": number,
        "name": name,
        "status": step.status,
        "reason": step.reason,
        "task_id": step.task_id,
        "attempts": step.attempts,
        "parents": msgspec.json.encode(run.plan.parents[name]).decode(),
        "queue": step.queue or run.queue or definition.queue or "default",
        "stage": definition.stage,
        "artifacts": msgspec.json.encode(sorted(step.artifacts)).decode(),
        "child_run": step.run_id,
        "retries": step.gates.retries,
        "queued_at": step.queued_at,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
    }


def test_the_timeline_has_each_attempt_once(history: World):
    rows = rows_of(history.store, timeline).values()
    for task_id, task in history.tasks.items():
        running = [row for row in rows if row["task_id"] == task_id and row["phase"] == "running"]
        attempts = sorted((row["attempt"], row["started_at"], row["ended_at"], row["outcome"]) for row in running)
        assert attempts == [
            (one.number, one.started_at, one.ended_at, None if one.status == "in_progress" else one.status)
            for one in task.attempts
        ]


def test_the_timeline_has_one_stay_at_a_time(history: World):
    rows = sorted(rows_of(history.store, timeline).values(), key=lambda row: (row["task_id"], row["version"]))
    for task_id, task in history.tasks.items():
        stays = [row for row in rows if row["task_id"] == task_id]
        for stay, following_stay in pairwise(stays):
            assert stay["ended_at"] is not None
            assert stay["ended_at"] <= following_stay["started_at"]
        now = [stay["phase"] for stay in stays if stay["ended_at"] is None]
        assert now == {"queued": ["queued"], "in_progress": ["running"]}.get(task.status, [])
        assert all(stay["run_id"] == task.run_id and stay["step"] == task.step for stay in stays)


def test_a_task_that_changes_queues_waits_for_the_same_attempt(tmp_path: Path):
    with closing(open_store(f"sqlite:///{tmp_path}/foldline.db")) as store:
        world = World(store)
        task_id = world.task()
        moves = (
            TaskEnqueued(queue="a"),
            TaskEnqueued(queue="b"),
            TaskDequeued(back_to="created"),
            TaskEnqueued(queue="c"),
        )
        for event in moves:  # today's rules want it taken out of a queue before it is put into another
            world.record(task_id, event)
        Runner(store).catch_up()
        assert [(row["queue"], row["attempt"], row["outcome"]) for row in rows_of(store, timeline).values()] == [
            ("a", 1, "moved"),
            ("b", 1, "dequeued"),
            ("c", 1, None),
        ]


def test_rows_of_agents_and_pipelines_are_theirs(history: World):
    shown = ("version", "name", "status", "session", "slots", "services", "host", "registered_at")
    assert {
        key: [*(row[name] for name in shown), msgspec.json.decode(row["queues"])]
        for key, row in rows_of(history.store, agent_row).items()
    } == {key: [*(getattr(agent, name) for name in shown), list(agent.queues)] for key, agent in history.agents.items()}
    shown = ("name", "project", "pipeline_version", "definition", "runs", "registered_at")
    assert {key: [row[name] for name in shown] for key, row in rows_of(history.store, pipeline_row).items()} == {
        key: [getattr(one, name) for name in shown] for key, one in history.pipelines.items()
    }


def test_queues_count_what_waits_in_them(history: World):
    assert rows_of(history.store, queue_row).keys() == {"default", "gpu"}
    waiting: dict[str, list[Task]] = {"default": [], "gpu": []}
    for task in history.tasks.values():
        if task.status == "queued":
            waiting[task.queue or ""].append(task)
    with history.store.database.reading() as connection:
        found = queries.queues(connection)
    assert [(row["name"], row["length"], row["oldest_enqueued_at"]) for row in found] == [
        (name, len(tasks), min((task.queued_at or 0 for task in tasks), default=None))
        for name, tasks in waiting.items()
    ]


def test_a_history_that_todays_rules_would_refuse_is_folded_all_the_same(tmp_path: Path):
    with closing(open_store(f"sqlite:///{tmp_path}/foldline.db")) as store:
        world = World(store)
        run_id = world.submit(pipeline({"a": [], "b": []}))
        task_id = world.step(run_id, "a")
        world.begin(task_id)
        world.end(task_id, "completed")
        world.record(task_id, TaskFailed(attempt=1, reason="too late"))
        Runner(store).catch_up()
        row, task = rows_of(store, step_row)[task_id], rows_of(store, task_row)[task_id]
        assert without_rules(row) == {"id": task_id, **step_as_row(world.runs[run_id], 0, "a")}
        assert (row["status"], row["reason"]) == ("completed", "")
        assert (task["status"], task["reason"]) == ("failed", "too late")
        assert msgspec.json.decode(rows_of(store, run_row)[run_id]["step_counts"]) == world.runs[run_id].counts
