"""Runs and their steps as the API shows them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from api.listening import Listening, warnings
from api.paging import with_times
from api.views import attempt_view
from api.waits import run_waits, step_waits
from api.wire import time_text
from domain import caching
from domain.content import NONE, overridden
from domain.lifecycle import STEP_STATES
from domain.refused import Refused
from domain.run import Run, Step
from domain.run_state import Hook

Json = dict[str, Any]


def run_view(run: Run, seen: Listening | None = None) -> Json:
    """`seen`: who takes work at present; None for a look into the past."""
    host = run.host
    return {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "kind": run.kind,
        "pipeline_id": run.pipeline_id,
        "pipeline_version": run.pipeline_version,
        "number": run.number,
        "version": run.version,
        "status": run.status,
        "reason": run.reason,
        "created_at": time_text(run.created_at),
        "started_at": time_text(run.started_at),
        "ended_at": time_text(run.ended_at),
        "parameters": dict(run.parameters),
        "tags": list(run.tags),
        "default_queue": run.queue or run.plan.definition.default_queue,
        "origin": run.origin,
        "cache": run.cache,
        "parent": parent_view(run.parent_run, run.parent_step),
        "waiting_for": run_waits(run.status, run.reason, host.status, host.queue, seen),
        "host": _host_view(run),
        "open_hooks": len(run.hooks),
        "artifacts": sorted(run.outputs.artifacts),
        "step_counts": dict(run.counts),
        "warnings": [] if seen is None else warnings(run, seen.heard),
    }


def run_row_view(row: Mapping[str, Any], seen: Listening) -> Json:
    """The same of a row of the list."""
    shown = with_times(row)
    host: Json | None = row["host"]
    if host is not None:
        shown["host"] = {**host, "started_at": time_text(host["started_at"])}
    shown["parent"] = parent_view(shown.pop("parent_run"), shown.pop("parent_step"))
    status, queue = (host["status"], host["queue"]) if host else ("", "")
    shown["waiting_for"] = run_waits(row["status"], row["reason"], status, queue, seen)
    return shown


def parent_view(run_id: str | None, step: str | None) -> Json | None:
    return None if run_id is None else {"run_id": run_id, "step": step}


def _host_view(run: Run) -> Json | None:
    host = run.host
    if not host.status:
        return None
    last = attempt_view(host.attempts[-1]) if host.attempts else {}
    return {
        "status": host.status,
        "queue": host.queue,
        "attempt": host.attempt,
        "agent": last.get("agent"),
        "session": last.get("session"),
        "started_at": last.get("started_at"),
    }


def step_view(run: Run, name: str, seen: Listening | None = None) -> Json:
    """A step of the run; what waits says for what. `seen`: who takes work at present, None for a look into the past."""
    step, definition = run.step(name), run.plan.steps[name]
    waits = step_waits(run, name, seen)
    reason = step.reason
    if not reason and waits is not None and waits["kind"] not in ("slot", "child"):
        reason = waits["text"]
    return {
        "name": name,
        "status": step.status,
        "reason": reason,
        "task_id": step.task_id,
        "attempts": step.attempts,
        "parents": list(run.plan.parents[name]),
        "queue": step.queue or run.queue or definition.queue or run.plan.definition.default_queue,
        "stage": definition.stage,
        "queued_at": time_text(step.queued_at),
        "started_at": time_text(step.started_at),
        "ended_at": time_text(step.ended_at),
        "artifacts": sorted(step.artifacts),
        "kind": _kind(run, name),
        "run_id": step.run_id,
        "retries": step.gates.retries,
        "waiting_for": waits,
        "cache": _cache_view(run, name, step),
    }


def _kind(run: Run, name: str) -> str:
    definition = run.plan.steps[name]
    if definition.pipeline is not None:
        return "pipeline"
    return "task" if run.plan.has_template(name) or definition.base_task_id else "approval"


def _cache_view(run: Run, name: str, step: Step) -> Json | None:
    """Whether its results were reused, and why, or why not; None where that was no question."""
    key, found = step.gates.key, step.gates.found
    if key is None:
        why = _why_never(run, name, step)
        return {**_NO_KEY, "reason": why} if why else None
    shown = {**_NO_KEY, "key": key.key, "parts": dict(key.parts)}
    if found is None:
        looked = "nothing was looked up: the run's cache mode is refresh" if not key.look else ""
        return {**shown, "reason": looked}
    hit = found.task_id is not None
    return {**shown, "hit": hit, "task_id": found.task_id, "reason": found.reason, "differs": list(found.differs)}


_NO_KEY: Mapping[str, Any] = {"key": None, "hit": False, "task_id": None, "reason": "", "differs": [], "parts": {}}


def _why_never(run: Run, name: str, step: Step) -> str:
    """Why a step that would reuse results, and has begun, was not looked up."""
    definition = run.plan.steps[name]
    if not definition.cache or step.task_id is None:
        return ""
    if run.cache == "off":
        return "the run's cache mode is off"
    try:
        return caching.why_not(overridden(run.plan.content_of(name), step.overrides or NONE))
    except Refused:
        return ""


def hooks_view(run: Run) -> list[Json]:
    """What the host is asked, in the order in which it was."""
    places = {name: place for place, name in enumerate(run.plan.names)} if len(run.hooks) > 1 else {}

    def order(hook: Hook) -> tuple[int, int, int]:
        # What one append asks has one time: a step that was queued and claimed in one is first queued, then runs.
        status = hook.asked.status if hook.asked.kind == "status" else ""
        return hook.at, places.get(hook.asked.step, 0), STEP_STATES.index(status) if status in STEP_STATES else -1

    return [_hook_view(hook) for hook in sorted(run.hooks.values(), key=order)]


def _hook_view(hook: Hook) -> Json:
    asked = hook.asked
    return {
        "id": asked.id,
        "kind": asked.kind,
        "step": asked.step,
        "attempt": asked.attempt,
        "parameters": None if asked.parameters is None else msgspec.to_builtins(asked.parameters),
        "status": asked.status,
        "previous": asked.previous,
        "retries": asked.retries,
        "requested_at": time_text(hook.at),
    }
