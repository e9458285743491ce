"""Attempts in containers, for agents started with --docker: the same folders under the same paths, inside an image."""

import logging
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from foldline.agent.processes import Process
from foldline.agent.workspace import SDK
from foldline.errors import FoldlineError

PYTHON: Final = "python"  # the image's own
SDK_INSIDE: Final = "/opt/foldline"
REMOVAL: Final = 30  # seconds
CANNOT_START: Final = 125  # docker's own failure, not the program's

log = logging.getLogger("foldline.agent")


class Contained:
    """The docker command of one attempt. Its end is not always the container's, which is therefore removed."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = name
        self.pid = process.pid

    def wait(self) -> int:
        code = self._process.wait()
        try:
            subprocess.run(
                ["docker", "rm", "--force", self._name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=REMOVAL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("container %s may be running still: %s", self._name, error)
        return code


def check() -> None:
    """Raises FoldlineError when there is no docker to run anything with."""
    if shutil.which("docker") is None:
        raise FoldlineError(
            "--docker needs the docker command, which is not on PATH: install it, or leave --docker out"
        )


def name_of(task_id: str, attempt: int) -> str:
    return f"foldline-{task_id}-{attempt}"


def command(
    container: Mapping[str, Any],
    inner: Sequence[str],
    *,
    name: str,
    cwd: Path,
    folders: Mapping[Path, str],
    variables: Sequence[str],
    requirements: Path | None,
) -> list[str]:
    """`docker run` of `inner` in the container's image.

    `folders` are shared under their own paths, as "rw" or "ro". The `variables` are passed by name, their values by
    the environment of the docker command, so that no token stands on a command line.
    """
    shared = [f"{folder}:{folder}:{mode}" for folder, mode in folders.items()]
    shared.append(f"{SDK / 'foldline'}:{SDK_INSIDE}/foldline:ro")
    given = shlex.split(str(container.get("arguments") or ""))
    has_network = any(each.split("=")[0] in ("--network", "--net") for each in given)
    return [
        "docker",
        "run",
        "--rm",
        "--init",
        "--name",
        name,
        # The server's address means the same inside.
        *([] if has_network else ["--network", "host"]),
        *(word for each in shared for word in ("--volume", each)),
        *(word for each in variables for word in ("--env", each)),
        "--workdir",
        str(cwd),
        *given,
        "--entrypoint",
        "sh",
        str(container["image"]),
        "-c",
        _steps(str(container.get("setup_script") or ""), inner, requirements),
    ]


def _steps(setup: str, inner: Sequence[str], requirements: Path | None) -> str:
    """What runs inside: the setup script, what the SDK and the task need, then the attempt itself."""
    lines = ["set -e", setup, f"{PYTHON} -c 'import httpx2' 2>/dev/null || {_install(_client_library())}"]
    if requirements is not None:
        lines.append(_install("-r", str(requirements)))
    return "\n".join(filter(None, [*lines, f"exec {shlex.join(inner)}"]))


def _install(*what: str) -> str:
    return shlex.join([PYTHON, "-m", "pip", "install", "--quiet", *what])


def _client_library() -> str:
    """The one package that the SDK needs inside, with the versions that it takes."""
    try:
        needed = metadata.requires("foldline") or []
    except metadata.PackageNotFoundError:
        needed = []
    return next((each for each in needed if each.startswith("httpx2")), "httpx2")
