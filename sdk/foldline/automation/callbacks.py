"""The pipeline's own Python, called when the run asks its host: each question answered once, errors included."""

import copy
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from foldline.automation.following import calling
from foldline.automation.nodes import Node, word
from foldline.calls.runs import ENDED
from foldline.errors import FoldlineError, Refused
from foldline.handle import TaskHandle
from foldline.listing import Json

if TYPE_CHECKING:
    from foldline.automation.controller import PipelineController
    from foldline.automation.hosting import Hosting

Callback = Callable[..., Any]

# What may be said of a step; `created` and `post` also of every step.
PRE, FACTORY, CREATED, RETRY, POST, STATUS = "pre", "factory", "created", "retry", "post", "status"
EVERY: Final = ""

# Callbacks that are called at the same time, each of another step.
SIDE_BY_SIDE: Final = 16
# Seconds that one question for questions waits.
WAIT: Final = 20.0
# What a pre_execute_callback may not change: its step has been looked up already.
FIXED: Final = ("base_task_id", "task_overrides", "configurations")

log = logging.getLogger("foldline")


class Registered:
    """The callbacks of a pipeline: those of one step, and those of every step."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[str, str], Callback] = {}

    def __bool__(self) -> bool:
        return bool(self._by_place)

    def add(self, step: str, kind: str, callback: Callback | None) -> None:
        """Raises TypeError for what cannot be called; None is none."""
        if callback is None:
            return
        if not callable(callback):
            raise TypeError(f"a callback is a function, not {callback!r}")
        self._by_place[step, kind] = callback

    def get(self, step: str, kind: str) -> Callback | None:
        return self._by_place.get((step, kind))

    def kinds(self, step: str) -> list[str]:
        """What the host is to be asked about the step (EVERY: about every step)."""
        return [kind for kind in (PRE, FACTORY, CREATED, RETRY, POST, STATUS) if (step, kind) in self._by_place]


class Serving:
    """Answers the run's questions until it has ended: of different steps side by side, of one step in order."""

    def __init__(self, pipeline: "PipelineController", hosting: "Hosting", registered: Registered) -> None:
        self._pipeline = pipeline
        self._hosting = hosting
        self._registered = registered
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._queues: dict[str, deque[Json]] = {}
        self._places = threading.Semaphore(SIDE_BY_SIDE)

    def serve(self, each: Callable[[], None] | None = None) -> None:
        """Return when the run has ended and nothing is left to answer; `each` is called at every look."""
        # With something to look after, a look a second is enough.
        wait = WAIT if each is None else 1.0
        while True:
            if each is not None:
                each()
            busy = bool(self._queues)
            found = self._hosting.hooks(0 if busy else wait)
            self._take(found["items"])
            if found["status"] in ENDED and not self._queues:
                return
            if busy or self._queues:
                # What is being answered stays open meanwhile: wait for the run to move, not for a question.
                self._hosting.wait_past(found["version"], 1.0 if found["status"] in ENDED else wait)

    def _take(self, items: list[Json]) -> None:
        with self._lock:
            for item in items:
                if item["id"] in self._known:
                    continue
                self._known.add(item["id"])
                if item["step"] in self._queues:
                    self._queues[item["step"]].append(item)
                    continue
                self._queues[item["step"]] = deque([item])
                name = f"foldline-callbacks-{item['step']}"
                # No callback that never comes back keeps the process alive: the server gives it up by its deadline.
                threading.Thread(target=self._answer_all, args=(item["step"],), name=name, daemon=True).start()

    def _answer_all(self, step: str) -> None:
        with self._places:
            while True:
                with self._lock:
                    if not self._queues[step]:
                        del self._queues[step]
                        return
                    item = self._queues[step].popleft()
                self._answer(item)

    def _answer(self, item: Json) -> None:
        try:
            with calling():
                said = self._asked(item)
        except BaseException as error:  # sys.exit() in a callback is no way to end the others' host either
            said = {"error": _shown(error)}
            print(
                f"{item['kind']} callback of step {item['step']!r} failed:\n{said['error']}",
                file=sys.stderr,
                flush=True,
            )
        try:
            self._hosting.answer(item["id"], **said)
        except Refused as no:
            log.debug("nobody waits for the answer about step %r any more: %s", item["step"], no)
        except FoldlineError as why:
            log.warning("the answer about step %r could not be sent: %s", item["step"], why)
            with self._lock:
                self._known.discard(item["id"])  # it is asked again

    def _asked(self, item: Json) -> Mapping[str, Any]:
        """Call what was registered; what is to be answered."""
        step, kind = item["step"], item["kind"]
        node = self._pipeline.node_now(step, item["status"] if kind in (POST, RETRY, STATUS) else None)
        match kind:
            case "pre":
                return _pre(self._pipeline, node, item, self._one(step, kind))
            case "created":
                verdict = self._one(EVERY, kind)(self._pipeline, node, _parameters(node, item))
                return {"verdict": verdict is not False and not node.skip_job}
            case "factory":
                return {"task_id": _made(step, self._one(step, kind)(node))}
            case "retry":
                return {"verdict": bool(self._one(step, kind)(self._pipeline, node, item["retries"]))}
            case "post":
                of_all = self._registered.get(EVERY, POST)
                if of_all is not None:
                    of_all(self._pipeline, node)
                if of_all is None or self._registered.get(step, POST) is not None:
                    self._one(step, kind)(self._pipeline, node)
                return {}
            case "status":
                self._one(step, kind)(self._pipeline, node, word(item["previous"]))
                return {}
            case _:
                raise FoldlineError(f"this version has no callback of the kind {kind!r}: update foldline")

    def _one(self, step: str, kind: str) -> Callback:
        callback = self._registered.get(step, kind)
        if callback is None:
            raise FoldlineError(f"this script registers no {kind} callback for step {step!r}, but its run asks for one")
        return callback


def _pre(pipeline: "PipelineController", node: Node, item: Json, callback: Callback) -> Mapping[str, Any]:
    given = _parameters(node, item)
    parameters, queue = copy.deepcopy(given), node.queue
    before = copy.deepcopy(node.parameters)
    fixed = {name: copy.deepcopy(getattr(node, name)) for name in FIXED}
    verdict = callback(pipeline, node, parameters)
    for name, value in fixed.items():
        if getattr(node, name) != value:
            raise FoldlineError(
                f"pre_execute_callback of step {node.name!r} has changed node.{name}, which is settled by then: "
                "node.parameters, node.queue and node.skip_job can be changed"
            )
    for name, value in node.parameters.items():
        if name not in before or before[name] != value:
            parameters[name] = value
    for name in before.keys() - node.parameters.keys():
        parameters.pop(name, None)
    said: dict[str, Any] = {"verdict": verdict is not False and not node.skip_job}
    if parameters != given:
        said["parameters"] = parameters
    if node.queue != queue:
        said["queue"] = node.queue
    return said


def _parameters(node: Node, item: Json) -> dict[str, Any]:
    """All that the step is told, references resolved: what the run has resolved, and what needed no resolving."""
    resolved = cast(dict[str, Any], item["parameters"] or {})
    return {name: resolved.get(name, value) for name, value in node.parameters.items()} | resolved


def _made(step: str, task: Any) -> str:
    if isinstance(task, TaskHandle):
        return task.id
    if isinstance(task, str) and task:
        return task
    raise FoldlineError(f"base_task_factory of step {step!r} returned {task!r}: it has to return a Task")


def _shown(error: BaseException) -> str:
    """The traceback from the callback on: what called it is not the reader's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).strip()
