"""
Outcomes: what became of events on this instance, in numbers.

The fan-out and the subscribers count here, as cheaply as the hot path demands: one addition per entry that somebody
receives, nothing for an entry that nobody wants. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from gateway.receipts import Receipts

if TYPE_CHECKING:
    from gateway.entry import Entry
    from gateway.filters import Sieve
    from gateway.subscriber import Subscriber

LOW: Final = "low"
COLLAPSED: Final = "collapsed"
EXPIRED: Final = "expired"
FELL_OUT: Final = "fell_out"
RESYNC: Final = "resync"
REASONS: Final = (LOW, COLLAPSED, EXPIRED, FELL_OUT, RESYNC)
"""Why a socket goes without an event that was for it."""

MAX_NAMES: Final = 200
OTHER: Final = b"other"


class ByName:
    """
    Counts by event name. Names are the producers' to choose, so the first `MAX_NAMES` count on their own, and the rest
    together as `OTHER`.

    Attributes:
        counts: By name.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def add(self, name: bytes, count: int) -> None:
        """Count an event so often."""
        if name not in self.counts and len(self.counts) >= MAX_NAMES:
            name = OTHER
        self.counts[name] = self.counts.get(name, 0) + count

    def add_each(self, entries: Iterable[Entry], count: int) -> None:
        """Count several, each as often."""
        counts = self.counts
        for entry in entries:
            try:
                counts[entry.event] += count
            except KeyError:
                self.add(entry.event, count)

    def named(self) -> dict[str, int]:
        """Return the counts."""
        return {name.decode("utf-8", "replace"): count for name, count in self.counts.items()}


class Outcomes:
    """
    One instance's counts since its start.

    Attributes:
        delivered: Frames handed to sockets, by event name.
        caught_up: How many of them were written later than they came: to clients that resumed, or had been slow.
        bytes_written: Bytes of frames handed to sockets: pushes, replies, and what the gateway says itself.
        dropped: Events that a socket went without, by reason.
        dropped_by_name: The same by event name, as far as the name was still known.
        acked, acked_by_name: Acknowledgements of events with a receipt.
        receipts: The receipts.
    """

    def __init__(self) -> None:
        self.delivered = ByName()
        self.caught_up = 0
        self.bytes_written = 0
        self.dropped: Counter[str] = Counter()
        self.dropped_by_name = ByName()
        self.acked = 0
        self.acked_by_name = ByName()
        self.receipts = Receipts()

    def wrote(self, entries: Sequence[Entry], receiver: Subscriber, sieve: Sieve) -> None:
        """Count what a receiver was written that lags."""
        if self.receipts:
            self.receipts.wrote(entries, receiver, sieve)
        if receiver.counted_to:
            entries = [entry for entry in entries if entry.seq > receiver.counted_to]
        self.caught_up += len(entries)
        self.delivered.add_each(entries, 1)

    def drop(self, entry: Entry, reason: str, receivers: int = 1) -> None:
        """Count that so many receivers go without an entry."""
        self.dropped[reason] += receivers
        self.dropped_by_name.add(entry.event, receivers)

    def drop_for(self, entry: Entry, receiver: Subscriber, sieve: Sieve, reason: str) -> None:
        """Count that one receiver goes without an entry, on its receipt too."""
        self.drop(entry, reason)
        if self.receipts and entry.options is not None and entry.options.receipt:
            if reason == EXPIRED:
                self.receipts.expired(entry, receiver, sieve)
            else:
                self.receipts.dropped(entry, receiver, sieve, reason)

    def ack(self, name: bytes) -> None:
        """Count an acknowledgement."""
        self.acked += 1
        self.acked_by_name.add(name, 1)
