"""The peers: each case of theirs is a script of its own, run by the interpreter of .venv-bench, that prints JSON."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SECONDS = 300


@dataclass(frozen=True)
class Peers:
    """`python` has them installed; None leaves them out."""

    python: Path | None = None

    def rates(self, script: str, case: str, url: str, n: int, **more: object) -> Mapping[str, float]:
        """{name and version: rate} of one case, on the empty database at `url`."""
        found = self.run(script, case, url, n, **more)
        return {str(found["peer"]): float(found["rate"])} if found else {}

    def run(self, script: str, case: str, url: str, n: int, **more: object) -> Mapping[str, Any]:
        """What the script printed; nothing when there are no peers, or when it failed, which is told."""
        if self.python is None:
            return {}
        options = [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
        command = [str(self.python), str(ROOT / "bench" / "peers" / f"{script}.py"), case, url, str(n), *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            print(f"bench: {script} {case} took more than {SECONDS} s and is left out", file=sys.stderr)
            return {}
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            print(f"bench: {script} {case} is left out: {said[0]}", file=sys.stderr)
            return {}
        return json.loads(done.stdout.splitlines()[-1])


def installed_peers() -> Peers:
    if not PYTHON.exists():
        print("bench: the peers are not installed (make bench does it), so they are left out", file=sys.stderr)
        return Peers()
    return Peers(PYTHON)
