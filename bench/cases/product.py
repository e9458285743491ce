"""The whole product: a server process, an agent process with its spawner, functions that do nothing."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from time import perf_counter
from typing import Any

from bench.line import Line
from bench.setting import Setting
from foldline.client import Json
from tests.support.house import House

SLOTS = 2
WAIT = 600.0  # seconds for the whole run
SCRIPT = "project/pipeline.py"
PIPELINE = """
import sys

from foldline import PipelineController


def nothing():
    return None


def build(chained, count):
    pipe = PipelineController(name="nothing", project="bench", version="1.0.0")
    pipe.set_default_execution_queue("default")
    for number in range(count):
        parents = [f"s{number - 1}"] if chained and number else []
        pipe.add_function_step(f"s{number}", nothing, parents=parents)
    return pipe


if __name__ == "__main__":
    build(sys.argv[1] == "chain", int(sys.argv[2])).start()
"""


def product(setting: Setting) -> Iterator[Line]:
    """Function steps side by side, and in a row: what is between one step's end and the next one's first line."""
    for database in setting.databases:
        with House(setting.fresh_folder(), setting.fresh(database)) as house:
            house.serve()
            house.agent("-q", "default", "--slots", str(SLOTS))
            # A project of its own: each attempt gets a copy of all that lies beside the script.
            (house.folder / "project").mkdir()
            (house.folder / SCRIPT).write_text(PIPELINE)
            _run(house, "wide", SLOTS)  # the first one makes the spawner
            n = setting.size(1_000, 20)
            begun, ends, _ = _times(_run(house, "wide", n))
            seconds = max(ends) - min(begun)
            yield Line(case="product, wide", n=n, seconds=seconds, database=database, clients=SLOTS, aims={"rate": 500})
            n = setting.size(200, 10)
            begun, ends, codes = _times(_run(house, "chain", n))
            gaps = [code - end for end, code in zip(ends, codes[1:], strict=False)]
            yield Line(
                case="product, chain",
                n=n,
                seconds=max(ends) - min(begun),
                database=database,
                times=gaps,
                aims={"p50_ms": 25},
            )


def _run(house: House, kind: str, count: int) -> Sequence[Json]:
    """The events of a run of so many steps, after it has completed."""
    began = perf_counter()
    done = house.run_python(SCRIPT, kind, str(count), timeout=WAIT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    run_id = re.findall("[0-9a-f]{32}", done.stdout)[-1]
    ended = house.wait(run_id, WAIT - (perf_counter() - began))
    if ended["status"] != "completed":
        raise RuntimeError(f"the run is {ended['status']}: {ended['reason']}")
    return list(house.client.runs.history(run_id))


def _times(events: Sequence[Json]) -> tuple[list[float], list[float], list[float]]:
    """When the steps were handed out, when their ends were recorded, when their code began: in seconds."""
    begun = [_seconds(event["recorded_at"]) for event in events if event["type"] == "TaskStarted"]
    ended = [event for event in events if event["type"] == "TaskCompleted"]
    return begun, [_seconds(event["recorded_at"]) for event in ended], [_began(event) for event in ended]


def _began(event: Json) -> float:
    data: dict[str, Any] = event["data"]
    began = data["began_at"]
    return began / 1e6 if isinstance(began, int) else _seconds(began)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
