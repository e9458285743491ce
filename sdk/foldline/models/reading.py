"""`Model` and `InputModel`: models that are there, found by id, name, project, tags or address."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from foldline import compat, process, stores, tagging
from foldline.client import Client, shared
from foldline.definition import defining
from foldline.errors import NotFound
from foldline.later import Later
from foldline.listing import Json
from foldline.models import records
from foldline.models.base import BaseModel, current_task
from foldline.models.frameworks import framework_of
from foldline.models.records import ENTRY, PACKAGE, address_of, entry

if TYPE_CHECKING:
    from foldline.task import Task

log = logging.getLogger("foldline")

IMPORTED = "model"  # the system tag of a task that only holds a model which no task has made


class Model(BaseModel):
    """A model of the server, by its id."""

    def __init__(self, model_id: str) -> None:
        self._id = model_id
        self._record: Json | None = None

    @property
    def id(self) -> str:
        return self._id

    def get_local_copy(
        self, extract_archive: bool | None = None, raise_on_error: bool = False, force_download: bool = False
    ) -> str | None:
        """The path of a local copy: of its file, of a package the folder. None on failure, unless `raise_on_error`."""
        extract = PACKAGE in self._data()["metadata"] if extract_archive is None else extract_archive
        return self.get_weights(raise_on_error, force_download, extract)

    @classmethod
    def query_models(
        cls,
        project_name: str | None = None,
        model_name: str | None = None,
        tags: Sequence[str] | None = None,
        only_published: bool = False,
        include_archived: bool = False,
        max_results: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> "list[Model]":
        """Models with all of these, newest first. `tags` is a condition as in Task.get_tasks."""
        given = [tags] if isinstance(tags, str) else list(tags or ())
        passes = tagging.test(given)
        rows = shared().models.list(
            project=project_name,
            name=model_name,
            tag=tagging.one_of(given) or None,
            published=True if only_published else None,
            archived=None if include_archived else False,
        )
        found: list[Model] = []
        for row in rows:
            if len(found) == max_results:
                break
            if passes(row["tags"]) and _says(row, metadata or {}):
                found.append(Model._of(row))
        return found

    @classmethod
    def remove(
        cls,
        model: "str | Model",
        delete_weights_file: bool = True,
        force: bool = False,
        raise_on_errors: bool = False,
    ) -> bool:
        """Archive the model: what tasks have made and read stays on record. Whether there was one."""
        compat.ignored("Model.remove", delete_weights_file=delete_weights_file, force=force)
        try:
            (Model(model) if isinstance(model, str) else model).archive()
        except NotFound:
            if raise_on_errors:
                raise
            return False
        return True

    @classmethod
    def _of(cls, row: Json) -> "Model":
        found = Model(str(row["id"]))
        found._record = row
        return found

    def _data(self) -> Json:
        if self._record is None:
            self._record = self._client.models.get(self._id)
        return self._record

    def _change(self, **fields: Any) -> None:
        row = self._client.models.get(self._id)
        self._record = records.say(self._client, str(row["task"]), str(row["kind"]), {**row, **fields})


class InputModel(Model):
    """A model that a task reads: `connect` it, and it is on the task's record."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if defining():
            return cast(Self, Later(lambda: cls(*args, **kwargs)))
        return super().__new__(cls)

    def __init__(
        self,
        model_id: str | None = None,
        name: str | None = None,
        project: str | None = None,
        tags: Sequence[str] | None = None,
        only_published: bool = False,
    ) -> None:
        """The model of that id, or the newest of that name, project and tags. Raises ValueError when there is none."""
        row: Json | None = None
        if not model_id:
            found = self.query_models(project, name, tags, only_published, max_results=1)
            if not found:
                wanted = {"name": name, "project": project, "tags": tags, "only_published": only_published or None}
                said = ", ".join(f"{key}={value!r}" for key, value in wanted.items() if value is not None)
                raise ValueError(f"there is no model with {said or 'a name'}: has a task put one out?")
            row, model_id = found[0]._data(), found[0].id
        super().__init__(model_id)
        self._record = row

    @classmethod
    def import_model(
        cls,
        weights_url: str,
        config_text: str | None = None,
        config_dict: Mapping[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
        name: str | None = None,
        project: str | None = None,
        tags: Sequence[str] | None = None,
        comment: str | None = None,
        is_package: bool = False,
        create_as_published: bool = False,
        framework: str | None = None,
    ) -> "InputModel":
        """The model whose weights have that address, made known if it is not yet; its bytes stay where they are."""
        url = address_of(weights_url)
        if (known := cls.load_model(url)) is not None:
            return known
        client, task = shared(), process.task_id()
        record = records.empty(uuid.uuid4().hex) | records.design(config_text, config_dict)
        record |= {
            "name": name or Path(stores.name_of(url)).stem,
            "url": url,
            "framework": framework or framework_of(stores.name_of(url)),
            "comment": comment or "",
            "tags": list(tags or ()),
            "labels": records.labels_of(label_enumeration or {}),
            "project": project or "",
            "published": create_as_published,
            "metadata": {PACKAGE: entry(True, "bool")} if is_package else {},
        }
        if task is None:
            task = _holder(client, record["name"], project or "default")
        return cls._input(records.say(client, task, "input", record))

    @classmethod
    def load_model(cls, weights_url: str, load_archived: bool = False) -> "InputModel | None":
        """The newest model whose weights have that address; None when there is none."""
        row = shared().models.list(url=address_of(weights_url), archived=None if load_archived else False).first()
        return None if row is None else cls._input(row)

    @classmethod
    def empty(
        cls,
        config_text: str | None = None,
        config_dict: Mapping[str, Any] | None = None,
        label_enumeration: Mapping[str, int] | None = None,
    ) -> "InputModel":
        """A model without weights that the server does not know."""
        labels = records.labels_of(label_enumeration or {})
        return cls._input(records.empty("") | records.design(config_text, config_dict) | {"labels": labels, "task": ""})

    def connect(self, task: "Task", name: str | None = None, ignore_remote_overrides: bool = False) -> None:
        """Put it on the record of a task that reads it, under `name` (by default that of its file).

        In a task that an agent runs, the model that the task names already takes this one's place, unless
        `ignore_remote_overrides`.
        """
        under = name or (records.entry_name(self._data()) if self.url else "Input Model")
        if process.given_by_agent() and task.id == process.task_id() and not ignore_remote_overrides:
            there = list(task.models["input"])
            chosen = next((one for one in there if records.entry_name(one._data()) == under), None)
            chosen = chosen or next(iter(there), None)
            if chosen is not None:
                self._id, self._record = chosen.id, chosen._data()
                return
        self.read_by(task, under)

    def read_by(self, task: "Task", name: str | None = None, *, design: bool = True, labels: bool = True) -> None:
        """Put it on the task's record; one that the server does not know stays off it."""
        if not self._id:
            return
        row = self._data()
        under = name or records.entry_name(row)
        records.say(self._client, task.id, "input", {**row, "metadata": {**row["metadata"], ENTRY: entry(under)}})
        if design and row["config_text"] and not task.get_model_config_text():
            task.set_model_config(config_text=row["config_text"])
        if labels and row["labels"] and not task.get_labels_enumeration():
            task.set_model_label_enumeration(row["labels"])

    @classmethod
    def _input(cls, row: Json) -> "InputModel":
        # An empty one has no id, which the constructor would look for by its name.
        found = object.__new__(cls)
        Model.__init__(found, str(row["id"]))
        found._record = row
        return found


def _says(row: Json, metadata: Mapping[str, str]) -> bool:
    return all(row["metadata"].get(key, {}).get("value") == str(value) for key, value in metadata.items())


def _holder(client: Client, name: str, project: str) -> str:
    """A task to keep a model on that was imported outside any: each model is some task's word."""
    return str(client.tasks.create(name=name, project=project, type="custom", system_tags=[IMPORTED])["id"])


def task_or_current(task: "Task | None") -> "Task":
    """Raises ValueError when there is none."""
    found = task or current_task()
    if found is None:
        raise ValueError("a model is made by a task: give it task=..., or call Task.init first")
    return found
