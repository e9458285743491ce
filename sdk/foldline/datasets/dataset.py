"""`Dataset`: made, found, merged, renamed and deleted."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Self, TypeVar, cast

from foldline import compat, process
from foldline.client import Client, shared
from foldline.datasets.changing import Changing, current_project
from foldline.datasets.entries import Manifest
from foldline.datasets.finding import (
    ARCHIVED,
    FINAL,
    TAG,
    TYPE,
    best,
    deleted,
    is_deleted,
    is_final,
    tasks,
    version_of,
    versions,
)
from foldline.datasets.handle import DatasetError, manifest_of, record_of
from foldline.datasets.reading import Reading
from foldline.datasets.versions import FIRST, following, highest, key_of
from foldline.definition import defining
from foldline.inert import Nothing
from foldline.later import Later
from foldline.listing import Json

log = logging.getLogger("foldline")

SECTION = "Datasets"  # of a task's parameters: which datasets it has got under an alias

D = TypeVar("D", bound="Dataset")


class Dataset(Changing, Reading):
    """A version of a folder of files: `create` begins one, `get` finds one."""

    @classmethod
    def create(
        cls,
        dataset_name: str | None = None,
        dataset_project: str | None = None,
        dataset_tags: Sequence[str] | None = None,
        parent_datasets: "Sequence[str | Dataset] | None" = None,
        use_current_task: bool = False,
        dataset_version: str | None = None,
        output_uri: str | None = None,
        description: str | None = None,
    ) -> Self:
        """A new version that begins with all that its parents have, a later one's files before an earlier one's.

        Without `dataset_version` it is the one that follows the highest there is of that project and name. With
        `use_current_task` the version is this process's task, and has its name. Raises DatasetError.
        """
        if defining():
            return cast(Self, Nothing())
        client = shared()
        parents = [
            one if isinstance(one, Dataset) else cls._of(record_of(client, one)) for one in parent_datasets or ()
        ]
        for parent in parents:
            if not parent.is_final():
                raise DatasetError(f"dataset {parent.name!r} {parent.version} cannot be a parent: finalize it first")
        if use_current_task or (dataset_name is None and dataset_project is None and not parents):
            fields = {"tags": list(dataset_tags or ()), "comment": description, "output_destination": output_uri}
            record = _current_task_as_dataset(client, {name: value for name, value in fields.items() if value})
            if dataset_name not in (None, record["name"]):
                log.warning("a dataset on the current task has that task's name, %r", record["name"])
        else:
            record = client.tasks.create(
                name=_name(dataset_name, parents),
                project=_project(dataset_project, parents),
                type=TYPE,
                parent=process.task_id(),
                tags=list(dataset_tags or ()),
                system_tags=[TAG],
                comment=description or "",
                output_destination=output_uri or "",
            )
        version = dataset_version or version_of(record) or _next_version(client, record)
        if key_of(version) is None:
            log.warning("version %r is not made of numbers: no other can be told to be higher", version)
        manifest = Manifest()
        for parent in parents:
            manifest.take(parent._manifest)
        manifest.graph[str(record["id"])] = [parent.id for parent in parents]
        runtime = {"version": str(version).strip(), "parents": [parent.id for parent in parents]}
        made = cls(client.tasks.edit(str(record["id"]), {"runtime": runtime}), manifest)
        if parents:
            made._save()
        return made

    @classmethod
    def get(
        cls,
        dataset_id: str | None = None,
        dataset_project: str | None = None,
        dataset_name: str | None = None,
        dataset_tags: Sequence[str] | None = None,
        only_completed: bool = False,
        only_published: bool = False,
        include_archived: bool = False,
        auto_create: bool = False,
        writable_copy: bool = False,
        dataset_version: str | None = None,
        alias: str | None = None,
        overridable: bool = False,
        shallow_search: bool = False,
        silence_alias_warnings: bool = False,
        **kwargs: Any,
    ) -> Self:
        """The version of that id, or the highest of that project and name, one that is final before one that is not.

        `writable_copy` begins its next version. Under an `alias` the task of this process remembers which it got, in
        section Datasets; `overridable` lets that parameter, edited by somebody before an agent ran the task, decide.
        Raises DatasetError when there is none, unless `auto_create`.
        """
        if kwargs:
            raise TypeError(f"Dataset.get() has no parameter {', '.join(kwargs)}")
        if defining():
            asked = (dataset_id, dataset_project, dataset_name, dataset_tags, only_completed, only_published)
            more = (include_archived, auto_create, writable_copy, dataset_version, alias, overridable)
            return cast(Self, Later(lambda: cls.get(*asked, *more)))
        compat.ignored("Dataset.get", shallow_search=shallow_search, silence_alias_warnings=silence_alias_warnings)
        if not (dataset_id or dataset_project or dataset_name or dataset_tags):
            raise DatasetError("Dataset.get() needs a dataset_id, or a dataset_project and dataset_name")
        if dataset_id and (dataset_project or dataset_name):
            raise DatasetError("give Dataset.get() either a dataset_id, or a dataset_project and dataset_name")
        client = shared()
        if alias and overridable and process.given_by_agent():
            dataset_id = _alias_of(client, alias) or dataset_id
        if dataset_id:
            found = record_of(client, dataset_id)
        else:
            every = versions(client, dataset_project, dataset_name, dataset_tags)
            statuses = {"published"} if only_published else FINAL if only_completed else None
            found = _chosen([one for one in every if include_archived or not _archived(one)], statuses, dataset_version)
        if found is None:
            if not auto_create:
                what = f"{dataset_project or '*'}/{dataset_name or '*'}"
                raise DatasetError(f"there is no dataset {what}{f' {dataset_version}' if dataset_version else ''}")
            made = cls.create(dataset_name, dataset_project, dataset_tags, dataset_version=dataset_version)
            return _remembered(client, made, alias)
        dataset = cls._of(found)
        if writable_copy:
            dataset = cls.create(dataset.name, dataset.project, found["tags"], parent_datasets=[dataset])
        return _remembered(client, dataset, alias)

    @classmethod
    def list_datasets(
        cls,
        dataset_project: str | None = None,
        partial_name: str | None = None,
        tags: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        only_completed: bool = True,
        recursive_project_search: bool = True,
        include_archived: bool = True,
    ) -> list[dict[str, Any]]:
        """All versions as {"name", "created", "project", "id", "tags", "version"}, newest first.

        `partial_name` is a regular expression; projects inside `dataset_project` count too, unless told otherwise.
        """
        client = shared()
        exact = dataset_project if not recursive_project_search else None
        found = tasks(client, list(ids)) if ids else versions(client, exact, None, tags)
        inside = f"{dataset_project}/"
        return [
            _shown(one)
            for one in found
            if (dataset_project is None or one["project"] == dataset_project or one["project"].startswith(inside))
            and (partial_name is None or re.search(partial_name, one["name"]))
            and (is_final(one) or not only_completed)
            and (include_archived or not _archived(one))
            and not is_deleted(one)
        ]

    @classmethod
    def squash(
        cls,
        dataset_name: str,
        dataset_ids: "Sequence[str | Dataset] | None" = None,
        dataset_project_name_pairs: Sequence[tuple[str, str]] | None = None,
        output_url: str | None = None,
        close_squashed_dataset: bool = True,
    ) -> Self:
        """A version without history of what one holds, or of what several have brought, a later one's files first.

        Nothing is copied: the new one names the files where they lie. It is finalized, unless told otherwise.
        """
        if (dataset_ids is None) == (dataset_project_name_pairs is None):
            raise DatasetError("give squash() either dataset_ids or dataset_project_name_pairs")
        sources = [one if isinstance(one, Dataset) else cls.get(dataset_id=one) for one in dataset_ids or ()]
        sources += [cls.get(dataset_project=pair[0], dataset_name=pair[1]) for pair in dataset_project_name_pairs or ()]
        if not sources:
            raise DatasetError("squash() needs at least one dataset")
        shared_parents: list[str] = []
        if len(sources) > 1:
            parents = [one._manifest.graph.get(one.id, []) for one in sources]
            shared_parents = [one for one in parents[0] if all(one in others for others in parents)]
        squashed = cls.create(dataset_name, sources[0].project, parent_datasets=shared_parents, output_uri=output_url)
        for source in sources:
            squashed._manifest.take(source._brought(squashed.id, alone=len(sources) == 1))
        if close_squashed_dataset:
            squashed.upload()
            squashed.finalize()
        return squashed

    @classmethod
    def delete(
        cls,
        dataset_id: str | None = None,
        dataset_project: str | None = None,
        dataset_name: str | None = None,
        force: bool = False,
        dataset_version: str | None = None,
        entire_dataset: bool = False,
        shallow_search: bool = False,
        delete_files: bool = True,
        delete_external_files: bool = False,
    ) -> None:
        """Take a version, or with `entire_dataset` and `force` all of that project and name, out of sight for good.

        Its history stays in the log, and its bytes where other versions may need them. Raises DatasetError when others
        descend from it, unless `force`, and when it is not clear which is meant.
        """
        compat.ignored("Dataset.delete", shallow_search=shallow_search, delete_files=delete_files)
        why = "leaves alone what it did not store"
        compat.refuse("Dataset.delete", why, delete_external_files=delete_external_files)
        if not (dataset_id or dataset_project or dataset_name):
            raise DatasetError("delete() needs a dataset_id, or a dataset_project and dataset_name")
        if dataset_id and (dataset_project or dataset_name):
            raise DatasetError("give delete() either a dataset_id, or a dataset_project and dataset_name")
        client = shared()
        chosen = _to_delete(client, dataset_id, dataset_project, dataset_name, dataset_version, entire_dataset, force)
        if not force:
            _refuse_if_used(client, chosen)
        for one in chosen:
            client.tasks.edit(str(one["id"]), deleted(one))

    @classmethod
    def rename(cls, new_dataset_name: str, dataset_project: str, dataset_name: str) -> None:
        """Give all versions of that project and name another name. Raises DatasetError when there is none."""
        for one in _all_of(shared(), dataset_project, dataset_name):
            shared().tasks.edit(str(one["id"]), {"name": new_dataset_name})

    @classmethod
    def move_to_project(cls, new_dataset_project: str, dataset_project: str, dataset_name: str) -> None:
        """Move all versions of that project and name. Raises DatasetError when there is none."""
        for one in _all_of(shared(), dataset_project, dataset_name):
            shared().tasks.edit(str(one["id"]), {"project": new_dataset_project})

    def _brought(self, owner: str, *, alone: bool) -> Manifest:
        """What this version has brought itself, or with `alone` all it has, as if `owner` had."""
        held = self._manifest
        files = {path: replace(entry, parent_dataset_id=owner) for path, entry in held.files.items()}
        links = {path: replace(entry, parent_dataset_id=owner) for path, entry in held.links.items()}
        if not alone:
            files = {path: entry for path, entry in files.items() if held.files[path].parent_dataset_id == self.id}
            links = {path: entry for path, entry in links.items() if held.links[path].parent_dataset_id == self.id}
        return Manifest(files, links, {}, held.addresses)

    @classmethod
    def _of(cls, record: Json) -> Self:
        return cls(record, manifest_of(record, shared()))


def _current_task_as_dataset(client: Client, fields: dict[str, Any]) -> Json:
    identifier = process.task_id()
    if identifier is None:
        raise DatasetError("a dataset needs a dataset_name and a dataset_project, or a task to be on: call Task.init")
    task = client.tasks.get(identifier)
    if "tags" in fields:
        fields["tags"] = list(dict.fromkeys([*task["tags"], *fields["tags"]]))
    if task["type"] != TYPE:
        fields["type"] = TYPE
    if TAG not in task["system_tags"]:
        fields["system_tags"] = [*task["system_tags"], TAG]
    return client.tasks.edit(identifier, fields) if fields else task


def _name(given: str | None, parents: Sequence[Dataset]) -> str:
    if given:
        return given
    if given is not None or not parents:
        raise DatasetError("a dataset needs a dataset_name")
    return parents[-1].name


def _project(given: str | None, parents: Sequence[Dataset]) -> str:
    project = given or (parents[-1].project if parents else None) or current_project()
    if project is None:
        raise DatasetError("a dataset needs a dataset_project: there is no parent and no task to take it from")
    return project


def _next_version(client: Client, record: Json) -> str:
    others = versions(client, str(record["project"]), str(record["name"]))
    top = highest(version_of(one) for one in others if one["id"] != record["id"])
    return FIRST if top is None else following(top) or FIRST


def _archived(task: Json) -> bool:
    return ARCHIVED in task["system_tags"]


def _chosen(found: list[Json], statuses: "set[str] | frozenset[str] | None", version: str | None) -> Json | None:
    """The version that is meant: a final one, if there is one, unless an exact version says which."""
    if statuses is not None:
        found = [one for one in found if one["status"] in statuses]
    if version is not None:
        found = [one for one in found if version_of(one) == version]
    final, any_ = best(one for one in found if is_final(one)), best(found)
    if final is not None and any_ is not None and final is not any_:
        said = "version %s (%s) of dataset %s is not finalized: taking %s; its dataset_id gets the other"
        log.warning(said, version_of(any_), any_["id"], any_["name"], version_of(final))
    return final or any_


def _alias_of(client: Client, alias: str) -> str | None:
    task = client.tasks.get(str(process.task_id()))
    entry = task["hyperparameters"].get(SECTION, {}).get(alias)
    return str(entry["value"]) if entry and entry["value"] else None


def _remembered(client: Client, dataset: D, alias: str | None) -> D:
    """Note on the task of this process that it has got this version."""
    identifier = process.task_id()
    if identifier is None or identifier == dataset.id:
        return dataset
    task = client.tasks.get(identifier)
    if task["status"] != "in_progress":
        return dataset
    fields: dict[str, Any] = {}
    used = list(task["runtime"].get("datasets") or [])
    if dataset.id not in used:
        fields["runtime"] = {"datasets": [*used, dataset.id]}
    if alias:
        fields["hyperparameters"] = {SECTION: {alias: {"value": dataset.id, "type": "str"}}}
    if fields:
        client.tasks.edit(identifier, fields)
    return dataset


def _all_of(client: Client, project: str, name: str) -> list[Json]:
    found = list(versions(client, project, name))
    if not found:
        raise DatasetError(f"there is no dataset {project}/{name}")
    return found


def _to_delete(
    client: Client,
    identifier: str | None,
    project: str | None,
    name: str | None,
    version: str | None,
    entire: bool,
    force: bool,
) -> list[Json]:
    if identifier:
        return [record_of(client, identifier)]
    if entire and not force:
        raise DatasetError("all versions are deleted only with force=True")
    found = [one for one in versions(client, project, name) if version is None or version_of(one) == version]
    if not found:
        raise DatasetError(f"there is no dataset {project or '*'}/{name or '*'} {version or ''}".rstrip())
    if len(found) > 1 and not entire:
        raise DatasetError(f"{len(found)} versions are meant: give dataset_version, or entire_dataset and force")
    return found


def _refuse_if_used(client: Client, chosen: Sequence[Json]) -> None:
    ids = {str(one["id"]) for one in chosen}
    # Nobody descends from what was not there yet.
    for one in versions(client, since=min(str(one["created_at"]) for one in chosen)):
        if ids.intersection(one["runtime"].get("parents") or ()) and one["id"] not in ids:
            raise DatasetError(f"dataset {one['name']!r} {version_of(one)} ({one['id']}) descends from it: force=True")


def _shown(task: Json) -> dict[str, Any]:
    return {
        "name": task["name"],
        "created": datetime.fromisoformat(task["created_at"]),
        "project": task["project"],
        "id": task["id"],
        "tags": task["tags"],
        "version": version_of(task),
    }
