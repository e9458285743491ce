"""Names that follow from their cause, so that deciding twice names the same things."""

from functools import lru_cache
from hashlib import sha256


def derived(*parts: str | int, slot: str = "") -> str:
    """32 hex digits made of `parts`; what is made on behalf of a run takes the run's first two, its slot."""
    text = "\x1f".join(map(str, parts))
    return slot[:2] + sha256(text.encode()).hexdigest()[len(slot[:2]) : 32]


def task_stream(task_id: str) -> str:
    return f"task-{task_id}"


def task_of(stream: str) -> str:
    """The id of the task whose stream it is."""
    return stream.removeprefix("task-")


def run_stream(run_id: str) -> str:
    return f"run-{run_id}"


def pipeline_id(project: str, name: str) -> str:
    """A pipeline is known by its project and name."""
    return derived("pipeline", project, name)


def agent_id(name: str) -> str:
    return derived("agent", name)


@lru_cache(maxsize=4096)  # asked for several times while a step is launched
def step_task_id(run_id: str, step: str) -> str:
    return derived("step", run_id, step, slot=run_id)
