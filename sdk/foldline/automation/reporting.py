"""What a pipeline's own task puts out, said from its script, its callbacks, or one of its steps."""

import functools
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from foldline import compat
from foldline.automation.following import FollowedRun, task_of_run
from foldline.definition import defining
from foldline.errors import FoldlineError
from foldline.inert import Nothing
from foldline.task import Task

P = ParamSpec("P")
T = TypeVar("T")

_last: "weakref.ref[FollowedRun] | None" = None


class Speaking(Generic[P, T]):
    """A method of the class and of its instances: without an instance the last pipeline made here is meant."""

    def __init__(self, function: Callable[Concatenate[Any, P], T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: FollowedRun | None, owner: type | None = None) -> Callable[P, T]:
        pipeline = instance if instance is not None else last_made()

        @functools.wraps(self._function)
        def bound(*args: P.args, **kwargs: P.kwargs) -> T:
            return self._function(pipeline, *args, **kwargs)

        return bound


def last_made() -> FollowedRun | None:
    return None if _last is None else _last()


class ReportingRun(FollowedRun):
    """PipelineController's methods that speak for the run. In a step they speak for the run that it belongs to."""

    def __init__(self) -> None:
        global _last
        super().__init__()
        _last = weakref.ref(self)

    @Speaking
    def get_logger(self) -> Any:
        """A logger whose reports are the run's. Raises ValueError where there is no pipeline."""
        return Nothing() if defining() else task_of_run(self).get_logger()

    @Speaking
    def upload_artifact(
        self,
        name: str,
        artifact_object: Any,
        metadata: Mapping[str, Any] | None = None,
        delete_after_upload: bool = False,
        auto_pickle: bool | None = None,
        preview: Any = None,
        wait_on_upload: bool = False,
        serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        sort_keys: bool = True,
    ) -> bool:
        """Store an object, file or folder as an artifact of the run. Raises ValueError where there is no pipeline."""
        if defining():
            return True
        compat.ignored("PipelineController.upload_artifact", wait_on_upload=wait_on_upload)
        return task_of_run(self).upload_artifact(
            name,
            artifact_object,
            metadata=metadata,
            delete_after_upload=delete_after_upload,
            auto_pickle=auto_pickle,
            preview=preview,
            serialization_function=serialization_function,
            sort_keys=sort_keys,
        )

    @Speaking
    def upload_model(self, model_name: str, model_local_path: str, upload_uri: str | None = None) -> Any:
        """Store a file or a folder as an output model of the run. Raises ValueError where there is no pipeline."""
        if defining():
            return Nothing()
        from foldline.models import OutputModel

        task = task_of_run(self)
        if not isinstance(task, Task):
            raise FoldlineError(
                f"model {model_name!r} has no run to belong to yet: upload it once the pipeline is started"
            )
        model = OutputModel(task=task, name=str(model_name))
        model.update_weights(weights_filename=str(model_local_path), upload_uri=upload_uri)
        return model

    def connect_configuration(self, configuration: Any, name: str | None = None, description: str | None = None) -> Any:
        """Keep a dict, a list or a file as a configuration object of the run; in its host the run's own comes back."""
        return self.task.connect_configuration(configuration, name=name, description=description)
