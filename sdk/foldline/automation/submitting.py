"""From a pipeline that is built to a run: submitted, followed, and hosted where it has Python of its own to run."""

import contextlib
import re
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from foldline import compat, process, scripts
from foldline.automation.building import BuiltPipeline
from foldline.automation.callbacks import CREATED, EVERY, POST, Callback, Serving
from foldline.automation.following import run_to_host, take_hosted
from foldline.automation.functions import upload_objects
from foldline.automation.hosting import Hosting
from foldline.automation.local_agent import LocalAgent
from foldline.automation.nodes import Node
from foldline.calls.runs import ENDED as RUN_ENDED
from foldline.client import shared
from foldline.definition import end_definition
from foldline.errors import DefinitionError, FoldlineError
from foldline.listing import Json
from foldline.recipe import container, requirements
from foldline.task import Task

SERVICES = "services"


class SubmittedPipeline(BuiltPipeline):
    """PipelineController's methods that start a run."""

    def start(
        self,
        queue: str | None = SERVICES,
        step_task_created_callback: Callback | None = None,
        step_task_completed_callback: Callback | None = None,
        wait: bool = True,
    ) -> bool:
        """Submit the run, print its id and address, and end this process with 0; `queue=None` leaves a draft.

        A pipeline with callbacks needs a process for them, its host: the agent of `queue` runs this script again, and
        there `start` answers the run's questions until it has ended; what follows it in the script runs there. Without
        `wait` it returns at once there, and the questions are answered beside the script.

        In any other task that an agent runs, this process is the host: the run is waited for, and FoldlineError raised
        unless it completes. A draft, such as `clone` gives, is started and the process goes on; `wait()` waits for it.
        """
        end_definition()
        self._register(step_task_created_callback, step_task_completed_callback)
        if self._run is not None:
            return self._start_draft(None if queue == SERVICES else queue)
        if (run_id := run_to_host()) is not None:
            self._serve(self._attach(run_id), wait)
            return True
        if queue is None:
            return self.create_draft()
        if process.given_by_agent():
            self._start_in_task(wait)
            return True
        self._submit(host=self._host(queue))
        _leave()

    def start_locally(self, run_pipeline_steps_locally: bool = False) -> None:
        """Submit the run and return when it has ended; ask `is_successful()` how.

        Callbacks are called in this process. With `run_pipeline_steps_locally` an agent of this machine, started for
        the run, takes all its steps. In both cases Ctrl-C stops the run; otherwise it goes on without this process.
        """
        end_definition()
        if self._run is None and (run_id := run_to_host()) is not None:
            self._serve(self._attach(run_id), wait=True)
            return
        if not run_pipeline_steps_locally:
            self._run_here()
            return
        queue = f"local-{self._definition['name']}-{datetime.now(UTC):%Y%m%d%H%M%S%f}"
        queue = re.sub(r"[^\w.-]+", "-", queue)
        client = shared()
        client.queues.create(queue)
        self._check_queues(queue)
        with LocalAgent(queue, client.url) as agent:
            self._run_here(queue, agent.check)

    def create_draft(self) -> bool:
        """Submit the run without starting it: `start()`, or `foldline run start ID`, does."""
        end_definition()
        self._submit(draft=True, host=self._host(SERVICES))
        return True

    def node_now(self, name: str, status: str | None = None) -> Node:
        """The step as it stands; `status`: what a callback is told that its task has come to."""
        node = self._nodes.setdefault(name, Node(name=name))
        node.update(shared().runs.step(self._known_run()["id"], name), status=status)
        return node

    def _register(self, created: Callback | None, completed: Callback | None) -> None:
        self._callbacks.add(EVERY, CREATED, created)
        self._callbacks.add(EVERY, POST, completed)

    def _run_here(self, queue: str | None = None, each: Callable[[], None] | None = None) -> None:
        """Submit and wait; as the run's host when it has callbacks."""
        if self._run is not None:
            self._start_draft()
        hosting = (
            self._submit(queue=queue, host=self._host_of_clones(), hosted_here=True) if self._run is None else None
        )
        try:
            if hosting is not None:
                self._serve(hosting, wait=True, each=each)
            else:
                self._run = self._await_end(each=each)
        except BaseException:
            # Nobody else answers the run, or listens to its queue: without this process it would wait for ever.
            if hosting is not None or queue is not None:
                with contextlib.suppress(FoldlineError):
                    self.stop(timeout=0.25)
            raise

    def _start_in_task(self, wait: bool) -> None:
        """In a task of an agent: this process is there anyway, so it hosts the run."""
        hosting = self._submit(hosted_here=True)
        if hosting is not None:
            self._serve(hosting, wait)
        elif wait:
            self._run = self._await_end()
        run = self._known_run()
        if wait and run["status"] != "completed":
            raise FoldlineError(f"run {run['name']!r} ({run['id']}) is {run['status']}: {run['reason']}")

    def _serve(self, hosting: Hosting, wait: bool, each: Callable[[], None] | None = None) -> None:
        """Answer the run's questions until it has ended: here, or without `wait` in a thread beside the script."""
        serving = Serving(cast(Any, self), hosting, self._callbacks)

        def until_the_end() -> None:
            serving.serve(each)
            self._run = hosting.client.runs.get(hosting.run_id)
            hosting.ended()

        if wait:
            until_the_end()
            return
        # No daemon: the process lives until the run has ended, though its script has come to its end.
        self._server = threading.Thread(target=until_the_end, name="foldline-callbacks")
        self._server.start()

    def _attach(self, run_id: str) -> Hosting:
        """Become the run that this process was started to host. Raises DefinitionError when it builds another."""
        take_hosted(run_id)
        hosting = Hosting.given()
        self._run = hosting.client.runs.get(run_id)
        definition = hosting.client.runs.definition(run_id)
        if self._always_create_from_code:
            _check_same(self.definition(), definition, str(self._run["name"]))
        else:
            self._take_definition(definition)
        print(f"This is the host of run {self._run['name']!r} ({run_id}).", flush=True)
        return hosting

    def _take_definition(self, definition: Mapping[str, Any]) -> None:
        """The run's own steps, in the place of those that the script has built."""
        self._steps = {str(step["name"]): dict(step) for step in definition["steps"]}
        self._nodes = {name: self._nodes.get(name) or Node(name=name) for name in self._steps}

    def _host(self, queue: str) -> Json | None:
        """The process that runs the callbacks: this script, once more. None when there is nothing for it to do."""
        if not self._callbacks:
            # A run without callbacks needs no process of its own.
            compat.ignored("PipelineController.start", queue=queue)
            compat.ignored("PipelineController", **self._host_recipe)
            return None
        return self._host_definition(queue)

    def _host_definition(self, queue: str) -> Json:
        """This script as a run's host. Raises DefinitionError in an interactive session."""
        recipe = self._host_recipe
        script, sources = scripts.script_of_main()
        if sources is None:
            raise DefinitionError(
                "an interactive session has no script that an agent could run as the pipeline's host: start it locally"
            )
        if recipe["repo"]:
            script |= scripts.repository(recipe["repo"], recipe["repo_branch"], recipe["repo_commit"])
        if recipe["working_dir"]:
            script["working_dir"] = recipe["working_dir"]
        if needed := requirements(recipe["packages"]):
            script["requirements"] = needed
        scripts.upload(shared(), sources)
        task: Json = {"type": "controller", "script": script}
        if any(recipe[name] for name in ("docker", "docker_args", "docker_bash_setup_script")):
            task["container"] = container(recipe["docker"], recipe["docker_args"], recipe["docker_bash_setup_script"])
        return {"queue": queue, "task": task}

    def _host_of_clones(self) -> Json | None:
        """Where a clone of a run that this process hosts finds a host; None when this script is not one's to run again.

        A process that an agent started may be a function's, which has no script of its own.
        """
        if process.given_by_agent() or scripts.main_file() is None:
            return None
        return self._host(SERVICES)

    def _check_queues(self, queue: str | None) -> None:
        without = [
            name
            for name, step in self._steps.items()
            if not step.get("queue") and ("approval" not in step or "task" in step)
        ]
        if without and not (self._default_queue or queue):
            raise DefinitionError(
                f"no queue for {', '.join(map(repr, without))}: give execution_queue, or set_default_execution_queue()"
            )

    def _submit(
        self,
        *,
        draft: bool = False,
        queue: str | None = None,
        host: Json | None = None,
        hosted_here: bool = False,
    ) -> Hosting | None:
        """Make the run; with `hosted_here` and callbacks this process becomes its host, which comes back."""
        if self._run is not None:
            raise FoldlineError(f"this pipeline was submitted already, as run {self._run['id']}: make a new controller")
        if not self._steps:
            raise DefinitionError(f"pipeline {self._definition['name']!r} has no steps: add one first")
        self._check_queues(queue)
        client = shared()
        for sources in self._sources:
            scripts.upload(client, sources)
        name, project = str(self._definition["name"]), str(self._definition["project"])
        for step, overrides in upload_objects(client, name, project, self._objects, self._codec).items():
            self._steps[step].setdefault("parameter_override", {}).update(overrides)
        definition = self.definition()
        definition["default_queue"] = self._default_queue or queue
        if host is not None:
            definition["host"] = host
        hosting: Hosting | None = None
        if hosted_here and self._callbacks:
            self._run, hosting = Hosting.submit(definition, queue=queue)
            self.say_destination(str(self._run["id"]))
        else:
            place = self.destination
            self._run = client.runs.submit(definition, draft=draft or bool(place), queue=queue)
            # Said before it starts: its host, and its steps, may put out what is the run's own.
            self.say_destination(str(self._run["id"]))
            if place and not draft:
                self._run = client.runs.start(str(self._run["id"]))
        self._say_submitted(draft, queue)
        self._to_be.tell(Task(str(self._run["id"])))
        return hosting

    def _say_submitted(self, draft: bool, queue: str | None) -> None:
        run = self._known_run()
        for warning in run["warnings"]:
            # The agent of a private queue is still starting.
            if queue is None or repr(queue) not in warning:
                print(f"Note: {warning}", file=sys.stderr)
        print(f"Run {run['name']!r} ({run['id']}) {'is a draft' if draft else 'was submitted'}.")
        print(f"{shared().url}/api/v1/runs/{run['id']}", flush=True)

    def _start_draft(self, queue: str | None = None) -> bool:
        """A run that is a draft starts. Raises FoldlineError for one that was started already.

        `queue` is where its host is wanted, if it has one.
        """
        run = self._look()
        if run["status"] != "created":
            ended = "clone it, or make a new controller" if run["status"] in RUN_ENDED else "make a new controller"
            raise FoldlineError(f"this pipeline was submitted already, as run {run['id']}: {ended}")
        self._run = shared().runs.start(str(run["id"]), queue)
        return True


def _check_same(built: Mapping[str, Any], pinned: Mapping[str, Any], run: str) -> None:
    """Raises DefinitionError, naming the first difference, when the script builds other steps than the run has."""
    cure = "what is built has to be the same each time the script runs, or start it anew"
    theirs = {str(step["name"]): step for step in pinned["steps"]}
    for ours, wanted in zip(built["steps"], pinned["steps"], strict=False):
        if ours["name"] != wanted["name"]:
            raise DefinitionError(
                f"the script builds step {ours['name']!r} where run {run!r} has {wanted['name']!r}: {cure}"
            )
    if len(built["steps"]) != len(theirs):
        raise DefinitionError(f"the script builds {len(built['steps'])} steps, run {run!r} has {len(theirs)}: {cure}")
    for ours in built["steps"]:
        for part in ("parents", "hooks"):
            mine, its = sorted(ours.get(part) or ()), sorted(theirs[ours["name"]].get(part) or ())
            if mine != its:
                raise DefinitionError(
                    f"step {ours['name']!r} has the {part} {mine} in the script, {its} in run {run!r}: {cure}"
                )


def _leave() -> NoReturn:
    sys.exit(0)
