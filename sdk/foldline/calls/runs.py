"""Runs: submit, look at, look at as of then, stop, replay, verify."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from foldline import process
from foldline.calls.base import Calls, given, part
from foldline.errors import TimedOut
from foldline.listing import Json, Listing

ENDED: Final = frozenset({"stopped", "failed", "completed"})
# Seconds that one look at a run may take, as long as nothing happens in it.
LOOK: Final = 20.0
# Seconds for an answer beyond those that it was asked to wait.
ANSWER: Final = 30.0


class Runs(Calls):
    def submit(
        self,
        definition: Mapping[str, Any] | None = None,
        *,
        pipeline_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        name: str | None = None,
        draft: bool = False,
        queue: str | None = None,
        tags: Sequence[str] | None = None,
        cache: str | None = None,
        host: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Json:
        """A new run of `definition` or of a registered pipeline. `queue` replaces the queue of every step.

        `cache` is use, refresh or off; `host` is {"session", "host", "lease"} of the process that hosts the run.
        `key` is the Idempotency-Key: the same key with the same body gives the same run.
        """
        body = given(
            definition=definition,
            pipeline_id=pipeline_id,
            parameters=parameters,
            name=name,
            draft=draft or None,
            queue=queue,
            tags=None if tags is None else list(tags),
            cache=cache,
            host=host,
            origin=process.task_id(),
        )
        return self._post("runs", body, headers={"Idempotency-Key": key} if key else None)

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        project: str | None = None,
        name: str | None = None,
        tag: str | Sequence[str] | None = None,
        pipeline_id: str | None = None,
        kind: str | None = None,
        parent: str | None = None,
        origin: str | None = None,
        limit: int | None = None,
    ) -> Listing:
        return self._list(
            "runs",
            limit,
            status=status,
            project=project,
            name=name,
            tag=tag,
            pipeline_id=pipeline_id,
            kind=kind,
            parent=parent,
            origin=origin,
        )

    def get(
        self, identifier: str, at: str | int | None = None, *, after: int | None = None, wait: float | None = None
    ) -> Json:
        """The run now, or as of a run version, a time, or `p:<position>`.

        With `after` the server answers once the run is past that version, or `wait` seconds (at most 30) are over.
        """
        params = given(at=at, after=after, wait=wait)
        return self._waiting(f"runs/{part(identifier)}", params, wait)

    def clone(
        self,
        identifier: str,
        *,
        name: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        project: str | None = None,
        comment: str | None = None,
    ) -> Json:
        """A draft of the same definition."""
        body = given(name=name, parameters=parameters, project=project, comment=comment, origin=process.task_id())
        return self._post(f"runs/{part(identifier)}/clone", body)

    def edit(self, identifier: str, fields: Mapping[str, Any]) -> Json:
        """name, tags, comment, runtime (merged)."""
        return self._client.request("PATCH", f"runs/{part(identifier)}", json=dict(fields)).json()

    def tree(self, identifier: str) -> Json:
        """{"run", "steps": [{"step", "run"}], "made"}, nested."""
        return self._get(f"runs/{part(identifier)}/tree")

    def step(self, identifier: str, name: str) -> Json:
        return self._get(f"runs/{part(identifier)}/steps/{part(name)}")

    def pause(self, identifier: str, reason: str = "") -> Json:
        """No step starts until it is resumed; what runs goes on."""
        return self._post(f"runs/{part(identifier)}/pause", {"reason": reason})

    def resume(self, identifier: str, reason: str = "") -> Json:
        return self._post(f"runs/{part(identifier)}/resume", {"reason": reason})

    def approve(self, identifier: str, step: str, reason: str = "") -> Json:
        """Say yes to a step that waits for a person; the step comes back."""
        return self._post(f"runs/{part(identifier)}/steps/{part(step)}/approve", {"reason": reason})

    def reject(self, identifier: str, step: str, reason: str = "") -> Json:
        """Say no: the step fails."""
        return self._post(f"runs/{part(identifier)}/steps/{part(step)}/reject", {"reason": reason})

    def retry_step(self, identifier: str, step: str, reason: str = "") -> Json:
        """A failed or stopped step runs again, and those that were skipped because of it."""
        return self._post(f"runs/{part(identifier)}/steps/{part(step)}/retry", {"reason": reason})

    def complete_step(
        self,
        identifier: str,
        step: str,
        reason: str = "",
        *,
        outputs: Mapping[str, Any] | None = None,
        artifacts: Sequence[Mapping[str, Any]] | None = None,
    ) -> Json:
        """Take the step as completed: `outputs` are the values that it returned."""
        body = given(
            reason=reason, outputs=outputs, artifacts=None if artifacts is None else [dict(one) for one in artifacts]
        )
        return self._post(f"runs/{part(identifier)}/steps/{part(step)}/complete", body)

    def add_step(
        self, identifier: str, *, session: str, attempt: int, call: int, fingerprint: str, step: Mapping[str, Any]
    ) -> Json:
        """The host of a dynamic run adds a step; the same call again answers it as it stands.

        Raises Refused with code `diverged` when that call was another one.
        """
        body = {"session": session, "attempt": attempt, "call": call, "fingerprint": fingerprint, "step": dict(step)}
        return self._post(f"runs/{part(identifier)}/steps", body)

    def hooks(self, identifier: str, *, wait: float = 0) -> Json:
        """What the host is asked: {"items", "status", "version"}, once there is something or the run has ended."""
        return self._waiting(f"runs/{part(identifier)}/hooks", {"wait": wait}, wait)

    def answer(self, identifier: str, hook: str, *, session: str, attempt: int, **fields: Any) -> Json:
        """`fields`: verdict, parameters, queue, task_id, error. Raises Refused when the hook is not open any more."""
        body = {"session": session, "attempt": attempt, **given(**fields)}
        return self._post(f"runs/{part(identifier)}/hooks/{part(hook)}", body)

    def steps(self, identifier: str, at: str | int | None = None) -> Listing:
        return self._list(f"runs/{part(identifier)}/steps", at=at)

    def history(self, identifier: str, after: int | None = None, limit: int | None = None) -> Listing:
        """The events of the run and its tasks, oldest first."""
        return self._list(f"runs/{part(identifier)}/history", limit, after=after)

    def replay(
        self, identifier: str, *, start: int | None = None, end: int | None = None, speed: float | None = None
    ) -> Iterator[Json]:
        """The run's states one after another, event by event, rebuilt by the server from the log."""
        params = {"from": start, "to": end, "speed": speed}
        path, headers = f"runs/{part(identifier)}/replay", {"Accept": "application/x-ndjson"}
        with self._client.stream(path, params=params, headers=headers) as response:
            for line in response.iter_lines():
                if line.strip():
                    yield json.loads(line)

    def start(self, identifier: str, queue: str | None = None) -> Json:
        """A draft starts; its host, if it has one, waits in `queue` rather than where it is defined."""
        return self._post(f"runs/{part(identifier)}/start", given(queue=queue))

    def stop(self, identifier: str, reason: str = "", *, outcome: str | None = None) -> Json:
        """Stop it; it ends as `outcome`: stopped, or failed."""
        return self._post(f"runs/{part(identifier)}/stop", given(reason=reason, outcome=outcome))

    def verify(self, identifier: str) -> Json:
        """Fold and decide the whole run again and compare: {"ok", "differences", ...}."""
        return self._post(f"runs/{part(identifier)}/verify", timeout=600.0)

    def definition(self, identifier: str) -> Json:
        """The definition as it was pinned when the run was submitted."""
        return self._get(f"runs/{part(identifier)}/definition")

    def _waiting(self, path: str, params: Mapping[str, Any], wait: float | None) -> Json:
        """A GET whose answer the server may hold back for `wait` seconds."""
        timeout = None if wait is None else wait + ANSWER
        return self._client.request("GET", path, params=params, timeout=timeout).json()

    def wait(
        self,
        identifier: str,
        timeout: float | None = None,
        *,
        each: Callable[[Json], None] | None = None,
        read: Callable[[str], Json] | None = None,
    ) -> Json:
        """The run once it has ended; `each` is called with it at every look, at least every second.

        `read` is another way to look at it. Raises TimedOut when that takes longer than `timeout` seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        run, pause = (read or self.get)(identifier), 0.05
        while True:
            if each is not None:
                each(run)
            if run["status"] in ENDED:
                return run
            left = None if give_up is None else give_up - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOut(f"run {identifier} is still {run['status']} after {timeout:g} s")
            hold, version = min(LOOK if each is None else 1.0, left or LOOK), run.get("version")
            asked = time.monotonic()
            if read is None and version is not None:
                run = self.get(identifier, after=version, wait=hold)
            else:
                run = (read or self.get)(identifier)
            if run.get("version") == version and time.monotonic() - asked < hold:
                # Whoever answered does not wait for us.
                time.sleep(min(pause, hold))
                pause = min(pause * 1.5, 1.0)
