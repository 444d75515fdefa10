"""
No silent skips where everything has to be there.

A test that needs a program which may be missing skips itself with a reason that begins with `needs `. Where
TIDEGATE_REQUIRE_ALL is set, as `.ci/run` does, such a skip is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

VARIABLE = "TIDEGATE_REQUIRE_ALL"

_SKIPPED = "Skipped: needs "


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skips in question into failures."""
    report = yield
    if report.skipped and os.environ.get(VARIABLE) and isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        if reason.startswith(_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: {reason} ({VARIABLE} is set: install it)"
    return report
