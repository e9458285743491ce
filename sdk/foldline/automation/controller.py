"""`PipelineController`: steps from template tasks and functions, chained, submitted as one definition."""

from typing import TYPE_CHECKING

from foldline.automation.fetching import FetchedPipeline
from foldline.automation.nodes import Node

if TYPE_CHECKING:
    from foldline.automation.decorator import PipelineDecorator

__all__ = ["Node", "PipelineController", "PipelineDecorator"]


class PipelineController(FetchedPipeline):
    """A pipeline: say its steps, then `start()` it, or `start_locally()` and wait.

    It holds a definition until then; the run itself is the server's affair. A process of yours is needed only where
    the pipeline has Python of its own: callbacks, factories, a function that decides on retries.
    """

    Node = Node


def __getattr__(name: str) -> object:
    """PipelineDecorator builds on the class above: it is imported when it is asked for."""
    if name != "PipelineDecorator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foldline.automation.decorator import PipelineDecorator

    return PipelineDecorator
