"""The kinds of tasks and their statuses, as ClearML names them."""

from enum import Enum, StrEnum


class TaskTypes(Enum):
    training = "training"
    testing = "testing"
    inference = "inference"
    data_processing = "data_processing"
    application = "application"
    monitor = "monitor"
    controller = "controller"
    optimizer = "optimizer"
    service = "service"
    qc = "qc"
    custom = "custom"
    report = "report"

    def __str__(self) -> str:
        return str(self.value)


class TaskStatusEnum(StrEnum):
    """A status equals its word: `task.status == Task.TaskStatusEnum.completed`."""

    created = "created"
    queued = "queued"
    in_progress = "in_progress"
    stopped = "stopped"
    published = "published"
    publishing = "publishing"
    closed = "closed"
    failed = "failed"
    completed = "completed"
    unknown = "unknown"


def type_word(given: "TaskTypes | str | None") -> str | None:
    """The word that the server knows. Raises ValueError for a type there is not, naming those there are."""
    if given is None:
        return None
    try:
        return str(TaskTypes(given).value)
    except ValueError:
        known = ", ".join(kind.value for kind in TaskTypes)
        raise ValueError(f"{given!r} is no type of task: choose from {known}") from None
