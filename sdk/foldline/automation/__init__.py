"""Pipelines, schedules and triggers: `from foldline.automation import PipelineController, TaskScheduler`."""

from typing import TYPE_CHECKING

from foldline.automation.controller import PipelineController
from foldline.automation.retries import Retry

if TYPE_CHECKING:
    from foldline.automation.decorator import PipelineDecorator
    from foldline.automation.scheduler import TaskScheduler
    from foldline.automation.trigger import TriggerScheduler

__all__ = ["PipelineController", "PipelineDecorator", "Retry", "TaskScheduler", "TriggerScheduler"]

# Imported when they are asked for.
_LATER = {"PipelineDecorator": "decorator", "TaskScheduler": "scheduler", "TriggerScheduler": "trigger"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"foldline.automation.{_LATER[name]}"), name)
