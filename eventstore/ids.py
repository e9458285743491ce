"""Names that may become part of a path: hex digits and nothing else."""

import re

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def checked_id(task_id: str) -> str:
    """`task_id`, 32 hex digits. Raises ValueError."""
    if not _ID.fullmatch(task_id):
        raise ValueError(f"{task_id!r} is no id: 32 hex digits are expected")
    return task_id


def checked_digest(digest: str) -> str:
    """`digest`, 64 hex digits. Raises ValueError."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is no SHA-256: 64 hex digits are expected")
    return digest
