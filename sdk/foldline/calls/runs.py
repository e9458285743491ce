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
        key: str | None = None,
    ) -> Json:
        """A new run of `definition` or of a registered pipeline. `queue` replaces the queue of every step.

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
        limit: int | None = None,
    ) -> Listing:
        return self._list("runs", limit, status=status, project=project, name=name, tag=tag, pipeline_id=pipeline_id)

    def get(self, identifier: str, at: str | int | None = None) -> Json:
        """The run now, or as of a run version, a time, or `p:<position>`."""
        return self._get(f"runs/{part(identifier)}", given(at=at))

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

    def start(self, identifier: str) -> Json:
        """A draft starts."""
        return self._post(f"runs/{part(identifier)}/start")

    def stop(self, identifier: str, reason: str = "", *, outcome: str | None = None) -> Json:
        """Stop it; it ends as `outcome`: stopped, or failed."""
        return self._post(f"runs/{part(identifier)}/stop", given(reason=reason, outcome=outcome))

    def verify(self, identifier: str) -> Json:
        """Fold and decide the whole run again and compare: {"ok", "differences", ...}."""
        return self._post(f"runs/{part(identifier)}/verify", timeout=600.0)

    def definition(self, identifier: str) -> Json:
        """The definition as it was pinned when the run was submitted."""
        return self._get(f"runs/{part(identifier)}/definition")

    def wait(
        self, identifier: str, timeout: float | None = None, *, each: Callable[[Json], None] | None = None
    ) -> Json:
        """The run once it has ended; `each` is called with it at every look.

        Raises TimedOut when that takes longer than `timeout` seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        pause = 0.05
        while True:
            run = self.get(identifier)
            if each is not None:
                each(run)
            if run["status"] in ENDED:
                return run
            if give_up is not None and time.monotonic() + pause > give_up:
                raise TimedOut(f"run {identifier} is still {run['status']} after {timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
