"""A task's models: those it has made, those it has read, and new ones in a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from foldline.handle import TaskHandle
from foldline.stores import local_path

if TYPE_CHECKING:
    from foldline.models import TaskModels
    from foldline.task import Task


class WithModels(TaskHandle):
    """Task's methods about models."""

    @property
    def models(self) -> "TaskModels":
        """{"input": [...], "output": [...]}, read from the server now; each list also finds by name."""
        from foldline.models import TaskModels

        self.reload()
        return TaskModels(self.data)

    def get_models(self) -> "TaskModels":
        return self.models

    @property
    def input_models_id(self) -> Mapping[str, str]:
        """{name: model id} of what it reads."""
        return self.models.input.ids()

    @property
    def output_models_id(self) -> Mapping[str, str]:
        """{name: model id} of what it has made."""
        return self.models.output.ids()

    def set_input_model(
        self,
        model_id: str | None = None,
        model_name: str | None = None,
        update_task_design: bool = True,
        update_task_labels: bool = True,
        name: str | None = None,
    ) -> None:
        """Say that the task reads the model of that id, or the newest of that name, and list it as `name`.

        A configuration and labels that the task lacks are taken from it, unless told otherwise.
        """
        from foldline.models import InputModel

        model = InputModel(model_id, name=model_name)
        model.read_by(cast("Task", self), name, design=update_task_design, labels=update_task_labels)

    def update_output_model(
        self,
        model_path: str,
        name: str | None = None,
        comment: str | None = None,
        tags: Sequence[str] | None = None,
        model_name: str | None = None,
        iteration: int | None = None,
        auto_delete_file: bool = True,
    ) -> str:
        """Store a file, or name the address of one, as the weights of the output model that is listed as `name`.

        It is called `model_name`, and made if the task has none yet. The address of the weights comes back.
        """
        from foldline.models import OutputModel

        task: Any = self
        listed = name or Path(model_path).stem
        known = self.models.output.ids().get(listed)
        called = model_name or (f"{task.name} - {name}" if name else None)
        model = OutputModel(task, name=called, tags=tags, comment=comment, base_model_id=known)
        model.connect(task, listed)
        if local_path(model_path) is None:
            return model.update_weights(register_uri=model_path, iteration=iteration)
        return model.update_weights(model_path, iteration=iteration, auto_delete_file=auto_delete_file)
