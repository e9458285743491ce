"""What stands between a claim and its process: sources or a checkout, and packages or a container."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foldline.agent import containers, environments, repositories, workspace
from foldline.agent.environments import Environment
from foldline.agent.tools import Tools
from foldline.agent.workspace import CannotRun, Workspace

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Premises:
    """Where one attempt runs."""

    space: Workspace
    root: Path | None  # what a function is imported from; None when its module is installed
    checkout: Path | None  # a function's repository, which is not where it is defined
    packages: Environment | None = None  # the agent's own when None
    container: Mapping[str, Any] | None = None
    requirements: Path | None = None  # for the container to install

    @property
    def needs_own_process(self) -> bool:
        """Whether a function cannot be forked from a process that imported it for other attempts."""
        return self.checkout is not None or self.container is not None

    @property
    def python(self) -> str:
        """The interpreter."""
        if self.container is not None:
            return containers.PYTHON
        return sys.executable if self.packages is None else self.packages.python

    def variables(self, shared: Mapping[str, str], paths: Sequence[Path | None]) -> dict[str, str]:
        """What a process there needs in its environment; `paths` are the first that Python searches."""
        if self.container is not None:
            return {"PYTHONPATH": os.pathsep.join([*(str(path) for path in paths if path), containers.SDK_INSIDE])}
        return {} if self.packages is None else self.packages.variables(shared)

    def release(self) -> None:
        """Let go of its environment, which may be dropped then."""
        if self.packages is not None:
            self.packages.release()


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares attempts of one agent."""

    cache: Path  # environments and repositories, shared with other agents of this machine
    docker: bool

    def prepare(
        self,
        task: Json,
        folder: Path,
        tools: Tools,
        fetch: Callable[[str], Path],
        record: Callable[[Json], None],
    ) -> Premises:
        """Raises CannotRun, and Stopped when the attempt was stopped meanwhile.

        `fetch` unpacks a snapshot by its digest; `record` keeps something in the task's runtime.
        """
        script: Json = task.get("script") or {}
        premises = self._code(script, folder, tools, fetch, record)
        container: Json = task.get("container") or {}
        lines = environments.wanted(script.get("requirements") or {}, premises.space)
        if self.docker and container.get("image"):
            requirements = environments.write(lines, folder / "requirements.txt") if lines else None
            return replace(premises, container=container, requirements=requirements)
        if container.get("image"):
            tools.say(f"not run in the container {container['image']}: this agent was started without --docker")
        if not lines or environments.satisfied(lines):
            return premises
        packages = environments.get(self.cache / "environments", lines, premises.space, tools)
        return replace(premises, packages=packages)

    def _code(
        self,
        script: Json,
        folder: Path,
        tools: Tools,
        fetch: Callable[[str], Path],
        record: Callable[[Json], None],
    ) -> Premises:
        is_function, snapshot = bool(script.get("function")), script.get("source")
        if not script.get("repository"):
            _check_names(script)
            unpacked = fetch(str(snapshot)) if snapshot else None
            space = workspace.prepare(folder, script, unpacked)
            return Premises(space, unpacked, None)
        work = folder / "work"
        commit = repositories.check_out(self.cache / "repositories", script, work, tools)
        record({"commit": commit})
        space = workspace.in_folder(work, script)
        if is_function and (snapshot or script.get("pickle")):
            return Premises(space, fetch(str(snapshot)) if snapshot else None, work)
        return Premises(space, work, work)


def _check_names(script: Json) -> None:
    for name in ("branch", "tag", "commit"):
        if script.get(name):
            raise CannotRun(
                f"the task names the {name} {script[name]!r} but no repository to take it from: set script.repository, "
                "or leave the sources that travel with it as they are"
            )


def contained(premises: Premises, inner: list[str], folder: Path, cwd: Path, key: tuple[str, int]) -> list[str]:
    """`inner` as the command of a container that sees what the attempt sees; it begins with the image's own Python."""
    assert premises.container is not None, "only for attempts that run in one"
    folders = {folder: "rw"}
    if premises.root is not None and not premises.root.is_relative_to(folder):
        folders[premises.root] = "ro"
    return containers.command(
        premises.container,
        inner,
        name=containers.name_of(*key),
        cwd=cwd,
        folders=folders,
        variables=(*workspace.SHARED, *workspace.OWN, "PYTHONPATH"),
        requirements=premises.requirements,
    )
