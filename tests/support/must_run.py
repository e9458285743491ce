"""Where CI=true or FOLDLINE_MUST_RUN=1, a test that skips has failed, or a missing server could hide half the suite.

A test that may pass over a machine says so: `@pytest.mark.may_skip`.
"""

import os
from collections.abc import Generator

import pytest


def _everything_must_run() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("FOLDLINE_MUST_RUN") == "1"


def _refused(skip: object) -> str:
    reason = str(skip[-1]) if isinstance(skip, tuple) else str(skip)
    return f"must run here (CI=true or FOLDLINE_MUST_RUN=1), but: {reason}"


# Outside the skipping plugin's own wrapper, so that its verdict is the one seen here.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and _everything_must_run() and not item.get_closest_marker("may_skip"):
        report.outcome = "failed"
        report.longrepr = _refused(report.longrepr)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module that skips itself."""
    report = yield
    if report.skipped and _everything_must_run():
        report.outcome = "failed"
        report.longrepr = _refused(report.longrepr)
    return report
