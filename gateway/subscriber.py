"""
The subscriber: one receiver as the hub and the fan-out see it.

Responsible for one thing: that its receiver gets what is due, in order, and that it costs a position in the log,
not a buffer, while the receiver is slow. Pure: bytes go out through `write`; the transport says `pause` and `resume`.

A subscriber is *live* or *lagging*. Live: its position is the log's, and the fan-out writes to it. Lagging (it is
resuming after a reconnect, or its transport is full): the fan-out passes it by, and `catch_up` writes what is due
from the log, as far as the transport takes it, until it is live again. A reconnect and a slow socket are the same.

Of an address it may want only what a filter lets pass. While it lags, that is judged when an entry is written, and so
is whether it still has the address at all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.outcomes import FELL_OUT, RESYNC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gateway.entry import Entry
    from gateway.filters import Filter, Sieve
    from gateway.log import Log
    from gateway.receipts import Receipt

MAX_WRITE_BYTES = 32 * 1024
"""The most that one write hands to a transport, single larger frames excepted: what a stalled socket costs."""

REMEMBERED: Final = 64
"""How much of what it went without a subscriber remembers."""

_SLICE = 128
_NOTHING: Final[frozenset[int]] = frozenset()
_NO_FILTERS: Final[Mapping[str, Any]] = MappingProxyType({})  # nearly everybody's: it costs nothing


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
        filters: Address → what it wants of it, where that is not everything. Changed by `Hub`.
        wire: Its wire format.
        write: Hands bytes to the transport, which may call `pause` before this returns.
        lagging: The fan-out passes it by.
        paused: The transport takes nothing at the moment.
        held: The fetches of something older that are under way: what is due comes after the last of them.
        counted_to: While lagging: up to here the fan-out has counted as delivered what it left to `catch_up` to write.
        position: While lagging: up to here everything was written, or stands in the backlog.
        fell_out: While lagging, entries fell out of memory before they were written.
        without: What was for it and was not written, and why: sequence number → reason. The last few; None: nothing.
    """

    __slots__ = (
        "_backlog",
        "_judges",
        "_older",
        "_seen",
        "_written",
        "addresses",
        "counted_to",
        "fell_out",
        "filters",
        "held",
        "lagging",
        "outbox",
        "paused",
        "position",
        "tenant",
        "wire",
        "without",
        "write",
    )

    def __init__(self, tenant: str, wire: Wire, write: Callable[[bytes], None]) -> None:
        self.tenant = tenant
        self.write = write
        self.addresses: dict[str, int] = {}
        self.filters: Mapping[str, Filter] = _NO_FILTERS
        self.wire = wire
        self.lagging = False
        self.paused = False
        self.held: tuple[Hold, ...] = ()  # nearly always empty, and the empty tuple costs nothing
        self.fell_out = False
        self.counted_to = 0
        self.position = 0
        self.outbox: list[bytes] = []  # what the current read of the log brought; the fan-out's
        self._backlog: list[int] = []
        self._written = 0  # of the backlog
        self._older: list[Entry] = []  # fetched from the stream, due before the backlog
        self._seen: frozenset[int] = _NOTHING
        self._judges = False  # what is due has to be judged once more when it is written
        self.without: dict[int, str] | None = None

    def set_filter(self, address: str, wanted: Filter | None) -> None:
        """Note what is wanted of an address; None: everything. For `Hub`."""
        filters = dict(self.filters)
        filters.pop(address, None)
        if wanted is not None:
            filters[address] = wanted
        self.filters = filters or _NO_FILTERS
        self._judges = True

    def drop_address(self, address: str) -> None:
        """Note that an address is its no longer. For `Hub`."""
        del self.addresses[address]
        if address in self.filters:
            self.set_filter(address, None)
        self._judges = self._judges or self.lagging  # some of what is due may have been for that address

    def claims(self, entry: Entry | Receipt, sieve: Sieve) -> Iterator[str]:
        """Yield the addresses by which an entry is for this receiver; one from the stream may be of any age."""
        addresses, filters = self.addresses, self.filters
        for address in entry.to:
            since = addresses.get(address)
            if since is not None and not (entry.seq and since >= entry.seq):
                wanted = filters.get(address)
                if wanted is None or sieve.passes(entry, wanted):
                    yield address

    def go_without(self, seq: int, reason: str) -> None:
        """Remember that an entry was not written, for `gateway explain`."""
        if self.without is None:
            self.without = {}
        self.without[seq] = reason
        if len(self.without) > REMEMBERED:
            del self.without[next(iter(self.without))]

    def pause(self, position: int) -> None:
        """The transport is full. `position` is the last entry that was written to it, were it live."""
        self.paused = True
        if not self.lagging:
            self.lag_from(position)

    def lag_from(self, position: int, seen: frozenset[int] = _NOTHING) -> None:
        """Go on from `position` by `catch_up`, skipping the entries in `seen`."""
        self.lagging = True
        self.position = position
        self._seen = seen

    def skip_to_head(self, log: Log) -> None:
        """Go without everything that is due and not written; go on with what comes next."""
        self._miss(log, RESYNC)
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

    def resume(self, log: Log, now_ms: int) -> None:
        """The transport has room again: go without `low` and collapsed entries, and catch up."""
        self.paused = False
        if self.lagging and not self.held:
            self._refill(log, now_ms)
            self.catch_up(log, now_ms, after_pause=True)

    def replay(self, log: Log, address: str, after: int, now_ms: int) -> None:
        """Write what `address`, which was just added, has had since `after`; then go on as before."""
        missed = [
            seq
            for seq in log.due(self.tenant, {address: after}, after)
            if seq <= self.addresses[address] and not self._had(log.entry(seq), address, log)
        ]
        if self.lagging:
            self._refill(log, now_ms)  # what is due already and what was missed have one order
        else:
            self.lag_from(log.head)
        self.addresses[address] = min(after, self.addresses[address])  # from there on this receiver has had it
        if self.fell_out:
            return
        pending = set(self._backlog[self._written :])
        self._set_backlog(log, sorted(pending.union(missed)), now_ms)
        self.catch_up(log, now_ms)

    def catch_up(self, log: Log, now_ms: int, *, after_pause: bool = False) -> None:
        """Write what is due until the transport is full or nothing is left; then be live."""
        while not self.paused and not self.held:
            if self._older:
                self._write_older(log)
                continue
            if self._written == len(self._backlog):
                self._refill(log, now_ms)
                if self.fell_out:
                    return
                if not self._backlog:
                    self.lagging = False
                    self.counted_to = 0
                    self._judges = bool(self.filters)
                    return
            if self._backlog[self._written] < log.base:
                self._fall_out(log)
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
            self._fall_out(log)
            return
        due = log.due(self.tenant, self.addresses, self.position)
        if self._seen:
            due = [seq for seq in due if seq not in self._seen]
        self.position = log.head
        self._seen = _NOTHING
        self._set_backlog(log, pending + due, now_ms)

    def _set_backlog(self, log: Log, seqs: list[int], now_ms: int) -> None:
        self._backlog = log.collapsed(seqs, self.addresses, now_ms, self._judge(log))
        self._written = 0
        if len(self._backlog) < len(seqs):
            kept = set(self._backlog)
            self._account(log, [seq for seq in seqs if seq not in kept], now_ms, lagging=False)

    def _write_slice(self, log: Log, now_ms: int, *, after_pause: bool) -> None:
        seqs = self._backlog[self._written : self._written + _SLICE]
        entries = log.admissible(seqs, self.addresses, now_ms, lagging=after_pause, wants=self._judge(log))
        before = self._written
        self._written += len(seqs)  # first, because writing may pause and ask where we are
        fitting = self._write_entries(entries, log)
        if fitting < len(entries):
            self._written = bisect_left(self._backlog, entries[fitting].seq, lo=before)
            del entries[fitting:]
        log.outcomes.wrote(entries, self, log.sieve)
        if len(entries) < self._written - before:
            written = {entry.seq for entry in entries}
            dropped = [seq for seq in self._backlog[before : self._written] if seq not in written]
            self._account(log, dropped, now_ms, lagging=after_pause)

    def _write_older(self, log: Log) -> None:
        """Write some of what was fetched from the stream."""
        entries = taken = self._older[:_SLICE]
        wants = self._judge(log)
        if wants is not None:
            entries = [entry for entry in taken if wants(entry)]
        fitting = self._write_entries(entries, log)
        done = len(taken) if fitting == len(entries) else taken.index(entries[fitting])
        self._older = self._older[done:]
        log.outcomes.wrote(entries[:fitting], self, log.sieve)

    def _write_entries(self, entries: list[Entry], log: Log) -> int:
        """Write as many of the first entries as make one write, at least one; return how many."""
        frames = self.wire.frames(entries)
        fitting = bisect_right(list(accumulate(map(len, frames))), MAX_WRITE_BYTES) or min(1, len(entries))
        chunk = b"".join(frames[:fitting])
        if chunk:
            log.outcomes.bytes_written += len(chunk)
            self.write(chunk)
        return fitting

    # Filters, and what is gone without.

    def _judge(self, log: Log) -> Callable[[Entry], bool] | None:
        """Return what tells whether an entry that is due is still wanted; None: it is."""
        return (lambda entry: any(self.claims(entry, log.sieve))) if self._judges else None

    def _had(self, entry: Entry, besides: str, log: Log) -> bool:
        """Tell whether an entry was meant for this receiver by another address as well."""
        return len(entry.to) > 1 and any(address != besides for address in self.claims(entry, log.sieve))

    def _account(self, log: Log, seqs: Iterable[int], now_ms: int, *, lagging: bool) -> None:
        """Count what was due and is not written."""
        wants = self._judge(log)
        for seq in seqs:
            entry = log.entry(seq)
            if wants is None or wants(entry):
                reason = log.refusal(seq, self.addresses, now_ms, lagging=lagging)
                if reason is not None:
                    log.outcomes.drop_for(entry, self, log.sieve, reason)
                    self.go_without(seq, reason)

    def _fall_out(self, log: Log) -> None:
        if not self.fell_out:
            self.fell_out = True
            self._miss(log, FELL_OUT)

    def _miss(self, log: Log, reason: str) -> None:
        """Count what is due and will not come; of much of it nothing is known any more."""
        if not self.lagging:
            return
        pending = self._backlog[self._written :]
        if pending:
            log.outcomes.dropped[reason] += len(pending)
            for seq in pending[-REMEMBERED:]:
                self.go_without(seq, reason)
        if log.outcomes.receipts:
            log.outcomes.receipts.missed(self, log.sieve, set(pending), self.position, reason)
