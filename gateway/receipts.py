"""
Receipts: what became of the events whose publisher wants to know, as far as this instance can tell.

Counted per address of the event's audience: a socket that several of them select counts for each. Entries without a
receipt are never looked at. What has changed waits here until it is reported; the counts are this process's own and
absolute, so that a report can be repeated. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from gateway.entry import Entry, split_id

if TYPE_CHECKING:
    from gateway.filters import Sieve
    from gateway.subscriber import Subscriber

MAX_HELD: Final = 500_000
"""Receipts and acknowledgements that are remembered; past that, the oldest receipts are counted no further."""


class Counts:
    """
    What became of an event for one of its addresses.

    Attributes:
        sockets: How many were there when it came.
        delivered: How often it was written to one, then or later.
        acked: How many clients said that they have it.
        expired: How many sockets it was too late for.
        dropped: How many go without it, by reason.
    """

    __slots__ = ("acked", "delivered", "dropped", "expired", "sockets")

    def __init__(self) -> None:
        self.sockets = self.delivered = self.acked = self.expired = 0
        self.dropped: Counter[str] = Counter()


class Receipt:
    """
    One event with a receipt.

    Attributes:
        id: Its stream entry id.
        counts: Of those addresses of which there is something to count.
        acked_by: The clients that have acknowledged it here.
    """

    __slots__ = ("acked_by", "counts", "data", "epoch", "event", "exclude", "id", "partition", "seq", "tenant", "to")

    def __init__(self, entry: Entry, epoch: str) -> None:
        self.id = entry.id
        self.seq = entry.seq
        self.partition = entry.partition
        self.epoch = epoch
        self.tenant = entry.tenant
        self.to = entry.to
        self.exclude = entry.options.exclude if entry.options is not None else ()
        self.event = entry.event
        self.data = b""  # the entry's own is not kept alive: without it, no filter lets it pass
        self.counts: dict[str, Counts] = {}
        self.acked_by: set[str] = set()

    def of(self, address: str) -> Counts:
        """Return what is counted for one address."""
        counts = self.counts.get(address)
        if counts is None:
            counts = self.counts[address] = Counts()
        return counts


class Receipts:
    """The receipts of the recent past. True while there are any."""

    def __init__(self) -> None:
        self._receipts: dict[tuple[int, bytes], Receipt] = {}
        self._changed: dict[Receipt, None] = {}
        self._acks = 0

    def __len__(self) -> int:
        return len(self._receipts)

    @property
    def waiting(self) -> int:
        """How many have something to report."""
        return len(self._changed)

    def begin(self, entry: Entry, epoch: str) -> None:
        """Take an entry that asks for a receipt into the book. That it was read is worth a report already."""
        receipt = self._receipts[entry.partition, entry.id] = Receipt(entry, epoch)
        self._changed[receipt] = None
        self._make_room()

    def arrived(self, entry: Entry, address: str, sockets: int, *, delivered: int, expired: int = 0) -> None:
        """Count the sockets that one address selects when an entry comes, and those of them that were written."""
        receipt = self._receipts.get((entry.partition, entry.id))
        if receipt is not None and sockets:
            counts = receipt.of(address)
            counts.sockets += sockets
            counts.delivered += delivered
            counts.expired += expired
            self._changed[receipt] = None

    def wrote(self, entries: Iterable[Entry], receiver: Subscriber, sieve: Sieve) -> None:
        """Count what a receiver was written later, from memory or from the stream."""
        for entry in entries:
            if entry.options is not None and entry.options.receipt and entry.frame != b"":
                receipt = self._receipts.get((entry.partition, entry.id))
                if receipt is not None:
                    for address in receiver.claims(entry, sieve):
                        receipt.of(address).delivered += 1
                        self._changed[receipt] = None

    def dropped(self, entry: Entry | Receipt, receiver: Subscriber, sieve: Sieve, reason: str) -> None:
        """Count that a receiver goes without an entry."""
        receipt = self._receipts.get((entry.partition, entry.id))
        if receipt is not None:
            for address in receiver.claims(entry, sieve):
                receipt.of(address).dropped[reason] += 1
                self._changed[receipt] = None

    def expired(self, entry: Entry, receiver: Subscriber, sieve: Sieve) -> None:
        """Count that an entry was too late for a receiver."""
        receipt = self._receipts.get((entry.partition, entry.id))
        if receipt is not None:
            for address in receiver.claims(entry, sieve):
                receipt.of(address).expired += 1
                self._changed[receipt] = None

    def missed(self, receiver: Subscriber, sieve: Sieve, pending: set[int], after: int, reason: str) -> None:
        """Count that a receiver goes without what was pending, and without all after `after`; entries may be gone."""
        for receipt in list(self._receipts.values()):
            due = receipt.seq in pending or receipt.seq > after
            if due and receiver.addresses.keys().isdisjoint(receipt.exclude):
                self.dropped(receipt, receiver, sieve, reason)

    def find(self, partition: int, entry_id: bytes) -> Receipt | None:
        """Return the receipt of an entry, if it has one."""
        return self._receipts.get((partition, entry_id))

    def acked(self, receipt: Receipt, client_id: str, addresses: Iterable[str]) -> bool:
        """Count a client's acknowledgement for the addresses by which it had the event; tell whether it is new."""
        if client_id in receipt.acked_by:
            return False
        receipt.acked_by.add(client_id)
        self._acks += 1
        for address in addresses:
            receipt.of(address).acked += 1
        self._changed[receipt] = None
        self._make_room()
        return True

    def take_changed(self, most: int) -> list[Receipt]:
        """Return some that have something to report; from here on they count as reported."""
        taken = list(islice(self._changed, most))
        for receipt in taken:
            del self._changed[receipt]
        return taken

    def put_back(self, receipts: Iterable[Receipt]) -> None:
        """Report these again, those of them that were not forgotten meanwhile."""
        for receipt in receipts:
            if (receipt.partition, receipt.id) in self._receipts:
                self._changed[receipt] = None

    def prune(self, before_ms: int) -> None:
        """Forget the receipts of events that are older; nobody can read them any more."""
        while self._receipts:
            oldest = next(iter(self._receipts.values()))
            if split_id(oldest.id)[0] >= before_ms:
                return
            self._forget(oldest)

    def _make_room(self) -> None:
        while len(self._receipts) + self._acks > MAX_HELD and len(self._receipts) > 1:
            self._forget(next(iter(self._receipts.values())))

    def _forget(self, receipt: Receipt) -> None:
        del self._receipts[receipt.partition, receipt.id]
        self._changed.pop(receipt, None)
        self._acks -= len(receipt.acked_by)
