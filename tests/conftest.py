"""What every test can ask for: databases, a run in which nothing is skipped unseen, and no process left behind."""

import signal
from pathlib import Path

import pytest

# The databases import the leftovers: pytest wants to be the first to import a plugin.
pytest_plugins = ["tests.support.leftovers", "tests.support.databases", "tests.support.must_run"]

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in one process where several share the work: a file, for the fixtures of its own; and all of the API's
    tests, because the last of them asks what the others have provoked."""
    tests = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(tests)
        group = "api" if place.parts[0] == "api" else str(place)
        item.add_marker(pytest.mark.xdist_group(group))
