"""A task's name, tags, status and the other lines about it."""

from collections.abc import Sequence
from typing import Any

from foldline.handle import TaskHandle


class WithDetails(TaskHandle):
    """Task's methods about what it is called and where it belongs."""

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def project(self) -> str:
        """The project's name, which is its id too."""
        return str(self.data["project"])

    def get_project_name(self) -> str:
        return self.project

    @property
    def task_type(self) -> str:
        return str(self.data["type"])

    @property
    def parent(self) -> str | None:
        return self.data["parent"]

    @property
    def comment(self) -> str:
        return str(self.data["comment"])

    @property
    def output_uri(self) -> str:
        return str(self.data["output_destination"])

    def set_name(self, name: str) -> None:
        self._edit(name=name)

    def rename(self, new_name: str) -> bool:
        self._edit(name=new_name)
        return True

    def set_comment(self, comment: str) -> None:
        self._edit(comment=comment)

    def set_parent(self, parent: "str | TaskHandle | None") -> None:
        self._edit(parent=parent.id if isinstance(parent, TaskHandle) else parent)

    def move_to_project(
        self,
        new_project_id: str | None = None,
        new_project_name: str | None = None,
        system_tags: Sequence[str] | None = None,
    ) -> bool:
        name = new_project_name or new_project_id
        if not name:
            raise ValueError("give the project's name")
        fields: dict[str, Any] = {"project": name}
        if system_tags is not None:
            fields["system_tags"] = list(system_tags)
        self._edit(**fields)
        return True

    def get_tags(self) -> list[str]:
        self.reload()
        return [str(tag) for tag in self.data["tags"]]

    def set_tags(self, tags: Sequence[str]) -> None:
        self._edit(tags=list(dict.fromkeys(tags)))

    def add_tags(self, tags: str | Sequence[str]) -> None:
        new = [tags] if isinstance(tags, str) else tags
        self.set_tags([*self.get_tags(), *new])

    def remove_tags(self, tags: str | Sequence[str]) -> None:
        gone = {tags} if isinstance(tags, str) else set(tags)
        self.set_tags([tag for tag in self.get_tags() if tag not in gone])

    def get_system_tags(self) -> list[str]:
        self.reload()
        return [str(tag) for tag in self.data["system_tags"]]

    def set_progress(self, progress: int) -> None:
        """0 to 100."""
        if not 0 <= int(progress) <= 100:
            raise ValueError(f"progress is between 0 and 100, not {progress!r}")
        self._edit(runtime={"progress": int(progress)})

    def get_progress(self) -> int | None:
        self.reload()
        return self.data["runtime"].get("progress")

    def set_base_docker(
        self,
        docker_cmd: str | None = None,
        docker_image: str | None = None,
        docker_arguments: str | Sequence[str] | None = None,
        docker_setup_bash_script: str | Sequence[str] | None = None,
    ) -> None:
        """The container that an agent which uses containers is to run the task in."""
        self._edit(container=container(docker_image or docker_cmd, docker_arguments, docker_setup_bash_script))

    def set_packages(self, packages: str | Sequence[str]) -> None:
        """The packages that the task's environment is made of: a list, or the path of a requirements file."""
        from foldline.scripts import requirements

        self._edit(script={"requirements": requirements(packages)})

    def export_task(self) -> dict[str, Any]:
        """The whole record of the task."""
        self.reload()
        return dict(self.data)


def container(
    image: str | None, arguments: str | Sequence[str] | None, setup_script: str | Sequence[str] | None
) -> dict[str, str]:
    """A task's `container`, of words or lists of them."""
    return {
        "image": image or "",
        "arguments": _joined(arguments, " "),
        "setup_script": _joined(setup_script, "\n"),
    }


def _joined(words: str | Sequence[str] | None, glue: str) -> str:
    return words if isinstance(words, str) else glue.join(words or ())
