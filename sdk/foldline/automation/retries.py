"""How often a failed step runs again, and how long it waits before."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Retry:
    """`retry_on_failure=Retry(times=3, delay=10, factor=2, jitter=0.1, max_delay=300)`.

    A failed step runs again up to `times`, after `delay` seconds; each wait is `factor` times the one before and at
    most `max_delay`, with up to `jitter` of it (0.1 is a tenth) added by chance.
    """

    times: int
    delay: float = 0.0
    factor: float = 1.0
    jitter: float = 0.0
    max_delay: float | None = None


Callback = Callable[..., Any]
RetryOnFailure = int | Retry | Callback | None


def retry_of(given: RetryOnFailure) -> tuple[Mapping[str, Any] | None, Callback | None]:
    """What a step's `retry` is, and what its host is asked instead. Raises TypeError for what is neither."""
    if given is None:
        return None, None
    if isinstance(given, Retry):
        return asdict(given), None
    if isinstance(given, int):
        return {"times": int(given)}, None
    if callable(given):
        return None, given
    raise TypeError(f"retry_on_failure is a number, a Retry, or a function, not {given!r}")
