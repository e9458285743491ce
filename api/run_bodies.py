"""What may stand in the body of a command about a run."""

from typing import Literal

from pydantic import ConfigDict, Field

from api.bodies import Body, Id, JsonObject, Name, Reason, Tags
from api.definitions import IRIS, PipelineDefinition


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


class StopRun(Reason):
    outcome: Literal["stopped", "failed"] = Field(default="stopped", description="What the run ends as.")
