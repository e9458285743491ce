"""Tasks: create, clone, enqueue, run in one's own process, and what they report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from foldline import process
from foldline.calls.base import Calls, given, part
from foldline.calls.logs import Logs
from foldline.listing import Json, Listing

# What a task's process says about its own work, rather than a person about the task.
OUTPUTS: Final = frozenset({"hyperparameters", "configuration", "runtime"})


class Tasks(Calls):
    def create(self, *, name: str, project: str, **fields: Any) -> Json:
        """A new task. `fields` are those of `POST /tasks`: type, script, hyperparameters, tags, ..."""
        return self._post("tasks", {**given(origin=process.task_id()), "name": name, "project": project, **fields})

    def get(self, identifier: str) -> Json:
        return self._get(f"tasks/{part(identifier)}")

    def list(
        self,
        *,
        project: str | None = None,
        name: str | None = None,
        status: str | Sequence[str] | None = None,
        type: str | Sequence[str] | None = None,
        tag: str | Sequence[str] | None = None,
        parent: str | None = None,
        run_id: str | None = None,
        step: str | None = None,
        limit: int | None = None,
    ) -> Listing:
        """Rows of tasks, newest first; status, type and tag may be several."""
        return self._list(
            "tasks",
            limit,
            project=project,
            name=name,
            status=status,
            type=type,
            tag=tag,
            parent=parent,
            run_id=run_id,
            step=step,
        )

    def edit(self, identifier: str, fields: Mapping[str, Any], *, version: int | None = None) -> Json:
        """`PATCH /tasks/{id}`; with `version`, only if the task is still at that version (StaleVersion)."""
        headers = None if version is None else {"If-Match": f'"{version}"'}
        body = dict(fields)
        if not OUTPUTS.isdisjoint(body):
            body |= given(attempt=process.attempt_of(identifier))
        return self._client.request("PATCH", f"tasks/{part(identifier)}", json=body, headers=headers).json()

    def clone(
        self,
        identifier: str,
        *,
        name: str | None = None,
        project: str | None = None,
        parent: str | None = None,
        comment: str | None = None,
    ) -> Json:
        body = given(name=name, project=project, parent=parent, comment=comment, origin=process.task_id())
        return self._post(f"tasks/{part(identifier)}/clone", body)

    def enqueue(self, identifier: str, queue: str, *, priority: int | None = None) -> Json:
        body = given(queue=queue, priority=priority, origin=process.task_id())
        return self._post(f"tasks/{part(identifier)}/enqueue", body)

    def dequeue(self, identifier: str) -> Json:
        return self._post(f"tasks/{part(identifier)}/dequeue")

    def start(self, identifier: str, *, session: str, host: str, lease: float | None = None) -> Json:
        """The caller's own process begins an attempt: {"task", "attempt", "lease"}."""
        return self._post(f"tasks/{part(identifier)}/start", given(session=session, host=host, lease=lease))

    def heartbeat(self, identifier: str, *, session: str, attempt: int) -> Json:
        """{"stop": bool, "reason"}. Raises Refused when the attempt is no longer this session's.

        Sent once: the next beat is its retry.
        """
        body = {"session": session, "attempt": attempt}
        return self._post(f"tasks/{part(identifier)}/heartbeat", body, idempotent=False)

    def stop(self, identifier: str, reason: str = "", *, now: bool = False, attempt: int | None = None) -> Json:
        """Ask it to stop; with `now`, stop it without letting it save its work.

        `attempt`: this process is it. Raises Refused when it was lost: here, and in `complete` and `fail`.
        """
        body = {"reason": reason, "now": now, **given(attempt=attempt)}
        return self._post(f"tasks/{part(identifier)}/stop", body)

    def complete(self, identifier: str, reason: str = "", *, attempt: int | None = None) -> Json:
        return self._post(f"tasks/{part(identifier)}/complete", {"reason": reason, **given(attempt=attempt)})

    def fail(self, identifier: str, reason: str = "", *, attempt: int | None = None) -> Json:
        return self._post(f"tasks/{part(identifier)}/fail", {"reason": reason, **given(attempt=attempt)})

    def reset(self, identifier: str) -> Json:
        return self._post(f"tasks/{part(identifier)}/reset")

    def publish(self, identifier: str) -> Json:
        return self._post(f"tasks/{part(identifier)}/publish")

    def artifacts(self, identifier: str) -> Listing:
        return self._list(f"tasks/{part(identifier)}/artifacts")

    def add_artifact(self, identifier: str, artifact: Mapping[str, Any]) -> Json:
        """Name an artifact whose bytes are stored already: a blob (`sha256`), or elsewhere (`url`)."""
        body = {**given(attempt=process.attempt_of(identifier)), **artifact}
        return self._post(f"tasks/{part(identifier)}/artifacts", body)

    def remove_artifacts(self, identifier: str, names: Sequence[str]) -> Json:
        """The task without them. Raises Refused when one is not there: then all stay."""
        body = {**given(attempt=process.attempt_of(identifier)), "names": list(names)}
        return self._post(f"tasks/{part(identifier)}/artifacts/delete", body)

    def add_model(self, identifier: str, model: Mapping[str, Any]) -> Json:
        return self._post(f"tasks/{part(identifier)}/models", model)

    def add_scalars(self, identifier: str, points: Sequence[Mapping[str, Any]]) -> None:
        """Each point is {"title", "series", "iteration", "value"}, with `ago` if it was made seconds before."""
        body = {**given(attempt=process.attempt_of(identifier)), "points": [dict(point) for point in points]}
        self._client.request("POST", f"tasks/{part(identifier)}/scalars", json=body)

    def scalars(
        self, identifier: str, *, title: str | None = None, series: str | None = None, samples: int | None = None
    ) -> Json:
        """{"last": {title: {series: {...}}}}, with title and series also {"points": [[iteration, value]]}.

        With `samples` also {"curves": {title: {series: {"iterations", "values", "times"}}}}, 0 being all points.
        """
        return self._get(f"tasks/{part(identifier)}/scalars", given(title=title, series=series, samples=samples))

    def append_log(self, identifier: str, data: bytes, *, attempt: int, offset: int) -> int:
        """The offset after `data`. A repeat is harmless; a gap is Refused, with `offset` in its problem."""
        return Logs(self._client).append(identifier, data, attempt=attempt, offset=offset)

    def logs(
        self, identifier: str, *, attempt: int | None = None, offset: int = 0, limit: int = 65536
    ) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset`, and the offset after them. The last attempt by default."""
        return Logs(self._client).read(identifier, attempt=attempt, offset=offset, limit=limit)

    def log_tail(self, identifier: str, size: int) -> tuple[bytes, int]:
        """The last `size` bytes of the last attempt's log, and how long that is."""
        return Logs(self._client).tail(identifier, size)

    def follow_logs(self, identifier: str, *, attempt: int | None = None, offset: int = 0) -> Iterator[str]:
        """Pieces of text as they are written, until the attempt has ended; resumes by itself."""
        return Logs(self._client).follow(identifier, attempt=attempt, offset=offset)
