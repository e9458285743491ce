"""What a look at a server finds: one line each, well or not, with the cure."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Status = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """`name` is stable, for programs; `about` says what was found, `cure` what to do where it is not `ok`."""

    name: str
    status: Status
    about: str
    cure: str = ""

    @classmethod
    def of(cls, name: str, about: str, *, warn: str = "", fail: str = "") -> "Finding":
        """Well, unless one of the two says what to do; the worse one counts."""
        return cls(name, "fail" if fail else "warn" if warn else "ok", about, fail or warn)

    @classmethod
    def told(cls, row: Mapping[str, Any]) -> "Finding":
        """As another process has sent it."""
        return cls(row["name"], row["status"], row["about"], row["cure"])

    def row(self) -> dict[str, str]:
        return self._asdict()


def size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
