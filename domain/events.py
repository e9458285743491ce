"""Every event there is, by the name it is stored under. The name and the fields are a file format."""

from collections.abc import Callable, Mapping
from typing import Any

from domain import agent, pipeline, queue, run, task

Event = task.TaskEvent | run.RunEvent | pipeline.PipelineEvent | queue.QueueEvent | agent.AgentEvent

TYPES: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        task.TaskCreated,
        task.TaskEdited,
        task.TaskEnqueued,
        task.TaskDequeued,
        task.TaskStarted,
        task.TaskStopRequested,
        task.TaskRequeued,
        task.TaskStopped,
        task.TaskFailed,
        task.TaskCompleted,
        task.TaskReset,
        task.TaskPublished,
        task.ArtifactAdded,
        task.ModelAdded,
        run.RunCreated,
        run.RunStarted,
        run.RunStopRequested,
        run.RunCompleted,
        run.RunFailed,
        run.RunStopped,
        run.StepSkipped,
        run.StepFailed,
        pipeline.PipelineRegistered,
        pipeline.PipelineSubmitted,
        queue.QueueCreated,
        agent.AgentRegistered,
        agent.AgentLeft,
        agent.AgentLost,
    )
}

# (type, schema version it was written in): what turns its data into the next version's. Pure; none so far.
UPCASTS: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
