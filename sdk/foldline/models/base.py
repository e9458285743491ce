"""What every model can be asked, and told."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldline.archives import ENDINGS, unpacked
from foldline.client import Client, shared
from foldline.errors import FoldlineError
from foldline.listing import Json
from foldline.logger import Logger, logger_of
from foldline.models.records import OURS, PACKAGE, TYPES, cast_entry, entry, metadata_of, parsed_design
from foldline.storage import fetch_url

if TYPE_CHECKING:
    from foldline.task import Task

log = logging.getLogger("foldline")

REPORTS: Final = frozenset(
    {
        "report_scalar",
        "report_single_value",
        "report_histogram",
        "report_vector",
        "report_table",
        "report_line_plot",
        "report_scatter2d",
        "report_scatter3d",
        "report_confusion_matrix",
        "report_matrix",
        "report_surface",
    }
)


class BaseModel(ABC):
    """A model by its id. What is reported about one stands with the metrics of its task."""

    @property
    @abstractmethod
    def id(self) -> str: ...

    @abstractmethod
    def _data(self) -> Json:
        """Its record, as it was last read or said."""

    @abstractmethod
    def _change(self, **fields: Any) -> None:
        """Say it again, with these fields."""

    def __getattr__(self, name: str) -> Any:
        if name in REPORTS:
            return getattr(self.get_logger(), name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @property
    def _client(self) -> Client:
        return shared()

    @property
    def name(self) -> str:
        return str(self._data()["name"])

    @name.setter
    def name(self, value: str) -> None:
        self._change(name=value)

    @property
    def project(self) -> str:
        """The project's name, which is its id too."""
        return str(self._data()["project"])

    @project.setter
    def project(self, value: str) -> None:
        self._change(project=value)

    @property
    def comment(self) -> str:
        return str(self._data()["comment"])

    @comment.setter
    def comment(self, value: str) -> None:
        self._change(comment=value)

    @property
    def tags(self) -> list[str]:
        return list(self._data()["tags"])

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        self._change(tags=list(value))

    @property
    def system_tags(self) -> list[str]:
        """archived, package: what it is, in words that ClearML's users know."""
        record = self._data()
        found = {"archived": record["archived"], "package": PACKAGE in record["metadata"]}
        return [tag for tag, holds in found.items() if holds]

    @property
    def config_text(self) -> str:
        return str(self._data()["config_text"])

    @property
    def config_dict(self) -> dict[str, Any]:
        return parsed_design(self._data())

    @property
    def labels(self) -> dict[str, int]:
        return dict(self._data()["labels"])

    @property
    def task(self) -> str:
        """The id of the task that has made it, else of the first that has read it."""
        return str(self._data()["task"])

    @property
    def original_task(self) -> str:
        return self.task

    @property
    def url(self) -> str:
        """Where its file lies; "" before there is one."""
        return str(self._data()["url"])

    @property
    def framework(self) -> str:
        return str(self._data()["framework"])

    @property
    def published(self) -> bool:
        return bool(self._data()["published"])

    def get_logger(self) -> Logger:
        return logger_of(self._client, self.task)

    def get_weights(
        self, raise_on_error: bool = False, force_download: bool = False, extract_archive: bool = False
    ) -> str | None:
        """The path of a local copy of its file; with `extract_archive` of the folder that an archive holds.

        None on failure, with a warning, unless `raise_on_error`: then FoldlineError.
        """
        try:
            if not self.url:
                raise FoldlineError(f"model {self.name!r} ({self.id}) has no weights yet")
            path = fetch_url(self.url, self._client, force=force_download)
            if extract_archive and path.is_file() and path.name.lower().endswith(ENDINGS):
                path = unpacked(path)
        except (FoldlineError, OSError) as why:
            if raise_on_error:
                raise
            log.warning("the weights of model %s cannot be fetched: %s", self.id, why)
            return None
        return str(path)

    def get_weights_package(
        self,
        return_path: bool = False,
        raise_on_error: bool = False,
        force_download: bool = False,
        extract_archive: bool = True,
    ) -> str | list[Path] | None:
        """The files of a package: their paths, or with `return_path` the folder they lie in; as `get_weights` else.

        Raises ValueError for a model of one file.
        """
        if PACKAGE not in self._data()["metadata"]:
            raise ValueError(f"model {self.name!r} is one file, not a package: use get_weights")
        path = self.get_weights(raise_on_error, force_download, extract_archive)
        return path if path is None or return_path else sorted(Path(path).glob("*"))

    def publish(self) -> None:
        """It is for everybody's use, and its weights change no more."""
        if not self.published:
            self._change(published=True)

    def archive(self) -> None:
        """Out of sight: query_models leaves it out."""
        if not self._data()["archived"]:
            self._change(archived=True)

    def unarchive(self) -> None:
        if self._data()["archived"]:
            self._change(archived=False)

    def set_metadata(self, key: str, value: str, v_type: str | None = None) -> bool:
        """Keep a text under `key`, and the name of the type that `get_metadata_casted` is to turn it into."""
        kind = v_type if v_type in TYPES else type(value).__name__ if type(value).__name__ in TYPES else "str"
        self._change(metadata={**self._data()["metadata"], str(key): entry(value, kind)})
        return True

    def get_metadata(self, key: str) -> str | None:
        """As text; None when there is nothing under `key`."""
        return self.get_all_metadata().get(str(key), {}).get("value")

    def get_metadata_casted(self, key: str) -> Any:
        """In its type; None when there is nothing under `key`."""
        return self.get_all_metadata_casted().get(str(key))

    def get_all_metadata(self) -> dict[str, dict[str, str]]:
        """{key: {"value", "type"}}."""
        return metadata_of(self._data())

    def get_all_metadata_casted(self) -> dict[str, Any]:
        return {key: cast_entry(found) for key, found in self.get_all_metadata().items()}

    def set_all_metadata(self, metadata: Mapping[str, Mapping[str, str]], replace: bool = True) -> bool:
        """Keep these {key: {"value", "type"}}, and with `replace` no others."""
        ours = {key: found for key, found in self._data()["metadata"].items() if not replace or key in OURS}
        theirs = {str(key): entry(found.get("value"), str(found.get("type"))) for key, found in metadata.items()}
        self._change(metadata={**ours, **theirs})
        return True


def current_task() -> "Task | None":
    from foldline.task import Task

    return Task.current_task()
