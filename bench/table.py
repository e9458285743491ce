"""Renders the lines of `make bench` as a table for README.md: `python bench/table.py results.jsonl`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = ("case", "database", "n", "measured", "p50; p99 ms", "raw", "peer", "aim", "met")


def rendered(lines: Sequence[Mapping[str, Any]]) -> str:
    """A row for each line; of lines that say the same case and database the last one counts."""
    rows = {(line["case"], line["database"]): _row(line) for line in lines}
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *rows.values()))


def _row(line: Mapping[str, Any]) -> Sequence[str]:
    timed = f"{_number(line['p50_ms'])}; {_number(line['p99_ms'])}" if line["p50_ms"] is not None else ""
    peer = f"{line['peer']}: {_number(line['peer_rate'])}" if line["peer"] else ""
    aims = line.get("aims", {})
    # What is aimed at beyond the rate, the seconds and the times, which have columns of their own.
    further = [f"{name} {_number(line[name])}" for name in aims if name not in ("rate", "seconds", "p50_ms", "p99_ms")]
    measured = [f"{_number(line['rate'])}/s", f"{_number(line['seconds'])} s", *further]
    raw = [f"{_number(line['raw_rate'])}/s"] if line["raw_rate"] is not None else []
    raw += [f"{name.removeprefix('raw_')} {_number(line[name])}" for name in line if name in _raw_names(aims)]
    return (
        line["case"],
        line["database"],
        _number(line["n"]),
        ", ".join(measured),
        timed,
        ", ".join(raw),
        peer,
        ", ".join(f"{name} {'≥' if name == 'rate' else '≤'} {_number(aim)}" for name, aim in aims.items()),
        {True: "yes", False: "no", None: ""}[line.get("met")],
    )


def _raw_names(aims: Mapping[str, float]) -> set[str]:
    return {f"raw_{name}" for name in aims} - {"raw_rate"}


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text()
    print(rendered([json.loads(line) for line in text.splitlines() if line.startswith("{")]))
