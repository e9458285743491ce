"""A task's models, by place and by name: `task.models["output"][-1]`, `task.models["output"]["tree"]`."""

from collections import UserDict, UserList
from collections.abc import Iterable, KeysView
from typing import Any, cast

from foldline.listing import Json
from foldline.models.reading import Model
from foldline.models.records import entry_name


class ModelsList(UserList[Model]):
    """Models in the order in which the task first named them. A name finds the newest that is called so."""

    def __init__(self, models: Iterable[tuple[str, Model]] = ()) -> None:
        named = list(models)
        super().__init__([model for _, model in named])
        self._named = dict(named)

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, str):
            return cast(Any, self.data[item])
        if item in self._named:
            return self._named[item]
        # By the file's name as ClearML does, else by the model's own.
        for model in reversed(self.data):
            if item in (model.name, model.id):
                return model
        raise KeyError(f"the task has no model {item!r}: it has {', '.join(self._named) or 'none'}")

    def get(self, key: Any, default: Any = None) -> Any:
        try:
            return self[key]
        except (KeyError, IndexError):
            return default

    def keys(self) -> KeysView[str]:
        return self._named.keys()

    def ids(self) -> dict[str, str]:
        """{name: model id}."""
        return {name: model.id for name, model in self._named.items()}


class TaskModels(UserDict[str, ModelsList]):
    """{"input": [...], "output": [...]}, also as attributes."""

    def __init__(self, record: Json) -> None:
        self.input = ModelsList(_named(record, "input"))
        self.output = ModelsList(_named(record, "output"))
        super().__init__({"input": self.input, "output": self.output})


def _named(record: Json, kind: str) -> Iterable[tuple[str, Model]]:
    for said in record["models"][kind]:
        model = Model._of({**said, "task": record["id"]})  # pyright: ignore[reportPrivateUsage]
        yield entry_name(said), model
