"""
The fan-out: from one read of the log to one write per interested socket.

The hot path. Per delivery it does a list append; per socket and read, one write. Consecutive entries with the same
audience (a *run*) are matched and joined once for all their receivers. Pure: sockets are subscribers with a `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from gateway.entry import Entry, Options
from gateway.hub import Hub
from gateway.log import Log
from gateway.subscriber import MAX_WRITE_BYTES, Subscriber, Wire
from publisher.event import KIND_CONTROL, KIND_STATE

_ENVELOPE_BYTES = 160
_OBEYED = {KIND_CONTROL, KIND_STATE}


class Fanout:
    """
    Delivers what the consumer reads.

    Args:
        obey: Called with each entry that concerns the gateways themselves, at its place in the order of the log.

    Attributes:
        delivered: Frames handed to sockets by the live path, since start.
    """

    def __init__(self, log: Log, hub: Hub, *, obey: Callable[[Entry], None]) -> None:
        self._log = log
        self._hub = hub
        self._obey = obey
        self._touched: list[Subscriber] = []
        self._whole: set[Subscriber] = set()
        self._at: int | None = None
        self.delivered = 0

    @property
    def position(self) -> int:
        """The newest entry that live subscribers have been written: the log's head, except within `deliver`."""
        return self._log.head if self._at is None else self._at

    def deliver(self, batch: list[Entry], now_ms: int) -> None:
        """Append what one read brought to the log and write it to everybody it is meant for."""
        if not batch:
            return
        before = self._at = self._log.head
        self._log.extend(batch, now_ms)
        if batch[0].options is None and _end_of_run(batch, 0) == len(batch):
            self._deliver_run(batch)
        else:
            self._gather(batch, now_ms)
            self._flush(before, now_ms)
        self._at = None

    def write_whole(self, receiver: Subscriber) -> None:
        """Write what the current read brings to a receiver at once, because the log would not give it all again."""
        self._whole.add(receiver)

    def _deliver_run(self, run: list[Entry]) -> None:
        """The whole read has one audience: write without a detour."""
        receivers = self._hub.match(run[0].tenant, run[0].to)
        if not receivers:
            return
        for part in _parts(run):
            self._at = part[-1].seq  # where a socket that pauses in this write goes on
            chunks = _Chunks(part)
            wire: Wire | None = None
            chunk = b""
            written = 0
            for receiver in receivers:
                if receiver.lagging:
                    continue
                if receiver.wire is not wire:
                    wire = receiver.wire
                    chunk = chunks[wire]
                receiver.write(chunk)
                written += 1
            self.delivered += written * len(part)

    def _gather(self, batch: list[Entry], now_ms: int) -> None:
        """Put each run's frames into its receivers' outboxes."""
        match = self._hub.match
        start = 0
        while start < len(batch):
            first = batch[start]
            stop = _end_of_run(batch, start)
            if first.options is None:
                receivers = match(first.tenant, first.to)
            else:
                receivers = self._match_with_options(first, first.options, now_ms)
            if receivers:
                run = batch[start:stop]
                for part in _parts(run) if len(run) > 1 else (run,):
                    self._put(part, receivers)
            start = stop

    def _match_with_options(self, entry: Entry, options: Options, now_ms: int) -> Collection[Subscriber]:
        """Obey what the gateways have to know; return who receives it: nobody, where it is an order."""
        if options.kind in _OBEYED:
            self._obey(entry)
            if options.control:
                return ()
        if options.expired(now_ms):
            return ()
        return self._hub.match(entry.tenant, entry.to, options.exclude)

    def _put(self, run: list[Entry], receivers: Collection[Subscriber]) -> None:
        chunks = _Chunks(run)
        wire: Wire | None = None
        chunk = b""
        gathered = 0
        for receiver in receivers:
            if receiver.lagging:
                continue
            if receiver.wire is not wire:
                wire = receiver.wire
                chunk = chunks[wire]
            outbox = receiver.outbox
            if not outbox:
                self._touched.append(receiver)
            outbox.append(chunk)
            gathered += 1
        self.delivered += gathered * len(run)

    def _flush(self, before: int, now_ms: int) -> None:
        """Write the outboxes. What is too much for one write is what a lagging socket has: let it catch up."""
        log = self._log
        self._at = log.head
        for receiver in self._touched:
            outbox = receiver.outbox
            single = len(outbox) == 1
            chunk = outbox[0] if single else b"".join(outbox)
            outbox.clear()
            if receiver.lagging:  # an order in this read closed or reset it
                continue
            fits = single or len(chunk) <= MAX_WRITE_BYTES or receiver in self._whole
            if fits or before < log.base - 1:  # the read was larger than memory: nobody could catch up
                receiver.write(chunk)
            else:
                receiver.lag_from(before)
                receiver.catch_up(log, now_ms)
        self._touched.clear()
        self._whole.clear()


class _Chunks(dict[Wire, bytes]):
    """The joined frames of a run in each wire format that a receiver of it has, made when the first one asks."""

    __slots__ = ("_run",)

    def __init__(self, run: list[Entry]) -> None:
        self._run = run

    def __missing__(self, wire: Wire) -> bytes:
        chunk = self[wire] = b"".join(wire.frames(self._run))
        return chunk


def _end_of_run(batch: list[Entry], start: int) -> int:
    """Return where the run that begins at `start` ends: one with options is alone."""
    first = batch[start]
    stop = start + 1
    if first.options is None:
        to, tenant = first.to, first.tenant
        while stop < len(batch):
            entry = batch[stop]
            if entry.to is not to or entry.options is not None or entry.tenant is not tenant:
                break  # decoded audiences are shared (see EntryDecoder), so identity tells
            stop += 1
    return stop


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
