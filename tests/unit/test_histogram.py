"""The histogram: what Prometheus expects of one."""

from __future__ import annotations

from gateway.histogram import Histogram


def test_a_bucket_holds_all_at_or_below_its_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    assert [*histogram.buckets()] == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert (histogram.count, histogram.total) == (4, 7.65)


def test_an_empty_one_has_all_its_buckets() -> None:
    assert [*Histogram((0.1,)).buckets()] == [("0.1", 0), ("+Inf", 0)]
