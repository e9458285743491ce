"""How soon a server is there and what it holds; what the command line and the SDK cost before they do anything."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import psutil

from bench.line import Line, median
from bench.setting import ROOT, SQLITE, Setting
from tests.support.house import House

# Whoever says otherwise in the environment of the bench would have every process compile all sources anew.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def server(setting: Setting) -> Iterator[Line]:
    """From its start on a fresh file to its first ready answer, and its resident memory then.

    As it is where it was installed, which compiles the sources: here the first start does, and is not counted.
    """
    found: list[tuple[float, float]] = []
    for _ in range(setting.size(5, 1) + 1):
        with House(setting.fresh_folder(), env=COMPILED) as house:
            began = perf_counter()
            house.serve()
            seconds = perf_counter() - began
            assert house.server is not None
            found.append((seconds, psutil.Process(house.server.pid).memory_info().rss / 1e6))
    found = found[1:]
    yield Line(
        case="server",
        n=len(found),
        seconds=median([seconds for seconds, _ in found]),
        database=SQLITE,
        aims={"seconds": 0.8, "rss_mb": 90},
        more={"rss_mb": median([rss for _, rss in found])},
    )


def cli(setting: Setting) -> Iterator[Line]:
    """Whole processes, from start to exit, beside one that does nothing."""
    nothing = _seconds(setting, [sys.executable, "-c", "pass"])
    commands = {
        "foldline --help": [str(Path(sys.executable).with_name("foldline")), "--help"],
        "import foldline": [sys.executable, "-c", "import foldline"],
    }
    for name, command in commands.items():
        times = _seconds(setting, command)
        yield Line(
            case=name,
            n=len(times),
            seconds=sum(times),
            database="",
            times=times,
            aims={"p50_ms": 100},
            more={"bare_python_ms": median(nothing) * 1000},
        )


def _seconds(setting: Setting, command: Sequence[str]) -> list[float]:
    times: list[float] = []
    for _ in range(setting.size(20, 3) + 1):
        began = perf_counter()
        subprocess.run(command, cwd=ROOT, env={**os.environ, **COMPILED}, stdout=subprocess.DEVNULL, check=True)
        times.append(perf_counter() - began)
    return times[1:]  # the first one compiles
