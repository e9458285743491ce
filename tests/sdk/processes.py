"""Scripts in processes of their own, as users and agents start them."""

import os
import subprocess
import sys
from pathlib import Path

import foldline


def environment(**more: str) -> dict[str, str]:
    """This process's, with the SDK found whether or not it is installed."""
    sdk = str(Path(foldline.__file__).parents[1])
    paths = [sdk, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **more}


def run(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """`python arguments`, whatever comes of it."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment(**more), cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def python(*arguments: str, cwd: Path | None = None, **more: str) -> str:
    """What `python arguments` printed; it has to end well."""
    done = run(*arguments, cwd=cwd, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout
