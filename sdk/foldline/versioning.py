"""Which commit a script was started from: its sources travel as a snapshot, but builds find tasks by their commit."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from foldline.sources import git

# Where the task's runtime holds it, and what ClearML's `script` calls it.
KEY: Final = "git"


def of(path: Path) -> dict[str, Any] | None:
    """Repository, branch and commit of the work tree that `path` lies in, and the changes that git lists.

    None when it lies in none, or when nothing is committed there.
    """
    said = git(path.parent, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    lines = (said or "").splitlines()
    heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    commit = heads.get("branch.oid", "")
    if not commit or commit.startswith("("):
        return None
    branch = heads.get("branch.head", "")
    return {
        "repository": _without_secrets(git(path.parent, "remote", "get-url", "origin") or ""),
        "branch": "" if branch.startswith("(") else branch,
        "commit": commit,
        "diff": "\n".join(line for line in lines if not line.startswith("# ")),
    }


def shown(script: dict[str, Any], runtime: dict[str, Any]) -> dict[str, Any]:
    """`script` as ClearML has it: of a snapshot, with the commit that it was made from."""
    found = runtime.get(KEY)
    return {**script, **found} if found and not script.get("repository") else script


def _without_secrets(url: str) -> str:
    """Credentials in an address stay out of events."""
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
