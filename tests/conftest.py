"""What every test can ask for: databases, a run in which nothing is skipped unseen, and no process left behind."""

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# The databases import the leftovers: pytest wants to be the first to import a plugin.
pytest_plugins = ["tests.support.leftovers", "tests.support.databases", "tests.support.must_run"]

# A run in the background of a shell inherits that Ctrl-C is ignored, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG = ("tests/api/", "tests/e2e/", "tests/outcomes/", "tests/sdk/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Where several processes share the work, a file stays in one, for the fixtures of its own; and so do all of the
    API's tests, because the last of them asks what the others have provoked."""
    config.option.loadscopereorder = False  # not by their numbers: few tests may take long
    return ByPlace(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that the processes come to their ends together."""
    items.sort(key=lambda item: next((n for n, place in enumerate(LONG) if place in item.nodeid), len(LONG)))


class ByPlace(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/api" if file.startswith("tests/api/") else file
