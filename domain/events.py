"""Every event there is, by the name it is stored under. The name and the fields are a file format."""

from collections.abc import Callable, Mapping
from typing import Any

from domain import agent, pipeline, queue, task
from domain import run_events as run

Event = task.TaskEvent | run.RunEvent | pipeline.PipelineEvent | queue.QueueEvent | agent.AgentEvent

TYPES: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        task.TaskCreated,
        task.TaskAdopted,
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
        task.ArtifactsRemoved,
        task.ModelAdded,
        run.RunCreated,
        run.RunStarted,
        run.RunPaused,
        run.RunResumed,
        run.RunStopRequested,
        run.RunCompleted,
        run.RunFailed,
        run.RunStopped,
        run.RunEdited,
        run.StepAdded,
        run.StepSkipped,
        run.StepFailed,
        run.StepSettled,
        run.StepRetryScheduled,
        run.StepsReopened,
        run.ApprovalRequested,
        run.StepApproved,
        run.StepRejected,
        run.CacheAsked,
        run.CacheAnswered,
        run.AdoptionAsked,
        run.AdoptionRefused,
        run.ChildRunLaunched,
        run.ChildStopRequested,
        run.ChildRunEnded,
        run.DeadlinePassed,
        run.HostEnqueued,
        run.HostStarted,
        run.HostLost,
        run.HostEnded,
        run.HookRequested,
        run.HookAnswered,
        pipeline.PipelineRegistered,
        pipeline.PipelineSubmitted,
        queue.QueueCreated,
        queue.QueuePaused,
        queue.QueueResumed,
        agent.AgentRegistered,
        agent.AgentLeft,
        agent.AgentLost,
    )
}


def _more_fields(data: dict[str, Any]) -> dict[str, Any]:
    """The next version only has more fields, which are optional."""
    return data


# (type, schema version it was written in): what turns its data into the next version's. Pure.
UPCASTS: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("TaskCreated", 1): _more_fields,  # draft
    ("TaskEdited", 1): _more_fields,  # in the script: code, pickle
    ("ModelAdded", 1): _more_fields,  # published, archived, parent, iteration, metadata, attempt
    ("RunStarted", 1): _more_fields,  # queue
    ("RunCreated", 1): _more_fields,  # cache, content, parent_run, parent_step
}
