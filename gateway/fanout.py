"""
The fan-out: from one read of the log to one write per interested socket.

The hot path. Per delivery it does a list append; per socket and read, one write. Consecutive entries with the same
audience (a *run*) are matched and joined once for all their receivers. Pure: sockets are subscribers with a `write`.

Two things cost more, and only those who use them: filters (an audience that somebody filters is judged entry by entry,
once for each filter), and receipts (what becomes of their entries is noted once the read has been written).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.entry import Entry, Item, Options, unpack
from gateway.hub import Hub
from gateway.log import Log
from gateway.outcomes import EXPIRED
from gateway.subscriber import MAX_WRITE_BYTES, Subscriber, Wire
from publisher.event import KIND_CONTROL, KIND_STATE

_ENVELOPE_BYTES = 160
_OBEYED = {KIND_CONTROL, KIND_STATE}


class Fanout:
    """
    Delivers what the consumer reads.

    Args:
        obey: Called with each entry that concerns the gateways themselves, at its place in the order of the log.
        traced: Called with each entry that belongs to a trace, and how many sockets it was for, if any was.

    Attributes:
        delivered: Frames handed to sockets by the live path, since start.
    """

    def __init__(
        self,
        log: Log,
        hub: Hub,
        *,
        obey: Callable[[Entry], None],
        traced: Callable[[Entry, int], None] | None = None,
    ) -> None:
        self._log = log
        self._hub = hub
        self._obey = obey
        self._traced = traced
        self._touched: list[Subscriber] = []
        self._whole: set[Subscriber] = set()
        self._outcomes = log.outcomes
        self._by_name = log.outcomes.delivered
        self._noted: list[_Noted] = []
        self._at: int | None = None
        self.delivered = 0

    @property
    def position(self) -> int:
        """The newest entry that live subscribers have been written: the log's head, except within `deliver`."""
        return self._log.head if self._at is None else self._at

    @property
    def wanted(self) -> Mapping[str, Container[str]] | None:
        """What somebody has, tenant → addresses, until the hub changes; None where a filter has to be asked as well."""
        return None if self._hub.filtered else self._hub.unfiltered

    def deliver(self, batch: list[Item], now_ms: int) -> None:
        """
        Append what one read brought to the log and write it to everybody it is meant for.

        Args:
            batch: What is packed in it nobody has `wanted` just now.
        """
        if not batch:
            return
        before = self._at = self._log.head
        if self._log.extend(batch, now_ms) and not self._deliver_at_once(batch):
            self._gather(batch, now_ms)
            self._flush(before, now_ms)
        self._at = None

    def write_whole(self, receiver: Subscriber) -> None:
        """Write what the current read brings to a receiver at once, because the log would not give it all again."""
        self._whole.add(receiver)

    def _deliver_at_once(self, batch: list[Item]) -> bool:
        """Write without a detour, if the whole read has one audience, whom nobody filters; tell whether it has."""
        first = batch[0]
        if isinstance(first, tuple) or first.options is not None:
            return False
        run = _run(batch, 0)
        if len(run) < len(batch) or (self._hub.filtered and self._hub.is_filtered(first.tenant, first.to)):
            return False
        self._deliver_run(run)
        return True

    def _deliver_run(self, run: list[Entry]) -> None:
        receivers = self._hub.match(run[0].tenant, run[0].to)
        if not receivers:
            return
        for part in _parts(run):
            self._at = part[-1].seq  # where a socket that pauses in this write goes on
            chunks: dict[Wire, bytes] = {}
            wire: Wire | None = None
            chunk = b""
            written = counted = sent = 0  # frames, those whose bytes are counted, their bytes
            for receiver in receivers:
                if receiver.lagging:
                    continue
                if receiver.wire is not wire:
                    sent += (written - counted) * len(chunk)
                    counted = written
                    wire = receiver.wire
                    chunk = chunks.get(wire) or _joined(part, wire, chunks)
                receiver.write(chunk)
                written += 1
            if written:
                self.delivered += written * len(part)
                self._outcomes.bytes_written += sent + (written - counted) * len(chunk)
                self._by_name.add_each(part, written)

    def _gather(self, batch: list[Item], now_ms: int) -> None:
        """Put each run's frames into its receivers' outboxes."""
        match = self._hub.match
        filtered = self._hub.filtered
        head = self._log.head - len(batch)
        hub_changed = False
        start = 0
        while start < len(batch):
            first = batch[start]
            if isinstance(first, tuple):
                if not hub_changed:  # then nobody wants it
                    start += 1
                    continue
                first = unpack(first)
                first.seq = head + start + 1
                batch[start] = first
            if first.options is None:
                run = _run(batch, start)
                receivers = match(first.tenant, first.to)
                if receivers:
                    for part in _parts(run) if len(run) > 1 else (run,):
                        self._put(part, receivers)
                if filtered and self._hub.is_filtered(first.tenant, first.to):
                    for entry in run:
                        self._put([entry], self._match_filtered(entry, entry.to, ()).difference(receivers))
                start += len(run)
            else:
                hub_changed = hub_changed or first.options.kind in _OBEYED
                self._gather_with_options(first, first.options, now_ms)
                start += 1

    def _gather_with_options(self, entry: Entry, options: Options, now_ms: int) -> None:
        """Obey what the gateways have to know, and deliver it unless it is an order or expired."""
        if options.kind in _OBEYED:
            self._obey(entry)
            if options.control:
                return
        receivers = self._match(entry, entry.to, options)
        expired = options.expired(now_ms)
        if expired and receivers:
            self._noted.append(_Noted(entry, None, 0, [r for r in receivers if not r.lagging], expired=True))
        elif receivers:
            self._put([entry], receivers)
            if self._traced is not None and options.trace is not None:
                self._traced(entry, len(receivers))
        if options.receipt:
            self._note(entry, options, expired=expired)

    def _match(self, entry: Entry, to: Sequence[str], options: Options) -> Collection[Subscriber]:
        """Return who receives an entry that is alone in its run."""
        receivers = self._hub.match(entry.tenant, to, options.exclude)
        if self._hub.filtered and self._hub.is_filtered(entry.tenant, to):
            return self._match_filtered(entry, to, options.exclude).union(receivers)
        return receivers

    def _match_filtered(self, entry: Entry, to: Sequence[str], exclude: Sequence[str]) -> set[Subscriber]:
        """Return whose filter lets an entry pass. However many they are, its data is parsed once."""
        return self._hub.match_filtered(entry.tenant, to, exclude, partial(self._log.sieve.passes, entry))

    def _put(self, run: list[Entry], receivers: Collection[Subscriber]) -> None:
        chunks: dict[Wire, bytes] = {}
        wire: Wire | None = None
        chunk = b""
        gathered = counted = sent = 0
        for receiver in receivers:
            if receiver.lagging:
                continue
            if receiver.wire is not wire:
                sent += (gathered - counted) * len(chunk)
                counted = gathered
                wire = receiver.wire
                chunk = chunks.get(wire) or _joined(run, wire, chunks)
            outbox = receiver.outbox
            if not outbox:
                self._touched.append(receiver)
            outbox.append(chunk)
            gathered += 1
        if gathered:
            self.delivered += gathered * len(run)
            self._outcomes.bytes_written += sent + (gathered - counted) * len(chunk)
            self._by_name.add_each(run, gathered)

    def _flush(self, before: int, now_ms: int) -> None:
        """Write the outboxes. What is too much for one write is what a lagging socket has: let it catch up."""
        log = self._log
        self._at = log.head
        passed_by: set[Subscriber] = set()
        for receiver in self._touched:
            outbox = receiver.outbox
            single = len(outbox) == 1
            chunk = outbox[0] if single else b"".join(outbox)
            outbox.clear()
            if receiver.lagging:  # an order in this read closed it, which has written the outbox, or reset it
                if chunk:
                    passed_by.add(receiver)
                continue
            fits = single or len(chunk) <= MAX_WRITE_BYTES or receiver in self._whole
            if fits or before < log.base - 1:  # the read was larger than memory: nobody could catch up
                receiver.write(chunk)
            else:
                passed_by.add(receiver)
                self._outcomes.bytes_written -= len(chunk)  # `catch_up` counts them
                receiver.lag_from(before)
                receiver.counted_to = log.head
                receiver.catch_up(log, now_ms)
        self._touched.clear()
        self._whole.clear()
        if self._noted:
            self._account(passed_by)

    # What is noted of a few entries, and counted once it is known who was written.

    def _note(self, entry: Entry, options: Options, *, expired: bool) -> None:
        """Note whom each address of an entry selects, before anything else changes the hub."""
        for address in entry.to:
            sockets = self._match(entry, (address,), options)
            if sockets:
                live = [socket for socket in sockets if not socket.lagging]
                self._noted.append(_Noted(entry, address, len(sockets), live, expired))

    def _account(self, passed_by: set[Subscriber]) -> None:
        """Count what was noted; who was passed by, or lagged before, counts for himself when he catches up."""
        outcomes = self._log.outcomes
        for noted in self._noted:
            if noted.entry.frame == b"":  # its payload is poison: nobody got anything
                noted.live.clear()
            live = len(noted.live) if not passed_by else sum(socket not in passed_by for socket in noted.live)
            if noted.address is None:
                if live:
                    outcomes.drop(noted.entry, EXPIRED, live)
                    for socket in noted.live:
                        if socket not in passed_by:
                            socket.go_without(noted.entry.seq, EXPIRED)
            elif noted.expired:
                outcomes.receipts.arrived(noted.entry, noted.address, noted.sockets, delivered=0, expired=live)
            else:
                outcomes.receipts.arrived(noted.entry, noted.address, noted.sockets, delivered=live)
        self._noted.clear()


