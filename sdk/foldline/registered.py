"""Registered artifacts: tables that a script goes on changing, stored as they are when it flushes and when it ends."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

log = logging.getLogger("foldline")


@dataclass(slots=True)
class Registered:
    artifact: Any
    metadata: Mapping[str, Any] | None
    upload: Callable[[], Any]


_by_task: dict[str, dict[str, Registered]] = {}


def of(task_id: str) -> dict[str, Registered]:
    return _by_task.setdefault(task_id, {})


def upload(task_id: str) -> None:
    """Store what is registered on that task as it is now."""
    for name, one in list(of(task_id).items()):
        try:
            one.upload()
        except Exception:  # neither a flush nor the task's outcome may hang on one table
            log.exception("the registered artifact %r could not be stored", name)


def upload_all() -> None:
    """Store what is registered in this process, for the last time."""
    for task_id in list(_by_task):
        upload(task_id)
    _by_task.clear()
