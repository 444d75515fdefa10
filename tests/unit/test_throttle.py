"""The throttle: the first passes, the next after a while, and memory is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.throttle import Throttle


def test_the_first_passes_and_the_next_one_after_the_interval() -> None:
    throttle = Throttle(1.0)
    assert [throttle.passes("a", now) for now in (10, 10, 10.5, 10.999, 11, 11.5, 12)] == [
        *(True, False, False, False),
        *(True, False, True),
    ]


def test_keys_do_not_hinder_each_other() -> None:
    throttle = Throttle(1.0)
    assert all(throttle.passes(key, 0) for key in ("a", "b", ("a", "b")))


def test_what_passed_long_ago_is_forgotten() -> None:
    throttle = Throttle(1.0)
    for number in range(1_000):
        throttle.passes(number, number / 100)
    assert len(throttle) <= 100


def test_beyond_the_bound_the_oldest_is_forgotten() -> None:
    throttle = Throttle(1.0, most=3)
    assert all(throttle.passes(number, 0) for number in range(10))
    assert len(throttle) == 3
    assert [throttle.passes(number, 0.5) for number in (9, 0)] == [False, True]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 0.7)), max_size=50))
def test_it_lets_pass_what_a_naive_one_does(steps: list[tuple[str, float]]) -> None:
    throttle = Throttle(1.0)
    last: dict[str, float] = {}
    now = 0.0
    for key, wait in steps:
        now += wait
        expected = key not in last or now - last[key] >= 1.0
        assert throttle.passes(key, now) == expected
        if expected:
            last[key] = now
