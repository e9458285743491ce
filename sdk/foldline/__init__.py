"""Foldline: pipelines for people who train and process models. The SDK, as a script imports it."""

from foldline.version import VERSION as __version__

TYPE_CHECKING = False  # typing's own would be most of what `import foldline` takes
if TYPE_CHECKING:
    from foldline.automation.controller import PipelineController, PipelineDecorator
    from foldline.client import Client
    from foldline.datasets import Dataset
    from foldline.errors import ApiError, FoldlineError
    from foldline.logger import Logger
    from foldline.models import InputModel, Model, OutputModel
    from foldline.storage import StorageManager
    from foldline.task import Task
    from foldline.types import TaskTypes

__all__ = [
    "ApiError",
    "Client",
    "Dataset",
    "FoldlineError",
    "InputModel",
    "Logger",
    "Model",
    "OutputModel",
    "PipelineController",
    "PipelineDecorator",
    "StorageManager",
    "Task",
    "TaskTypes",
    "__version__",
]

_WHERE = {
    "ApiError": "foldline.errors",
    "Client": "foldline.client",
    "Dataset": "foldline.datasets",
    "FoldlineError": "foldline.errors",
    "InputModel": "foldline.models",
    "Logger": "foldline.logger",
    "Model": "foldline.models",
    "OutputModel": "foldline.models",
    "PipelineController": "foldline.automation.controller",
    "PipelineDecorator": "foldline.automation.controller",
    "StorageManager": "foldline.storage",
    "Task": "foldline.task",
    "TaskTypes": "foldline.types",
}


def __getattr__(name: str) -> object:
    """Import what is asked for only now, so that `import foldline` costs a script nothing."""
    if name not in _WHERE:
        raise AttributeError(f"module 'foldline' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
