"""Code that a task names by repository: checked out of a mirror of it, which this machine keeps."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from foldline.agent.tools import Said, Tools, without_credentials
from foldline.agent.workspace import CannotRun

PATIENCE: Final = 900.0  # seconds for one step of git
COMMIT: Final = re.compile(r"[0-9a-fA-F]{7,64}")
# Nobody is there to answer; who may read what is a matter of the machine's own configuration.
SILENT: Final = {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "GIT_ADVICE": "0", "LC_ALL": "C"}
SILENT_SSH: Final = "ssh -o BatchMode=yes"


def check_out(cache: Path, script: Mapping[str, Any], work: Path, tools: Tools) -> str:
    """Make `work` a clone of the script's repository at its commit, else tag, else branch. Returns the commit.

    `script.diff` is applied to it. Raises CannotRun with what git said, and Stopped.
    """
    git = _Git(str(script["repository"]), tools)
    names = [str(script.get(each) or "") for each in ("commit", "tag", "branch")]
    for word in (git.url, *names):
        if word.startswith("-"):
            raise CannotRun(f"{word!r} is no name of a repository, branch, tag or commit")
    mirror = cache / f"{hashlib.sha256(git.url.encode()).hexdigest()[:32]}.git"
    lock = tools.lock(mirror.with_suffix(".lock"), fcntl.LOCK_EX)
    try:
        git.refresh(mirror, names[0], lock)
        commit = git.resolve(mirror, *names)
        # What it shares with the mirror it has as links of its own: the mirror may change under it.
        git.do("clone", "--quiet", "--no-checkout", "--", str(mirror), str(work), cwd=cache)
    finally:
        os.close(lock)
    git.do("remote", "set-url", "origin", git.url, cwd=work)
    git.do("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit, cwd=work)
    if (work / ".gitmodules").is_file():
        git.do("submodule", "update", "--quiet", "--init", "--recursive", cwd=work)
    if script.get("diff"):
        _apply(str(script["diff"]), work, git)
    tools.say(f"checked out {without_credentials(git.url)} at {commit}")
    return commit


def _apply(diff: str, work: Path, git: "_Git") -> None:
    file = work.parent / "script.diff"
    file.write_text(diff if diff.endswith("\n") else f"{diff}\n", encoding="utf-8")
    said = git.try_to("apply", "--whitespace=nowarn", str(file), cwd=work)
    if said.code != 0:
        raise CannotRun(f"the task's diff does not apply to what was checked out: {said.in_short()}")


class _Git:
    """git, for one repository and one attempt."""

    def __init__(self, url: str, tools: Tools) -> None:
        path = Path(url).expanduser()
        self.url = str(path.resolve()) if path.is_dir() else url
        self._tools = tools
        self._settings = {**SILENT, "GIT_SSH_COMMAND": tools.environment.get("GIT_SSH_COMMAND") or SILENT_SSH}
        if shutil.which("git", path=tools.environment.get("PATH")) is None:
            raise CannotRun("the task's code comes from a repository, and git is not installed where the agent runs")

    def refresh(self, mirror: Path, commit: str, lock: int) -> None:
        """Bring the mirror up to date; a commit that it has already asks nobody."""
        if not (mirror / "HEAD").is_file() or not (mirror / "complete").is_file():
            shutil.rmtree(mirror, ignore_errors=True)
            self.do("clone", "--quiet", "--mirror", "--", self.url, str(mirror), cwd=mirror.parent, lock=lock)
            (mirror / "complete").touch()
        elif not (commit and self.known(mirror, commit)):
            self.do("fetch", "--quiet", "--prune", "--force", "origin", cwd=mirror, lock=lock)
        if COMMIT.fullmatch(commit) and not self.known(mirror, commit):
            # On no branch or tag, it may be had by its number, which not every server allows.
            self.try_to("fetch", "--quiet", "origin", commit, cwd=mirror, lock=lock)

    def resolve(self, mirror: Path, commit: str, tag: str, branch: str) -> str:
        """The full number of the commit that is meant. Raises CannotRun when there is none."""
        branch = branch.removeprefix("refs/heads/").removeprefix("origin/")
        if commit:
            what, names = f"commit {commit!r}", [commit]
        elif tag:
            what, names = f"tag {tag!r}", [f"refs/tags/{tag.removeprefix('refs/tags/')}"]
        elif branch:
            what, names = f"branch {branch!r}", [f"refs/heads/{branch}"]
        else:
            what, names = "commit", ["HEAD"]
        for name in names:
            if found := self.known(mirror, name):
                return found
        raise CannotRun(f"there is no {what} in {without_credentials(self.url)}; push it, or correct the script")

    def known(self, mirror: Path, name: str) -> str:
        """The full number of the commit `name`; "" when the mirror has none such."""
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"],
            cwd=mirror,
            env={**self._tools.environment, **self._settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def do(self, *arguments: str, cwd: Path, lock: int | None = None) -> None:
        """Raises CannotRun when git refuses."""
        said = self.try_to(*arguments, cwd=cwd, lock=lock)
        if said.code != 0:
            raise CannotRun(f"{without_credentials(self.url)} could not be checked out: {said.in_short()}")

    def try_to(self, *arguments: str, cwd: Path, lock: int | None = None) -> Said:
        return self._tools.run(["git", *arguments], cwd=cwd, patience=PATIENCE, environment=self._settings, lock=lock)
