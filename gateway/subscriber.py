"""
The subscriber: one receiver as the hub and the fan-out see it.

Responsible for one thing: that its receiver gets what is due, in order, and that it costs a position in the log,
not a buffer, while the receiver is slow. Pure: bytes go out through `write`; the transport says `pause` and `resume`.

A subscriber is *live* or *lagging*. Live: its position is the log's, and the fan-out writes to it. Lagging (it is
resuming after a reconnect, or its transport is full): the fan-out passes it by, and `catch_up` writes what is due
from the log, as far as the transport takes it, until it is live again. A reconnect and a slow socket are the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.entry import Entry
    from gateway.log import Log

MAX_WRITE_BYTES = 32 * 1024
"""The most that one write hands to a transport, single larger frames excepted: what a stalled socket costs."""

_SLICE = 128


class Wire(Protocol):
    """A wire format: how entries become WebSocket frames."""

    def frames(self, entries: Sequence[Entry]) -> list[bytes]:
        """Return one finished frame per entry, made once and shared; empty for an entry that cannot be sent."""


class Hold:
    """One reason to wait. It has no content: it is told from others by identity."""


class Subscriber:
    """
    One receiver.

    Attributes:
        tenant: Scope of its addresses.
        addresses: Address → sequence number after which its entries are meant for this receiver. Changed by `Hub`.
        wire: Its wire format.
        write: Hands bytes to the transport, which may call `pause` before this returns.
        lagging: The fan-out passes it by.
        paused: The transport takes nothing at the moment.
        held: The fetches of something older that are under way: what is due comes after the last of them.
        position: While lagging: up to here everything was written, or stands in the backlog.
        fell_out: While lagging, entries fell out of memory before they were written.
    """

    __slots__ = (
        "_backlog",
        "_older",
        "_seen",
        "_written",
        "addresses",
        "fell_out",
        "held",
        "lagging",
        "outbox",
        "paused",
        "position",
        "tenant",
        "wire",
        "write",
    )

    def __init__(self, tenant: str, wire: Wire, write: Callable[[bytes], None]) -> None:
        self.tenant = tenant
        self.write = write
        self.addresses: dict[str, int] = {}
        self.wire = wire
        self.lagging = False
        self.paused = False
        self.held: tuple[Hold, ...] = ()  # nearly always empty, and the empty tuple costs nothing
        self.fell_out = False
        self.position = 0
        self.outbox: list[bytes] = []  # what the current read of the log brought; the fan-out's
        self._backlog: list[int] = []
        self._written = 0  # of the backlog
        self._older: list[Entry] = []  # fetched from the stream, due before the backlog
        self._seen: frozenset[int] = frozenset()

    def pause(self, position: int) -> None:
        """The transport is full. `position` is the last entry that was written to it, were it live."""
        self.paused = True
        if not self.lagging:
            self.lag_from(position)

    def lag_from(self, position: int, seen: frozenset[int] = frozenset()) -> None:
        """Go on from `position` by `catch_up`, skipping the entries in `seen`."""
        self.lagging = True
        self.position = position
        self._seen = seen

    def skip_to_head(self, log: Log) -> None:
        """Go without everything that is due and not written; go on with what comes next."""
        self._backlog = []
        self._older = []
        self._written = 0
        self.fell_out = False
        self.held = ()
        self.lag_from(log.head)
        self.lagging = self.paused

    def hold(self, log: Log) -> Hold:
        """Lag, and write nothing, until `release` is called with what this returns."""
        if not self.lagging:
            self.lag_from(log.head)
        hold = Hold()
        self.held += (hold,)
        return hold

    def release(self, hold: Hold, older: list[Entry], log: Log, now_ms: int) -> None:
        """End a hold: `older` comes before all else that is due. The last one catches up. Too late, do nothing."""
        if hold in self.held:
            self.drop(hold)
            self._older += older
            self.catch_up(log, now_ms)

    def drop(self, hold: Hold) -> None:
        """End a hold that has nothing to bring; what is due is not written yet."""
        self.held = tuple(other for other in self.held if other is not hold)

    def forgo(self, log: Log) -> None:
        """Go without what is due, and not written yet, by an address that is no longer one of this receiver's."""
        pending = self._backlog[self._written :]
        self._backlog = [seq for seq in pending if seq < log.base or _had(log.entry(seq), self.addresses)]
        self._written = 0
        self._older = [entry for entry in self._older if not self.addresses.keys().isdisjoint(entry.to)]

    def resume(self, log: Log, now_ms: int) -> None:
        """The transport has room again: go without `low` and collapsed entries, and catch up."""
        self.paused = False
        if self.lagging and not self.held:
            self._refill(log, now_ms)
            self.catch_up(log, now_ms, after_pause=True)

    def replay(self, log: Log, address: str, after: int, now_ms: int) -> None:
        """Write what `address`, which was just added, has had since `after`; then go on as before."""
        held = {a: since for a, since in self.addresses.items() if a != address}
        missed = [
            seq
            for seq in log.due(self.tenant, {address: after}, after)
            if seq <= self.addresses[address] and not (len(log.entry(seq).to) > 1 and _had(log.entry(seq), held))
        ]
        if self.lagging:
            self._refill(log, now_ms)  # what is due already and what was missed have one order
        else:
            self.lag_from(log.head)
        self.addresses[address] = min(after, self.addresses[address])  # from there on this receiver has had it
        if self.fell_out:
            return
        pending = set(self._backlog[self._written :])
        self._backlog = log.collapsed(sorted(pending.union(missed)), self.addresses, now_ms)
        self._written = 0
        self.catch_up(log, now_ms)

    def catch_up(self, log: Log, now_ms: int, *, after_pause: bool = False) -> None:
        """Write what is due until the transport is full or nothing is left; then be live."""
        while not self.paused and not self.held:
            if self._older:
                self._older = self._older[self._write_entries(self._older[:_SLICE]) :]
                continue
            if self._written == len(self._backlog):
                self._refill(log, now_ms)
                if self.fell_out:
                    return
                if not self._backlog:
                    self.lagging = False
                    return
            if self._backlog[self._written] < log.base:
                self.fell_out = True
                return
            self._write_slice(log, now_ms, after_pause=after_pause)

    @property
    def awaits_older(self) -> bool:
        """Something older than memory is still due: no sequence number tells its position."""
        return bool(self.held or self._older)

    def written_up_to(self, log: Log) -> int:
        """Return the sequence number up to which nothing is missing at the transport."""
        if not self.lagging:
            return log.head
        if self._older:
            return log.base - 1
        if self._written < len(self._backlog):
            return min(self._backlog[self._written] - 1, self.position)
        return self.position

    def _refill(self, log: Log, now_ms: int) -> None:
        """Add to the backlog what is due beyond `position`."""
        pending = self._backlog[self._written :]
        if self.position < log.base - 1 or (pending and pending[0] < log.base):
            self.fell_out = True
            return
        due = log.due(self.tenant, self.addresses, self.position)
        if self._seen:
            due = [seq for seq in due if seq not in self._seen]
        self.position = log.head
        self._seen = frozenset()
        self._backlog = log.collapsed(pending + due, self.addresses, now_ms)
        self._written = 0

    def _write_slice(self, log: Log, now_ms: int, *, after_pause: bool) -> None:
        seqs = self._backlog[self._written : self._written + _SLICE]
        entries = log.admissible(seqs, self.addresses, now_ms, lagging=after_pause)
        before = self._written
        self._written += len(seqs)  # first, because writing may pause and ask where we are
        fitting = self._write_entries(entries)
        if fitting < len(entries):
            self._written = bisect_left(self._backlog, entries[fitting].seq, lo=before)

    def _write_entries(self, entries: list[Entry]) -> int:
        """Write as many of the first entries as make one write, at least one; return how many."""
        frames = self.wire.frames(entries)
        fitting = bisect_right(list(accumulate(map(len, frames))), MAX_WRITE_BYTES) or 1
        chunk = b"".join(frames[:fitting])
        if chunk:
            self.write(chunk)
        return fitting


def _had(entry: Entry, held: dict[str, int]) -> bool:
    """Tell whether an entry was meant for the holder of `held`."""
    return any(address in held and held[address] < entry.seq for address in entry.to)
