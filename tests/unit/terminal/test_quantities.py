"""Durations, sizes and times as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.terminal.quantities import ago, clock, duration, moment, number, parse_duration, plural, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.04, "40 ms"),
        (2.5, "2.5 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (600, "10 min"),
        (3_600, "1 h"),
        (5_400, "1 h 30 min"),
        (86_400, "24 h"),
        (172_800, "2 d"),
        (180_000, "2 d 2 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds, text):
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_every_duration_has_a_text(seconds):
    assert duration(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("15 min", 900), ("1.5h", 5_400), ("2d", 172_800), ("250ms", 0.25)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1w", "1h30m", "nan", "inf", "\u0661"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (4_300, "4.2 KiB"), (268_435_456, "256 MiB"), (2**40, "1024 GiB")],
)
def test_sizes(count, text):
    assert size(count) == text


def test_counts():
    assert (number(1_234_567), plural(1, "event"), plural(2_000, "event")) == ("1,234,567", "1 event", "2,000 events")


@given(st.integers(0, 10**16))
def test_every_id_has_a_time(ms):
    assert clock(ms)
    assert moment(ms)


def test_how_long_ago():
    assert ago(1_000, 61_000) == "1 min ago"
    assert ago(2_000, 1_000) == "0 ms ago"  # clocks differ
