"""What may stand in the body of a command about a run."""

from collections.abc import Callable
from typing import Literal

from pydantic import ConfigDict, Field

from api.bodies import (
    LARGEST_INTEGER,
    LEASE,
    AddArtifact,
    Body,
    Id,
    JsonObject,
    Long,
    Name,
    Reason,
    Tags,
    Text,
    Word,
    example,
)
from api.definitions import IRIS, PipelineDefinition, Step
from controller.handle import HeldHost
from domain import run as runs
from domain import task as tasks
from domain.content import Edit
from domain.refused import Invalid
from domain.run_events import RunEdited

SESSION = "5e" * 16


class Host(Body):
    """The caller's own process is the host of the run: it is attempt 1, and beats with /tasks/{id}/heartbeat."""

    session: Id = Field(description="New for each process; the same one when the request is repeated.")
    host: Word = ""
    lease: float = Field(default=LEASE, ge=1, le=3_600, description="Seconds that the process may be silent.")

    def held(self) -> HeldHost:
        return HeldHost(session=self.session, host=self.host, lease=self.lease)


class SubmitRun(Body):
    """One of `definition` and `pipeline_id`, the id of a registered pipeline."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"definition": IRIS, "parameters": {"test_size": 0.3}, "tags": ["nightly"]},
                {"pipeline_id": "0123456789abcdef0123456789abcdef", "parameters": {"test_size": 0.3}},
            ]
        }
    )

    definition: PipelineDefinition | None = None
    pipeline_id: Id | None = None
    parameters: JsonObject = {}
    name: Name | None = Field(None, description="The pipeline's name and the run's number when it is left out.")
    draft: bool = Field(False, description="Created, and not started.")
    queue: Name | None = Field(None, description="Replaces every step's queue.")
    tags: Tags = []
    origin: Id | None = Field(None, description="The task from inside whose process it is submitted.")
    cache: Literal["use", "refresh", "off"] = Field(
        "use", description="For steps that reuse results; refresh: they run, and what they make is kept for others."
    )
    host: Host | None = None


class CloneRun(Body):
    """What is left out is as in the run that is cloned."""

    model_config = example({"name": "iris, larger test", "parameters": {"test_size": 0.4}})

    name: Name | None = None
    parameters: JsonObject = Field({}, description="Those that differ.")
    project: Name | None = None
    comment: Long | None = None
    origin: Id | None = Field(None, description="The task from inside whose process it is cloned.")


class EditRun(Body):
    """What is left out or null stays as it is."""

    model_config = example({"tags": ["nightly", "good"], "comment": "the one to keep"})

    name: Name | None = None
    tags: Tags | None = None
    comment: Long | None = None
    runtime: JsonObject | None = Field(None, description="Merged; null deletes.")

    def edited(self) -> RunEdited:
        edit = Edit(tags=self.tags, comment=self.comment)
        return RunEdited(edit=None if edit == Edit() else edit, name=self.name, runtime=self.runtime)


class StopRun(Reason):
    outcome: Literal["stopped", "failed"] = Field(default="stopped", description="What the run ends as.")


class StartRun(Body):
    queue: Name | None = Field(
        default=None, description="Where its host waits for an agent, in the place of the queue that is defined."
    )


class CompleteStep(Reason):
    model_config = example({"reason": "made by hand", "outputs": {"accuracy": 0.97}})

    outputs: JsonObject = Field({}, description="The values that it would have returned, by name.")
    artifacts: list[AddArtifact] = []

    def command(self, step: str, actor: str, size_of: Callable[[str | None], int | None]) -> runs.CompleteStep:
        """`size_of` gives the size of a blob, None for no blob. Raises Invalid."""
        added: list[tasks.ArtifactAdded] = []
        for number, one in enumerate(self.artifacts):
            try:
                added.append(one.added(size_of(one.blob)))
            except Invalid as wrong:
                raise Invalid(str(wrong), f"artifacts/{number}/{wrong.where or 'sha256'}") from None
        return runs.CompleteStep(step=step, actor=actor, reason=self.reason, outputs=self.outputs, artifacts=added)


class _OfHost(Body):
    session: Id
    attempt: int = Field(ge=1, le=LARGEST_INTEGER)


class AddStep(_OfHost):
    """A call of a component by the code of a dynamic pipeline: the same calls in the same order, whenever it runs."""

    model_config = example(
        {
            "session": SESSION,
            "attempt": 1,
            "call": 0,
            "fingerprint": "train(0.1)",
            "step": {"name": "train", "task": {"script": {"entry_point": "train.py"}}},
        }
    )

    call: int = Field(ge=0, le=2**31 - 1, description="0, 1, 2 ... in the order of the calls.")
    fingerprint: Text = Field("", max_length=10_000, description="Says which component it was, with what.")
    step: Step

    def command(self) -> runs.AddStep:
        return runs.AddStep(
            session=self.session,
            attempt=self.attempt,
            call=self.call,
            step=self.step.step(),
            content="",
            fingerprint=self.fingerprint,
        )


class AnswerHook(_OfHost):
    """What the callback came to."""

    model_config = example({"session": SESSION, "attempt": 1, "verdict": True, "parameters": {"General/lr": 0.2}})

    verdict: bool | None = Field(None, description="False: skip the step (pre, created), let it fail (retry).")
    parameters: JsonObject | None = Field(None, description="Of pre: what it changed the step's parameters to.")
    queue: Name | None = Field(None, description="Of pre: where the step shall run.")
    task_id: Id | None = Field(None, description="Of factory: the task that it made.")
    error: Long | None = Field(None, description="The traceback of what it raised.")

    def command(self, hook: str) -> runs.AnswerHook:
        return runs.AnswerHook(
            hook_id=hook,
            session=self.session,
            attempt=self.attempt,
            verdict=self.verdict,
            parameters=self.parameters,
            queue=self.queue,
            task_id=self.task_id,
            error=self.error,
        )
