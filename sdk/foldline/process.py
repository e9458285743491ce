"""What this process is to the server: the task it runs, if any."""

import os

_own_task_id: str | None = None
_own_attempt: int | None = None


def task_id() -> str | None:
    """The task that this process runs: given by an agent, or begun here by Task.init."""
    return os.environ.get("FOLDLINE_TASK_ID") or _own_task_id


def given_by_agent() -> bool:
    return bool(os.environ.get("FOLDLINE_TASK_ID"))


def attempt_of(identifier: str) -> int | None:
    """The attempt of that task that this process is; None when it is none.

    Sent with what the attempt puts out, so that one which was given up as lost changes nothing any more.
    """
    if identifier != task_id():
        return None
    given = os.environ.get("FOLDLINE_ATTEMPT", "")
    return int(given) if given_by_agent() and given.isdigit() else _own_attempt


def set_own_task(identifier: str | None, attempt: int | None = None) -> None:
    """Task.init begins (or ends, with None) a task in a process that no agent started."""
    global _own_task_id, _own_attempt
    _own_task_id, _own_attempt = identifier, attempt


def environment_of_another() -> dict[str, str]:
    """This process's environment for a child that is not part of its task."""
    mine = {"FOLDLINE_TASK_ID", "FOLDLINE_ATTEMPT", "FOLDLINE_SESSION", "FOLDLINE_RUN_ID", "FOLDLINE_STEP"}
    return {name: value for name, value in os.environ.items() if name not in mine}
