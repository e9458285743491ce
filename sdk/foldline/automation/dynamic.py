"""A dynamic run, seen from its host: calls become steps, and their results are waited for when they are looked at."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from foldline.artifacts import Artifact
from foldline.automation.component import DECORATED, Arguments, Component, Sorter
from foldline.automation.digests import digest
from foldline.automation.hosting import Hosting
from foldline.automation.journal import Journal
from foldline.automation.lazy import Lazy, Promise
from foldline.calls.runs import ENDED as RUN_ENDED
from foldline.errors import DefinitionError, FoldlineError
from foldline.listing import Json
from foldline.serialization import Codec

ENDED: Final = frozenset({"completed", "cached", "failed", "stopped", "skipped"})
WELL: Final = frozenset({"completed", "cached"})
OPEN: Final = ("pending", "waiting", "queued", "running")

# Seconds between two looks at what else could have gone wrong while nothing happens in the run.
PAUSE: Final = 20.0
WATCHED_PAUSE: Final = 2.0
# Seconds between two looks at a run in which something happens: the first, and the longest.
SHORTEST, LONGEST = 0.005, 0.1

# The step's definition, of its name, its arguments and its parents.
Make = Callable[[str, Arguments, Sequence[str]], Json]


class StepFailed(FoldlineError, ValueError):
    """The value of a step was asked for that failed or was stopped."""


class DynamicRun:
    """The steps that this process adds to its run, and what came of them. Its methods may be called in any thread.

    `check`, given when this process has an agent for all steps, is called while something is waited for, and raises
    when that can never come.
    """

    def __init__(
        self,
        hosting: Hosting,
        *,
        codec: Codec = Codec(),
        check: Callable[[], None] | None = None,
    ) -> None:
        self.hosting = hosting
        self._client = hosting.client
        self._check = check
        self._codec = codec
        self._journal = Journal(hosting)
        self._names = set(self._journal.names)
        self._numbers: dict[str, int] = {}  # by component: the last number that made a name new
        self._component_of: dict[str, Component] = {}  # by step, in the order of the calls
        self._parents: dict[str, Sequence[str]] = {}
        self._good: dict[str, Json] = {}  # the tasks of steps that have ended well
        self._looked_at: dict[int, list[str]] = {}  # by thread: the last steps on each path of those it has looked at
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def call(self, component: Component, args: Sequence[Any], kwargs: Mapping[str, Any], make: Make) -> Any:
        """Add the step and return at once: a stand-in, or a tuple of one for each return value."""
        values = component.bound(args, kwargs)

        def define(recorded: str | None) -> Json:
            name = recorded or self._unused(component.name)
            arguments = Sorter(self._client, self._codec, self.hosting.run_id, name).sort(values)
            looked_at = [one for one in self._path() if one not in arguments.producers]
            if looked_at:
                before = self._before(arguments.producers)
                looked_at = [one for one in looked_at if one not in before]
            parents = [*arguments.producers, *looked_at, *self._explicit(component)]
            return make(name, arguments, list(dict.fromkeys(parents)))

        step = self._journal.call(component.name, digest(values), define)
        name = str(step["name"])
        with self._lock:
            self._names.add(name)
            self._component_of[name] = component
            self._parents[name] = [str(parent) for parent in step["parents"]]
        promised = [self._promised(component, name, value) for value in component.returns or (None,)]
        return promised[0] if len(promised) == 1 else tuple(promised)

    def finish(self) -> None:
        """Wait until all steps and their callbacks are done. Raises Diverged when fewer calls were made than before."""
        self._journal.check_all_made()
        for run in self._looks():
            left = run["open_hooks"] or any(run["step_counts"][status] for status in OPEN)
            if run["status"] in RUN_ENDED or not left:
                return

    def failure(self) -> StepFailed | None:
        """What to raise for the first step that ended badly; None when none has, or it was to be passed over."""
        for step in self._client.runs.steps(self.hosting.run_id):
            component = self._component_of.get(step["name"])
            if step["status"] in ("failed", "stopped") and component and not component.goes_on_after(step["status"]):
                return _failed(step)
        return None

    def _promised(self, component: Component, step: str, value: str | None) -> Lazy:
        return Lazy(Promise(step, value, lambda: self._fetch(component, step, value), lambda: self._look(step)))

    def _fetch(self, component: Component, name: str, value: str | None) -> Any:
        step = self._ended(name)
        status = step["status"]
        if status == "skipped":
            return None
        if status not in WELL and not component.goes_on_after(status):
            raise _failed(step)
        if value is None or not step["task_id"]:
            return None
        task = self._client.tasks.get(step["task_id"])
        if value in task["artifacts"]:
            return self._codec.unpack(Artifact(task["artifacts"][value], self._client))
        returned = task["hyperparameters"].get("return", {}).get(value)
        return None if returned is None else returned["value"]

    def _ended(self, name: str) -> Json:
        """The step, once it has ended."""
        if name in self._good:
            return self._good[name]
        step = self._client.runs.step(self.hosting.run_id, name)
        for run in self._looks() if step["status"] not in ENDED else ():
            # Read after the run: what has changed since then, the next look will see.
            step = self._client.runs.step(self.hosting.run_id, name)
            if step["status"] in ENDED:
                break
            if run["status"] in RUN_ENDED:
                raise FoldlineError(f"run {run['name']!r} ({run['id']}) is {run['status']}: {run['reason']}")
            self._note(name, step.get("waiting_for"))
        # One that has ended badly may be retried by hand.
        if step["status"] in WELL:
            self._good[name] = step
        return step

    def _looks(self) -> Iterator[Json]:
        """The run now, and again whenever something has happened in it, for as long as it is iterated."""
        version, pause = 0, SHORTEST
        while True:
            if self._check is not None:
                self._check()
            run = self.hosting.wait_past(version, PAUSE if self._check is None else WATCHED_PAUSE)
            version = int(run["version"])
            yield run
            # In a wide run something happens all the time.
            time.sleep(pause)
            pause = min(pause * 2, LONGEST)

    def _note(self, name: str, waiting: Mapping[str, str] | None) -> None:
        """Say once that a step which is waited for has nobody to run it, unless our own agent is on its way."""
        if self._check is not None:
            return
        if waiting is not None and waiting["kind"] == "agent" and waiting["text"] not in self._said:
            self._said.add(waiting["text"])
            print(f"Note: step {name!r} waits: {waiting['text']}", file=sys.stderr, flush=True)

    def _look(self, name: str) -> None:
        """What this thread does next may depend on that step: later steps come after it."""
        if name not in self._good:
            return
        with self._lock:
            path = self._looked_at.setdefault(threading.get_ident(), [])
            if name in path:
                return
            # Mostly that is one step after the other, however long it goes on.
            if set(path) <= set(self._parents[name]):
                path[:] = [name]
            elif name not in self._before(path):
                before = self._before([name])
                path[:] = [*(one for one in path if one not in before), name]

    def _path(self) -> list[str]:
        return list(self._looked_at.get(threading.get_ident(), ()))

    def _before(self, names: Iterable[str]) -> set[str]:
        """All steps that have to end before those begin."""
        found, left = set[str](), [parent for name in names for parent in self._parents.get(name, ())]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += self._parents.get(name, ())
        return found

    def _explicit(self, component: Component) -> list[str]:
        """The steps that the component's `parents` speak of: a step, or all those of a component so far."""
        found: list[str] = []
        for parent in component.parents:
            of_component = [name for name, one in list(self._component_of.items()) if parent in (name, one.name)]
            if not of_component and parent not in DECORATED:
                known = ", ".join(map(repr, sorted(DECORATED)))
                raise DefinitionError(f"component {component.name!r}: parent {parent!r} is none of {known}")
            found += of_component
        return found

    def _unused(self, name: str) -> str:
        """`name`, or with the first number that makes it new; taken from now on."""
        with self._lock:
            number = self._numbers.get(name, 0)
            unused = f"{name}_{number}" if number else name
            while unused in self._names:
                number += 1
                unused = f"{name}_{number}"
            self._names.add(unused)
            self._numbers[name] = number
            return unused


def _failed(step: Json) -> StepFailed:
    what = "failed" if step["status"] == "failed" else "was stopped"
    return StepFailed(f"step {step['name']!r} {what}{': ' if step['reason'] else ''}{step['reason']}")
