"""The token bucket: bounds, fairness and honest waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import TokenBucket, wait_ms

RATES = st.floats(0.1, 1_000)
BURSTS = st.floats(1, 100)
STEPS = st.lists(st.floats(0, 2), max_size=200)


def test_burst_is_taken_at_once() -> None:
    bucket = TokenBucket(1, 3, now=100)
    assert [bucket.take(100) == 0 for _ in range(5)] == [True, True, True, False, False]


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket(2, 1, now=0)
    assert [bucket.take(now) == 0 for now in (0, 0.4, 0.5, 0.9, 1.0)] == [True, False, True, False, True]


def test_rest_does_not_save_more_than_the_burst() -> None:
    bucket = TokenBucket(10, 2, now=0)
    assert sum(bucket.take(1_000_000) == 0 for _ in range(10)) == 2


def test_refusal_costs_nothing() -> None:
    bucket = TokenBucket(1, 1, now=0)
    bucket.take(0)
    for _ in range(100):
        bucket.take(0.5)
    assert bucket.take(1.0) == 0


def test_refusal_says_how_long_to_wait() -> None:
    bucket = TokenBucket(2, 1, now=0)
    bucket.take(0)
    assert bucket.take(0.1) == pytest.approx(0.4)


def test_clock_that_runs_back_gives_nothing() -> None:
    bucket = TokenBucket(1, 1, now=100)
    bucket.take(100)
    assert bucket.take(50) > 0
    assert bucket.take(100) > 0
    assert bucket.take(101) == 0


@given(RATES, BURSTS, STEPS)
def test_no_more_is_taken_than_burst_and_rate_allow(rate: float, burst: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, now=0)
    now = 0.0
    taken = 0
    for step in steps:
        now += step
        taken += bucket.take(now) == 0
        assert taken <= (burst + rate * now) * (1 + 1e-9)


@given(RATES, BURSTS, STEPS)
def test_who_waits_as_told_is_served(rate: float, burst: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, now=0)
    now = 0.0
    for step in steps:
        now += step
        wait_s = bucket.take(now)
        if wait_s:
            now += wait_s + 1e-6
            assert bucket.take(now) == 0


@given(RATES, BURSTS, STEPS)
def test_waits_are_positive_and_bounded(rate: float, burst: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate, burst, now=0)
    now = 0.0
    for step in steps:
        now += step
        assert 0 <= bucket.take(now) <= 1 / rate


@given(
    st.sampled_from([0.1, 0.2, 1.0, 20.0]) | RATES, st.integers(0, 10**11), st.lists(st.integers(0, 5_000), min_size=2)
)
def test_who_waits_the_milliseconds_told_is_served(rate: float, now_us: int, pauses_us: list[int]) -> None:
    """By the clock of a loop, which cuts time off to whole milliseconds."""
    bucket = TokenBucket(rate, 1, now=now_us // 1000 / 1000)
    for pause_us in pauses_us:
        now_us += pause_us
        wait_s = bucket.take(now_us // 1000 / 1000)
        if wait_s:
            now_us += wait_ms(wait_s) * 1000
            assert bucket.take(now_us // 1000 / 1000) == 0
