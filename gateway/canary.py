"""
The canary: an entry that this instance publishes now and then, and recognises when it reads it.

It proves the whole loop, from a publish by way of Redis to the reading: neither half alone shows that what is sent
arrives. It is a control entry, so it stands in no chain, no client sees it, and a cursor passes it like any other.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gateway.entry import Entry
from gateway.histogram import ROUND_TRIP_BOUNDS, Histogram
from gateway.metrics import Metrics
from gateway.questions import address_in
from publisher import Event, Publisher, PublishError, make_event
from publisher.event import CANARY, KIND_CONTROL

_log = structlog.get_logger()

_AGAIN_S: Final = 1.0  # after a failure, so that the end of it is noticed soon
_MOST_UNDER_WAY: Final = 16


@dataclass(slots=True)
class _Flight:
    """
    The canaries of one partition.

    Attributes:
        number: Of the newest one.
        sent: Number → monotonic time (s), of those that have not come back.
        late_since: When the oldest of those was sent that nothing was heard of; None where there is none.
        problem: Why the newest one could not be published, or None.
    """

    number: int = 0
    sent: dict[int, float] = field(default_factory=dict)
    late_since: float | None = None
    problem: str | None = None

    def back(self, number: int, now: float) -> float | None:
        """Note that one has come back; return how long it took. What was sent before it will come no more."""
        sent_at = self.sent.get(number)
        self.sent = {other: at for other, at in self.sent.items() if other > number}
        self.late_since = min(self.sent.values(), default=None)
        return None if sent_at is None else now - sent_at


class Canary:
    """
    Sends canaries for as long as `run` runs, and judges by their return.

    Args:
        interval_s: How often; 0: never.
        timeout_s: How long one may take.

    Attributes:
        round_trips: How long they took.
    """

    def __init__(
        self,
        publisher: Publisher,
        metrics: Metrics,
        instance_id: str,
        *,
        partitions: int,
        interval_s: float,
        timeout_s: float,
    ) -> None:
        self.round_trips = Histogram(ROUND_TRIP_BOUNDS)
        self._publisher = publisher
        self._metrics = metrics
        self._instance_id = instance_id
        self._process = secrets.token_hex(4)  # the same instance before a restart was another process
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._flights = [_Flight() for _ in range(partitions)]
        self._addresses = [address_in(partition, partitions) for partition in range(partitions)]

    async def run(self) -> None:
        """Send until cancelled."""
        while self._interval_s:
            await asyncio.gather(*map(self._send, range(len(self._flights))))
            failed = any(flight.problem is not None for flight in self._flights)
            await asyncio.sleep(min(_AGAIN_S, self._interval_s) if failed else self._interval_s)

    def obey(self, entry: Entry, data: dict[str, Any]) -> None:
        """A canary was read, anybody's: see whether it is one of ours. An order, for `Orders`."""
        if data.get("process") != self._process:
            return
        took_s = self._flights[entry.partition].back(int(data["number"]), time.monotonic())
        if took_s is not None:
            self.round_trips.observe(took_s)

    def problems(self, now: float) -> Iterator[str]:
        """Yield a sentence for each partition whose loop is not closed."""
        for partition, flight in enumerate(self._flights):
            if flight.problem is not None:
                yield f"partition {partition}: publishing fails: {flight.problem}"
            elif flight.late_since is not None and now - flight.late_since > self._timeout_s:
                seconds = now - flight.late_since
                yield f"partition {partition}: what is published does not arrive: a canary is out for {seconds:.0f} s"

    async def _send(self, partition: int) -> None:
        flight = self._flights[partition]
        flight.number = number = flight.number + 1
        sent_at = flight.sent[number] = time.monotonic()
        if flight.late_since is None:
            flight.late_since = sent_at
        if len(flight.sent) > _MOST_UNDER_WAY:
            del flight.sent[min(flight.sent)]
        try:
            await self._publisher.submit(self._event(partition, number))
        except PublishError as error:
            self._metrics.redis_errors[type(error).__name__] += 1
            if flight.problem is None:  # one line per change, not per try
                _log.warning("canary_not_published", partition=partition, error=str(error))
            flight.problem = str(error)
        else:
            if flight.problem is not None:
                _log.info("canary_published", partition=partition, after=flight.problem)
            flight.problem = None

    def _event(self, partition: int, number: int) -> Event:
        data = {"instance": self._instance_id, "process": self._process, "number": number}
        event = make_event(CANARY, data, to=self._addresses[partition], kind=KIND_CONTROL)
        return event._replace(repeatable=True)  # so that Redis has no idempotency key to remember