@dataclass(frozen=True, slots=True)
class _Noted:
    """
    An entry of which something is to be counted.

    Attributes:
        address: By which it selects these sockets, for its receipt; None: any, for the statistics.
        sockets: How many.
        live: Those of them that do not lag.
        expired: It came too late for them.
    """

    entry: Entry
    address: str | None
    sockets: int
    live: list[Subscriber]
    expired: bool


def _joined(run: list[Entry], wire: Wire, chunks: dict[Wire, bytes]) -> bytes:
    """Return the joined frames of a run in a wire format, for the first receiver that has it; add them to `chunks`."""
    chunk = chunks[wire] = b"".join(wire.frames(run))
    return chunk


def _run(batch: list[Item], start: int) -> list[Entry]:
    """Return the run that begins with an entry without options."""
    first = batch[start]
    assert isinstance(first, Entry)  # noqa: S101 - nobody looks for a run of what is packed
    run = [first]
    to, tenant = first.to, first.tenant
    for at in range(start + 1, len(batch)):
        entry = batch[at]
        if isinstance(entry, tuple) or entry.to is not to or entry.options is not None or entry.tenant is not tenant:
            break  # decoded audiences are shared (see EntryDecoder), so identity tells
        run.append(entry)
    return run


def _parts(run: list[Entry]) -> Iterator[list[Entry]]:
    """Cut a run so that each part makes about one write."""
    start = 0
    size = 0
    for at, entry in enumerate(run):
        size += _frame_size(entry)
        if size > MAX_WRITE_BYTES and at > start:
            yield run[start:at]
            start = at
            size = _frame_size(entry)
    yield run[start:]


def _frame_size(entry: Entry) -> int:
    return len(entry.data) + len(entry.event) + len(entry.message_id) + _ENVELOPE_BYTES
