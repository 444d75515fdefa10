"""
Readiness: whether this instance can do its work, and if not, why, each reason as a sentence.

It asks nobody: the consumers and the canary know already, so `/ready` answers at once while Redis hangs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.canary import Canary
from gateway.consumer import Consumer, Health

DRAINING: Final = "draining: this process is stopping"

_STALE_AFTER_S: Final = 5.0


class Readiness:
    """
    Judges one instance.

    Args:
        max_lag_s: How far behind the log the reading may be.

    Attributes:
        draining: Whether it is stopping.
    """

    def __init__(self, consumers: Sequence[Consumer], canary: Canary, *, max_lag_s: float) -> None:
        self.draining = False
        self._consumers = consumers
        self._canary = canary
        self._max_lag_s = max_lag_s

    def reasons(self) -> list[str]:
        """Return what keeps the instance from being ready; nothing when it is."""
        now = time.monotonic()
        reasons = [DRAINING] if self.draining else []
        for partition, consumer in enumerate(self._consumers):
            reasons += [f"partition {partition}: {problem}" for problem in self._of_reading(consumer.health, now)]
        return [*reasons, *self._canary.problems(now)]

    def _of_reading(self, health: Health, now: float) -> Iterator[str]:
        if health.problem is not None:
            yield f"Redis fails with {health.problem}"
        elif now - health.progress_at > _STALE_AFTER_S:
            yield f"no read for over {_STALE_AFTER_S:g} s"
        if health.lag_s > self._max_lag_s:
            yield (
                f"the reading is {health.lag_s:.0f} s and {health.lag} entries behind the log, "
                f"over the limit of {self._max_lag_s:g} s"
            )
