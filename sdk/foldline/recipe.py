"""What a task is run with: its code, packages and container."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from foldline import process, scripts, types
from foldline.handle import TaskHandle
from foldline.types import type_word


class WithRecipe(TaskHandle):
    """Task's methods about what it runs."""

    # Asked for before Task.init, as ClearML has it: packages by name with their version or None.
    _required: ClassVar[dict[str, str | None]] = {}
    _left_out: ClassVar[set[str]] = set()
    _frozen: ClassVar[bool | str | Path] = False

    @classmethod
    def add_requirements(cls, package_name: str, package_version: str | None = None) -> None:
        """Before Task.init: the task's environment is to have this package, or all of a requirements file.

        `package_version` is a version, or a comparison such as ">=2".
        """
        if not Path(package_name).is_file():
            WithRecipe._required[package_name] = package_version
            return
        for line in Path(package_name).read_text("utf-8").splitlines():
            if wanted := line.partition(" #")[0].strip():
                WithRecipe._required[wanted] = None

    @classmethod
    def ignore_requirements(cls, package_name: str) -> None:
        """Before Task.init: leave this package out of what the environment is made of."""
        WithRecipe._left_out.add(str(package_name))

    @classmethod
    def force_requirements_env_freeze(cls, force: bool = True, requirements_file: str | Path | None = None) -> None:
        """Before Task.init: the task's environment is this process's, package by package, or the file's."""
        WithRecipe._frozen = requirements_file or bool(force)

    @classmethod
    def force_store_standalone_script(cls, force: bool = True) -> None:
        """Nothing: a script without a project travels by itself, one with a project travels with it."""

    def set_packages(self, packages: str | Path | Sequence[str]) -> None:
        """The packages that the task's environment is made of: a list, or the path of a requirements file.

        In a task that an agent runs the environment stands already, and nothing changes.
        """
        if not process.given_by_agent():
            self._edit(script={"requirements": requirements(packages)})

    def get_requirements(self) -> dict[str, Any]:
        """{"pip": the text of a requirements file}; empty when no package is asked for."""
        self.reload()
        return dict(self.data["script"]["requirements"])

    def set_repo(self, repo: str | None = None, branch: str | None = None, commit: str | None = None) -> None:
        """Where the code is checked out from; nothing changes in a task that an agent runs."""
        if not process.given_by_agent():
            self._edit_script(repository=repo, branch=branch, commit=commit)

    def set_script(
        self,
        repository: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        diff: str | None = None,
        working_dir: str | None = None,
        entry_point: str | None = None,
        binary: str | None = None,
    ) -> None:
        """Change what is given; an empty text clears. A branch takes the place of a tag."""
        self._edit_script(
            repository=repository,
            branch=branch,
            tag=None if branch is None else "",
            commit=commit,
            diff=diff,
            working_dir=working_dir,
            entry_point=entry_point,
            binary=binary,
        )

    def get_script(self) -> dict[str, str | None]:
        """working_dir, entry_point, branch and repository."""
        script = self.data.script
        return {name: script[name] for name in ("working_dir", "entry_point", "branch", "repository")}

    def set_task_type(self, task_type: "types.TaskTypes | str") -> None:
        self._edit(type=type_word(task_type))

    def set_base_docker(
        self,
        docker_cmd: str | None = None,
        docker_image: str | None = None,
        docker_arguments: str | Sequence[str] | None = None,
        docker_setup_bash_script: str | Sequence[str] | None = None,
    ) -> None:
        """The container that an agent which uses containers is to run the task in.

        `docker_cmd` is an image, with arguments after it.
        """
        image, _, arguments = (docker_image or docker_cmd or "").strip().partition(" ")
        self._edit(container=container(image, docker_arguments or arguments, docker_setup_bash_script))

    def get_base_docker(self) -> str | None:
        """The image, with its arguments; None without one."""
        said = self.data["container"]
        return " ".join(word for word in (said["image"], said["arguments"]) if word) or None

    def _edit_script(self, **fields: str | None) -> None:
        given = {name: str(value) for name, value in fields.items() if value is not None}
        if given:
            self._edit(script=given)


def container(
    image: str | None, arguments: str | Sequence[str] | None, setup_script: str | Sequence[str] | None
) -> dict[str, str]:
    """A task's `container`, of words or lists of them."""
    return {
        "image": image or "",
        "arguments": _joined(arguments, " "),
        "setup_script": _joined(setup_script, "\n"),
    }


def requirements(packages: bool | str | Path | Sequence[str] | None, file: str | Path | None = None) -> dict[str, Any]:
    """`script.requirements` from a list of packages or the path of a requirements file; {} asks for none.

    A text that names no file is one package. Raises DefinitionError for a file there is not.
    """
    if isinstance(packages, str) and packages and not packages.endswith(".txt") and not Path(packages).is_file():
        packages = [packages]
    if isinstance(packages, Path):
        packages = str(packages)
    return scripts.requirements(packages, None if file is None else str(file))


def asked_requirements() -> dict[str, Any]:
    """What add_requirements, ignore_requirements and force_requirements_env_freeze have asked for; {} for nothing."""
    lines: dict[str, str] = {}
    frozen = WithRecipe._frozen  # pyright: ignore[reportPrivateUsage]
    if frozen and not isinstance(frozen, bool):
        lines = {_name(line): line for line in requirements(Path(frozen))["pip"].splitlines() if line.strip()}
    elif frozen:
        lines = _installed()
    for name, version in WithRecipe._required.items():  # pyright: ignore[reportPrivateUsage]
        lines[_name(name)] = name if not version else f"{name}{version if version[0] in '<>=!~' else f'=={version}'}"
    for name in WithRecipe._left_out:  # pyright: ignore[reportPrivateUsage]
        lines.pop(_name(name), None)
    return {"pip": "\n".join(lines.values())} if lines else {}


def _installed() -> dict[str, str]:
    from importlib import metadata

    found = {(one.metadata["Name"] or ""): one.version for one in metadata.distributions()}
    return {_name(name): f"{name}=={version}" for name, version in sorted(found.items()) if name}


def _name(requirement: str) -> str:
    """The package's name, as all its spellings have it."""
    end = next((at for at, letter in enumerate(requirement) if letter in "<>=!~[; @"), len(requirement))
    return requirement[:end].strip().lower().replace("_", "-").replace(".", "-")


def _joined(words: str | Sequence[str] | None, glue: str) -> str:
    return words if isinstance(words, str) else glue.join(words or ())
