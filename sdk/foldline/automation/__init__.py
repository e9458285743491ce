"""Pipelines: `from foldline.automation import PipelineController`."""

from foldline.automation.controller import PipelineController

__all__ = ["PipelineController"]
