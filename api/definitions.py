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
            "parameter_override": {
                "General/test_size": "${pipeline.test_size}",
                "General/url": "${stage_data.artifacts.data.url}",
            },
        },
    ],
}

Overrides = JsonObject


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


class Step(Body):
    """Its template is given by `base_task_id`, by `base_task_project` and `base_task_name`, or inline as `task`."""

    name: PrintableName
    base_task_id: Id | None = None
    base_task_project: Name | None = None
    base_task_name: Name | None = Field(
        None, description="The task of this name that was changed last; tasks that failed do not count."
    )
    task: InlineTask | None = None
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


class PipelineParameter(Body):
    name: Name
    default: Json = None
    type: Word | None = None
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
    steps: list[Step]

    def definition(self) -> pipeline.Definition:
        """The domain's definition, which is not checked yet."""
        return msgspec.convert(self.model_dump(exclude_unset=True), pipeline.Definition)
