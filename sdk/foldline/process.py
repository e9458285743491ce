"""What this process is to the server: the task it runs, if any."""

import os
from typing import Final

# The task and attempt of the process that started this one, when that was begun by Task.init: workers are part of it.
INHERITED: Final = "FOLDLINE_OWN_TASK"

# Set, and not to 0, false, no or off: there is no server.
OFFLINE: Final = "FOLDLINE_OFFLINE_MODE"

# Set for the agent that a script starts for its own run: what its tasks print, it prints too.
ECHO: Final = "FOLDLINE_ECHO"

_own_task_id: str | None = None
_own_attempt: int | None = None
_simulated = False


def task_id() -> str | None:
    """The task that this process runs: given by an agent, begun here by Task.init, or by the process that made it."""
    return os.environ.get("FOLDLINE_TASK_ID") or _own_task_id or inherited()


def inherited() -> str | None:
    """The task of the process that started this one, where that is a task begun by Task.init and this is none."""
    return None if _own_task_id is not None else os.environ.get(INHERITED, "").partition(":")[0] or None


def given_by_agent() -> bool:
    return bool(os.environ.get("FOLDLINE_TASK_ID"))


def offline() -> bool:
    """Whether what tasks say stays on this machine. What an agent started has a server."""
    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no", "off") and not given_by_agent()


def attempt_of(identifier: str) -> int | None:
    """The attempt of that task that this process is; None when it is none.

    Sent with what the attempt puts out, so that one which was given up as lost changes nothing any more.
    """
    if identifier != task_id():
        return None
    given = os.environ.get("FOLDLINE_ATTEMPT", "") if given_by_agent() and not _simulated else ""
    if not given and inherited():
        given = os.environ[INHERITED].partition(":")[2]
    return int(given) if given.isdigit() else _own_attempt


def simulate(identifier: str | None) -> None:
    """Let this process be that task as an agent's would; None: no more."""
    global _simulated
    if identifier is not None:
        os.environ["FOLDLINE_TASK_ID"] = identifier
    elif _simulated:
        os.environ.pop("FOLDLINE_TASK_ID", None)
    _simulated = identifier is not None


def simulated() -> bool:
    return _simulated


def set_own_task(identifier: str | None, attempt: int | None = None) -> None:
    """Task.init begins (or ends, with None) a task in a process that no agent started."""
    global _own_task_id, _own_attempt
    _own_task_id, _own_attempt = identifier, attempt
    if identifier is None:
        os.environ.pop(INHERITED, None)
    else:
        os.environ[INHERITED] = f"{identifier}:{attempt}"


def environment_of_another() -> dict[str, str]:
    """This process's environment for a child that is not part of its task."""
    of_a_task = {"FOLDLINE_TASK_ID", "FOLDLINE_ATTEMPT", "FOLDLINE_SESSION", "FOLDLINE_RUN_ID", "FOLDLINE_STEP"}
    mine = {*of_a_task, INHERITED, ECHO}
    return {name: value for name, value in os.environ.items() if name not in mine}
