"""Where ClearML's users ask whether an agent runs them."""

from foldline import process


def running_remotely() -> bool:
    """Whether an agent started this process."""
    return process.given_by_agent()
