"""The Autobahn cases that matter most, against the real server. `make conformance` runs all of them."""

from __future__ import annotations

import pytest

from tests.conformance.runs import SHORT, Run, deviations, outcomes, unexpected


# kosoku's cases of section 12 leave their test data open.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*kosoku.*testdata:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed file.*kosoku.*testdata:ResourceWarning")
@pytest.mark.parametrize("run", SHORT, ids=lambda run: run.name)
async def test_every_case_passes_or_deviates_as_documented(redis_url: str, run: Run) -> None:
    found = await outcomes(redis_url, run)

    assert len(found) >= len(run.cases)
    assert unexpected(found, deviations()) == {}


def test_the_document_lists_deviations_only() -> None:
    assert deviations()
    assert ("OK", "OK") not in deviations().values()
