"""What `pipeline.task` is before the pipeline is submitted: what is said to it then is said to the run later."""

from collections.abc import Callable
from typing import Any, Final

from foldline.errors import FoldlineError
from foldline.task import Task

# Methods that tell a task something. What would ask it has no answer yet.
TELLING: Final = ("set_", "add_", "upload_", "update_", "remove_", "report_", "register_", "move_to_", "rename")

Said = Callable[[Task], Any]


class TaskToBe:
    """Keeps what is said to the pipeline's task until there is one."""

    def __init__(self) -> None:
        self._said: list[Said] = []

    def connect(self, mutable: Any, *args: Any, **kwargs: Any) -> Any:
        self._said.append(lambda task: task.connect(mutable, *args, **kwargs))
        return mutable

    def connect_configuration(self, configuration: Any, *args: Any, **kwargs: Any) -> Any:
        self._said.append(lambda task: task.connect_configuration(configuration, *args, **kwargs))
        return configuration

    def get_logger(self) -> "LoggerToBe":
        return LoggerToBe(self._said)

    def flush(self, *args: Any, **kwargs: Any) -> bool:
        """There is nobody to send anything to yet."""
        return True

    def __getattr__(self, name: str) -> Callable[..., bool]:
        if not name.startswith(TELLING):
            raise _too_early(name)
        return _keeper(self._said, lambda task: getattr(task, name))

    def tell(self, task: Task) -> None:
        """Say it all to `task`, in order, once."""
        said, self._said = self._said, []
        for one in said:
            one(task)
        if said:
            task.flush()


class LoggerToBe:
    """Keeps what is reported about the pipeline until there is a run to report it to."""

    def __init__(self, said: list[Said]) -> None:
        self._said = said

    def flush(self, *args: Any, **kwargs: Any) -> bool:
        """There is nobody to send anything to yet."""
        return True

    def __getattr__(self, name: str) -> Callable[..., bool]:
        if not name.startswith("report_"):
            raise _too_early(name)
        return _keeper(self._said, lambda task: getattr(task.get_logger(), name))


def _keeper(said: list[Said], method: Callable[[Task], Callable[..., Any]]) -> Callable[..., bool]:
    def keep(*args: Any, **kwargs: Any) -> bool:
        said.append(lambda task: method(task)(*args, **kwargs))
        return True

    return keep


def _too_early(name: str) -> Exception:
    if name.startswith("__"):
        return AttributeError(name)
    return FoldlineError(f"the pipeline has no task before it is started: ask for {name} afterwards")
