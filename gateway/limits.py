"""Limits on what a peer may do. Pure: `now` is an argument."""

from __future__ import annotations

from math import ceil


class TokenBucket:
    """
    A rate limit: `rate_per_s` in the long run, `burst` at once.

    `take` is the only operation; there is nothing to run in the background.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """Take one token and return 0.0, or take none and return the seconds until there is one."""
        tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = max(now, self._at)
        if tokens >= 1.0:
            self._tokens = tokens - 1.0
            return 0.0
        self._tokens = tokens
        return (1.0 - tokens) / self._rate


def wait_ms(wait_s: float) -> int:
    """Return the whole milliseconds after which a token is there for sure, by a clock that counts whole ones itself."""
    return ceil(wait_s * 1000) + 1
