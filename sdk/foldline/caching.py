"""Where this package keeps what it can fetch again: FOLDLINE_CACHE, else the user's cache folder."""

import os
import tempfile
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """A folder of the cache, made if need be."""
    for base in _candidates():
        folder = base.joinpath(*parts)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    # Accounts without a writable home exist: services, containers with a foreign user id.
    return Path(tempfile.mkdtemp(prefix="foldline-"))


def _candidates() -> list[Path]:
    if chosen := os.environ.get("FOLDLINE_CACHE"):
        return [Path(chosen)]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(home) / "foldline"]
