"""One measurement: what `make bench` prints as a line of JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FIELDS = (
    "case", "n", "seconds", "rate", "p50_ms", "p99_ms", "database", "clients", "raw_rate", "peer", "peer_rate",
)  # fmt: skip
# Of the raw limit, measured beside it, a figure that keeps below its aim must still reach this part.
PART_OF_RAW = 0.6
DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`rate` is n a second. `aims` hold what is to be reached, by the name of the figure: a rate at least, all else at
    most. `more` are further figures of the case; `raw_<figure>` there is the raw limit of one that is no rate."""

    case: str
    n: int
    seconds: float
    database: str
    times: Sequence[float] = ()  # seconds that each one took
    clients: int = 1
    raw_rate: float | None = None
    peers: Mapping[str, float] = field(default_factory=dict[str, float])  # rates
    aims: Mapping[str, float] = field(default_factory=dict[str, float])
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def rate(self) -> float:
        return self.n / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, Any]:
        """All of it by name, those of FIELDS first and always there; a figure that the case has not is null."""
        peer = max(self.peers, key=lambda name: self.peers[name]) if self.peers else None
        shown = {
            "case": self.case,
            "n": self.n,
            "seconds": self.seconds,
            "rate": self.rate,
            "p50_ms": percentile(self.times, 50),
            "p99_ms": percentile(self.times, 99),
            "database": self.database,
            "clients": self.clients,
            "raw_rate": self.raw_rate,
            "peer": peer,
            "peer_rate": self.peers[peer] if peer else None,
            **self.more,
        }
        if len(self.peers) > 1:
            shown["peers"] = self.peers
        if self.aims:
            shown["aims"] = self.aims
            shown["met"] = all(_reached(name, aim, shown) for name, aim in self.aims.items())
        return {name: _rounded(value) for name, value in shown.items()}

    def __str__(self) -> str:
        return json.dumps(self.figures())


def percentile(seconds: Sequence[float], part: int) -> float | None:
    """In milliseconds; None of nothing."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[min(len(ordered) * part // 100, len(ordered) - 1)] * 1000


def middle(lines: Sequence[Line]) -> Line:
    """The round whose rate is the median, of the lower two when their number is even."""
    return sorted(lines, key=lambda line: line.rate)[(len(lines) - 1) // 2]


def median(figures: Sequence[float]) -> float:
    return statistics.median(figures)


def _reached(name: str, aim: float, figures: Mapping[str, Any]) -> bool:
    """Whether the aim is reached, or the said part of what the raw driver can do here, if that is less."""
    found = figures[name]
    if name == "rate":
        raw = figures["raw_rate"]
        return found >= (aim if raw is None else min(aim, raw * PART_OF_RAW))
    raw = figures.get(f"raw_{name}")
    return found <= (aim if raw is None else max(aim, raw / PART_OF_RAW))


def _rounded(value: Any) -> Any:
    """With as many digits as a measurement deserves."""
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if not isinstance(value, float):
        return value
    return round(value) if abs(value) >= 1000 else float(f"{value:.{DIGITS}g}")
