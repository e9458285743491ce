"""Pipelines: `from foldline.automation import PipelineController, PipelineDecorator`."""

from typing import TYPE_CHECKING

from foldline.automation.controller import PipelineController
from foldline.automation.retries import Retry

if TYPE_CHECKING:
    from foldline.automation.decorator import PipelineDecorator

__all__ = ["PipelineController", "PipelineDecorator", "Retry"]


def __getattr__(name: str) -> object:
    """PipelineDecorator is imported when it is asked for."""
    if name != "PipelineDecorator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foldline.automation.decorator import PipelineDecorator

    return PipelineDecorator
