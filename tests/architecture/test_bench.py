"""The benchmarks can be run at any time: each case is there and told, its lines are whole, and its data is sound."""

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from bench import run, table
from bench.cases import CASES
from bench.fill import fill
from bench.line import FIELDS, Line, middle
from controller.verify import verify_run
from domain.ids import derived
from eventstore.memory import MemoryStore

README = (Path(run.__file__).parent / "README.md").read_text(encoding="utf-8")
# Each path whose speed is promised, and the case that measures it.
PROMISED = {
    "sequential chain": "chain",
    "100 runs at once": "hundred",
    "through HTTP": "http",
    "ordered append": "append",
    "queue, 8 workers": "queue",
    "fan-out and join": "fan",
    "enqueue to start": "latency",
    "fold from columns": "fold",
    "replay decoded": "replay",
    "projection catch-up": "catch-up",
    "table rebuild": "rebuild",
    "function steps of the whole product": "product",
    "run of 100,000 steps": "large",
    "server ready, resident memory": "server",
    "--help, import foldline": "cli",
    "verify, hash and tree": "verify",
    "cost in a store of millions": "growth",
}


def test_every_promised_path_has_its_case_and_every_case_its_row():
    assert set(CASES) == set(PROMISED.values())
    assert set(re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)) == set(CASES)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What two of the cases print on SQLite, made as small as they go."""
    chosen = ["chain", "append", "--quick", "-n", "64", "--database", "sqlite", "--no-peers"]
    with redirect_stdout(StringIO()) as said:
        assert run.main([*chosen, "--folder", str(tmp_path_factory.mktemp("bench"))]) == 0
    return said.getvalue()


def test_a_case_prints_whole_lines(printed: str):
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["case"] for line in lines] == ["chain", "chain, projections live", "append by 8", "append by 64"]
    for line in lines:
        assert tuple(line)[: len(FIELDS)] == FIELDS
        assert line["n"] == 64
        assert line["rate"] == pytest.approx(64 / line["seconds"], rel=0.01)
        assert line["raw_rate"] > 0
        assert 0 < line["p50_ms"] <= line["p99_ms"]
        assert line["met"] in (True, False)


def test_its_lines_become_a_table(printed: str):
    rows = table.rendered([json.loads(line) for line in printed.splitlines()]).splitlines()
    assert len(rows) == 2 + 4
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith("| chain | sqlite | 64 |")


@pytest.mark.parametrize(
    ("seconds", "raw_rate", "met"),
    [
        pytest.param(1.0, 1_000.0, True, id="the aim"),
        pytest.param(1.1, 1_000.0, False, id="less"),
        pytest.param(2.0, 80.0, True, id="less, but most of what can be reached here"),
        pytest.param(2.2, 80.0, False, id="less than that"),
    ],
)
def test_an_aim_is_met_by_itself_or_by_the_limit_of_the_machine(seconds: float, raw_rate: float, met: bool):
    line = Line(case="c", n=100, seconds=seconds, database="sqlite", raw_rate=raw_rate, aims={"rate": 100})
    assert line.figures()["met"] is met


def test_a_time_is_met_when_it_is_no_longer_than_the_aim():
    line = Line(case="c", n=1, seconds=0.9, database="sqlite", aims={"seconds": 0.8})
    assert line.figures()["met"] is False


def test_the_quickest_peer_is_the_one_that_is_named():
    line = Line(case="c", n=1, seconds=1, database="sqlite", peers={"slow": 1.0, "quick": 2.0})
    assert line.figures()["peer"] == "quick"
    assert line.figures()["peers"] == {"slow": 1.0, "quick": 2.0}


def test_the_middle_round_counts():
    rounds = [Line(case="c", n=1, seconds=seconds, database="sqlite") for seconds in (3.0, 1.0, 2.0)]
    assert middle(rounds).seconds == 2.0


def test_a_filled_store_holds_whole_runs_that_can_be_verified():
    store = MemoryStore()
    head = fill(store, 300)
    assert fill(store, head + 1) == store.head() > head >= 300
    runs = [row.run_id for row in store.read(limit=1_000) if row.type == "RunCreated"]
    assert runs == [derived("bench", "fill", number) for number in range(1, len(runs) + 1)]
    for run_id in runs:
        verified = verify_run(store, str(run_id))
        assert verified.ok, verified.differences
