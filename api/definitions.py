"""A pipeline's definition as it is written by people and programs, and the domain's definition made of it."""

from typing import Annotated, Any, Literal

import msgspec
from pydantic import ConfigDict, Field

from api.bodies import (
    Body,
    Configurations,
    Container,
    Hyperparameters,
    Id,
    Json,
    JsonObject,
    Long,
    Name,
    PrintableName,
    Script,
    Tags,
    TaskType,
    Text,
    Word,
)
from domain import pipeline

IRIS: dict[str, Any] = {
    "name": "iris",
    "project": "examples",
    "default_queue": "default",
    "parameters": [{"name": "test_size", "default": 0.2, "type": "float"}],
    "steps": [
        {"name": "stage_data", "base_task_project": "examples", "base_task_name": "stage data"},
        {
            "name": "train",
            "task": {"type": "training", "script": {"entry_point": "train.py"}},
            "parents": ["stage_data"],
            "cache": True,
            "retry": {"times": 2, "delay": 10, "factor": 2},
            "parameter_override": {
                "General/test_size": "${pipeline.test_size}",
                "General/url": "${stage_data.artifacts.data.url}",
            },
        },
    ],
}

Overrides = JsonObject
Seconds = Annotated[float, Field(gt=0, le=10**9, allow_inf_nan=False)]
Hook = Literal["pre", "factory", "created", "retry", "post", "status"]


class InlineTask(Body):
    """A template written into its step, where no task stands for it."""

    type: TaskType = "training"
    comment: Long = ""
    hyperparameters: Hyperparameters = {}
    configuration: Configurations = {}
    script: Script = Script()
    container: Container = Container()
    output_destination: Text = ""
    tags: Tags = []


class ContinueBehaviour(Body):
    """What is left out is true."""

    continue_on_fail: bool = Field(True, description="The run may end well although the step failed.")
    continue_on_abort: bool = Field(True, description="The run may end well although the step was stopped.")
    skip_children_on_fail: bool = True
    skip_children_on_abort: bool = True


class Retry(Body):
    """A failed step runs again. Times are in seconds."""

    times: int = Field(1, ge=0, le=1_000, description="How often at most.")
    delay: float = Field(0.0, ge=0, le=10**9, allow_inf_nan=False, description="Before the first time.")
    factor: float = Field(1.0, ge=1, le=1_000, allow_inf_nan=False, description="Each wait is so much longer.")
    jitter: float = Field(0.0, ge=0, le=1, description="Up to this part of the wait is added by chance.")
    max_delay: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)] | None = None


class Approval(Body):
    """A person has to say yes."""

    message: Long = ""
    deadline: Seconds | None = Field(None, description="Seconds until it fails, when nobody says anything.")


class Host(Body):
    """The process that runs the pipeline's own Python."""

    queue: Name = "services"
    task: InlineTask | None = Field(None, description="What it runs; nothing when the submitter's process is the host.")


class Step(Body):
    """Its template is a task: given by `base_task_id`, by `base_task_project` and `base_task_name`, or as `task`.

    Or it is a pipeline: given by `pipeline_id`, or by `pipeline_project` and `pipeline_name`.
    """

    name: PrintableName
    base_task_id: Id | None = Field(None, description="Of a task; or of a pipeline or run, as pipeline_id.")
    base_task_project: Name | None = None
    base_task_name: Name | None = Field(
        None,
        description="The task of this name that was changed last; tasks that failed do not count. "
        "Where there is none: the pipeline of this name.",
    )
    task: InlineTask | None = None
    pipeline_id: Id | None = Field(
        None, description="The step is a run of this pipeline; with a run's id, of the same definition as that run."
    )
    pipeline_project: Name | None = None
    pipeline_name: Name | None = None
    clone: bool = Field(True, description="False: the template itself runs, as long as it is a draft.")
    parents: list[Name] = Field([], description="Steps to wait for, besides those that its references name.")
    parameter_override: Overrides = Field({}, description='{"Section/name": value}; values may hold references.')
    recursively_parse_parameters: bool = Field(False, description="Look for references inside lists and mappings too.")
    configuration_overrides: Overrides = {}
    task_overrides: Overrides = Field({}, description='{"script.branch": value}')
    queue: Name | None = Field(None, description="The pipeline's default_queue when it is left out.")
    task_name: Name | None = None
    project: Name | None = None
    stage: Word | None = None
    continue_behaviour: ContinueBehaviour | None = None
    on_lost: Literal["requeue", "fail"] = Field("requeue", description="What happens when its agent is lost.")
    max_attempts: int = Field(3, ge=1, le=1_000)
    retry: Retry | None = None
    time_limit: Seconds | None = Field(None, description="Seconds since an attempt was started; then it has failed.")
    cache: bool = Field(False, description="Reuse the results of an equal step.")
    draft: bool = Field(False, description="Its task is made, and waits for somebody to enqueue it.")
    approval: Approval | None = None
    hooks: list[Hook] = Field([], description="What the pipeline's host is asked about it.")
    monitor_metrics: list[list[Word]] = Field(
        [], description="[title, series, title on the run, series on the run] of each."
    )
    monitor_artifacts: list[list[Word]] = Field([], description="[name, name on the run] of each.")
    monitor_models: list[list[Word]] = Field([], description="[name, name on the run] of each.")

    def step(self) -> pipeline.StepDefinition:
        """The domain's step, which is not checked yet."""
        return msgspec.convert(self.model_dump(exclude_unset=True), pipeline.StepDefinition)


class PipelineParameter(Body):
    name: Name
    default: Json = None
    type: Word | None = Field(
        None, description="int, float, bool, str, list or dict: it takes values of this type only, or null."
    )
    description: Long | None = None


class PipelineDefinition(Body):
    model_config = ConfigDict(json_schema_extra={"examples": [IRIS]})

    name: Name
    project: Name
    version: Annotated[Text, Field(min_length=1, max_length=100)] | None = Field(
        None, description="When it is left out: the last one plus one, if something has changed."
    )
    default_queue: Name | None = None
    abort_on_failure: bool = Field(False, description="The first failure stops what still runs.")
    add_run_number: bool = Field(True, description="Runs are called 'name #3'.")
    target_project: bool | Name | None = Field(
        True,
        description="Where the steps' tasks go: true for the pipeline's project, false or null for their templates', "
        "or the name of one.",
    )
    tags: Tags = []
    parameters: list[PipelineParameter] = []
    steps: list[Step] = []
    retry: Retry | None = Field(None, description="Of every step that has none of its own.")
    time_limit: Seconds | None = Field(None, description="Seconds since the run was started.")
    hooks: list[Literal["created", "post"]] = Field([], description="What the host is asked about every step.")
    hook_timeout: Seconds = Field(600.0, description="Seconds that one call of the host may take.")
    add_pipeline_tags: bool = Field(False, description="Each step's task is tagged with its run.")
    host: Host | None = None
    dynamic: bool = Field(False, description="The host adds the steps while it runs.")

    def definition(self) -> pipeline.Definition:
        """The domain's definition, which is not checked yet."""
        return msgspec.convert(self.model_dump(exclude_unset=True), pipeline.Definition)
