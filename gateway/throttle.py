"""
The throttle: lets the first of many like things pass, and the next one only after a while.

Pure: `now` is an argument, in seconds of any clock that does not run back.
"""

from __future__ import annotations

from collections.abc import Hashable


class Throttle:
    """
    Remembers what passed within the last `interval_s`, which bounds it; and never more than `most` keys.

    Beyond `most` the oldest are forgotten: too much passes then, and memory stays.
    """

    def __init__(self, interval_s: float, *, most: int = 100_000) -> None:
        self._interval_s = interval_s
        self._most = most
        self._passed: dict[Hashable, float] = {}  # in the order of the times

    def __len__(self) -> int:
        return len(self._passed)

    def passes(self, key: Hashable, now: float) -> bool:
        """Tell whether `key` may pass, and if so, note that it did."""
        passed = self._passed
        while passed:
            oldest = next(iter(passed))
            if now - passed[oldest] < self._interval_s and len(passed) < self._most:
                break
            del passed[oldest]
        if key in passed:
            return False
        passed[key] = now
        return True
