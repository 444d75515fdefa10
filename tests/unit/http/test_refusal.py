"""Refusals: the problem that a failed publish is for its caller."""

from __future__ import annotations

import pytest

from gateway.http.push import refusal
from publisher import PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown

UNKNOWN = [PublishUnknown("lost", key="a"), PublishUnknown("lost", key="b")]


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (PublishUnavailable("down"), "no"),
        (UNKNOWN[0], "unknown"),
        (PublishIncomplete([*UNKNOWN]), "unknown"),
        (PublishIncomplete(["1-0.0.e", *UNKNOWN]), "partly"),
        (PublishError("refused"), "no"),
    ],
)
def test_it_says_what_is_stored(error: PublishError, stored: str) -> None:
    assert refusal(error, "k").facts["stored"] == stored
