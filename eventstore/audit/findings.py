"""What a verification came to."""

from dataclasses import dataclass, field
from typing import Any

MOST = 1_000  # findings that are told one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was signed. `kind` is for programs, `said` for people."""

    kind: str
    shard: int
    position: int | None = None
    stream: str | None = None
    said: str

    @property
    def place(self) -> str:
        where = "" if self.position is None else f"{self.shard}-{self.position}"
        return " ".join(part for part in (where, self.stream) if part) or f"shard {self.shard}"


@dataclass(kw_only=True)
class Report:
    """How much was looked at, how much of it is signed, and what is wrong. It is well when there are no findings."""

    events: int = 0
    signed: int = 0
    unsigned: int = 0
    archived: int = 0
    checkpoints: int = 0
    contents: int = 0
    kept: int = 0
    """The checkpoints kept elsewhere that were compared."""
    keys: list[str] = field(default_factory=list[str])
    """Those that have signed."""
    findings: list[Finding] = field(default_factory=list[Finding])
    untold: int = 0
    """Findings beyond the first thousand."""

    def find(self, kind: str, shard: int, said: str, *, position: int | None = None, stream: str | None = None) -> None:
        if len(self.findings) < MOST:
            self.findings.append(Finding(kind=kind, shard=shard, position=position, stream=stream, said=said))
        else:
            self.untold += 1

    def sort(self) -> None:
        self.findings.sort(key=lambda one: (one.shard, one.position is None, one.position or 0))


def report_from(told: dict[str, Any]) -> Report:
    """From what `dataclasses.asdict` made of one."""
    findings = [Finding(**one) for one in told["findings"]]
    return Report(**{name: value for name, value in told.items() if name != "findings"}, findings=findings)
