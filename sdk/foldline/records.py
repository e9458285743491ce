"""A task's record as ClearML's users read it: `task.data.script.branch`, `task.data.hyperparams["Args"].lr.value`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from foldline import versioning

# ClearML's names, by where they stand, of what is called otherwise here.
ALIASES: Final[dict[str, str]] = {
    "hyperparams": "hyperparameters",
    "status_message": "reason",
    "status_reason": "reason",
    "created": "created_at",
    "started": "started_at",
    "completed": "ended_at",
    "version_num": "commit",
    "setup_shell_script": "setup_script",
    "docker_cmd": "image",
}
TIMES: Final = ("created", "started", "completed", "last_update", "last_change", "status_changed")


class Record(dict[str, Any]):
    """A dict whose entries are attributes too, under Foldline's names and ClearML's."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return field(self, name)
        except KeyError:
            raise AttributeError(f"a task's record has no {name!r} here: it has {', '.join(self)}") from None

    def __getitem__(self, name: str) -> Any:
        return _wrapped(super().__getitem__(name))

    def get(self, name: str, default: Any = None) -> Any:
        return _wrapped(super().get(name, default))

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]

    def to_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return dict(self)


def field(record: Mapping[str, Any], name: str) -> Any:
    """What the record calls `name`, or ClearML does; times of ClearML's names are datetimes. Raises KeyError."""
    if name == "script" and "runtime" in record:
        return Record(versioning.shown(record["script"], record["runtime"]))
    if name in record:
        return _wrapped(record[name])
    if name in TIMES and "created_at" in record:
        return _time(record, name)
    if name in ALIASES and ALIASES[name] in record:
        return _wrapped(record[ALIASES[name]])
    if name == "execution" and "queue" in record:
        return Record(queue=record["queue"], artifacts=list(cast(Any, record.get("artifacts") or {}).values()))
    if name == "output" and "output_destination" in record:
        return Record(destination=record["output_destination"])
    raise KeyError(name)


def inside(record: Any, path: str) -> Any:
    """What stands under a dotted name such as `script.branch`; None when there is nothing. Names may hold dots."""
    if not isinstance(record, Mapping):
        return None
    found = cast(Mapping[str, Any], record)
    if path in found:
        return found[path]
    for cut in (at for at, letter in enumerate(path) if letter == "."):
        try:
            inner = field(found, path[:cut])
        except KeyError:
            continue
        return inside(inner, path[cut + 1 :])
    try:
        return field(found, path)
    except KeyError:
        return None


def moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _time(record: Mapping[str, Any], name: str) -> datetime | None:
    if name in ALIASES:
        return moment(record[ALIASES[name]])
    times = [moment(record.get(at)) for at in ("created_at", "started_at", "ended_at")]
    return max((one for one in times if one is not None), default=None)


def _wrapped(value: Any) -> Any:
    return Record(cast(dict[str, Any], value)) if isinstance(value, dict) else value
