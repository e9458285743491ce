"""`OutputModel`, `InputModel` and `Model`: trained models, by the tasks that have made or read them."""

from foldline.models.base import BaseModel
from foldline.models.frameworks import Framework
from foldline.models.listed import ModelsList, TaskModels
from foldline.models.output import OutputModel
from foldline.models.reading import InputModel, Model

__all__ = ["BaseModel", "Framework", "InputModel", "Model", "ModelsList", "OutputModel", "TaskModels"]
