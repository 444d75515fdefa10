"""
The fan-out: from one read of the log to one write per interested socket.

The hot path. Per delivery it does a list append; per socket and read, one write. Consecutive entries with the same
audience (a *run*) are matched and joined once for all their receivers. Pure: sockets are subscribers with a `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gateway.entry import Entry
from gateway.hub import Hub
from gateway.log import Log
from gateway.subscriber import MAX_WRITE_BYTES, Subscriber, Wire

_ENVELOPE_BYTES = 160


class Fanout:
    """
    Delivers what the consumer reads.

    Args:
        obey: Called with each control entry, at its place in the order of the log.

    Attributes:
        delivered: Frames handed to sockets by the live path, since start.
    """

    def __init__(self, log: Log, hub: Hub, *, obey: Callable[[Entry], None]) -> None:
        self._log = log
        self._hub = hub
        self._obey = obey
        self._touched: list[Subscriber] = []
        self._at: int | None = None
        self.delivered = 0

    @property
    def position(self) -> int:
        """The newest entry that live subscribers have been written: the log's head, except within `deliver`."""
        return self._log.head if self._at is None else self._at

    def deliver(self, batch: list[Entry], now_ms: int) -> None:
        """Append what one read brought to the log and write it to everybody it is meant for."""
        before = self._at = self._log.head
        self._log.extend(batch, now_ms)
        runs = list(_runs(batch))
        if len(runs) == 1 and batch[0].options is None:
            self._deliver_run(batch)
        else:
            for run in runs:
                self._gather_run(run, now_ms)
            self._flush(before, now_ms)
        self._at = None

    def _deliver_run(self, run: list[Entry]) -> None:
        """The whole read has one audience: write without a detour."""
        receivers = self._hub.match(run[0].tenant, run[0].to)
        if not receivers:
            return
        for part in _parts(run):
            self._at = part[-1].seq  # where a socket that pauses in this write goes on
            chunks: dict[Wire, bytes] = {}
            wire: Wire | None = None
            chunk = b""
            written = 0
            for receiver in receivers:
                if receiver.lagging:
                    continue
                if receiver.wire is not wire:
                    wire = receiver.wire
                    chunk = chunks.get(wire) or chunks.setdefault(wire, b"".join(wire.frames(part)))
                receiver.write(chunk)
                written += 1
            self.delivered += written * len(part)

    def _gather_run(self, run: list[Entry], now_ms: int) -> None:
        """Put the run's frames into its receivers' outboxes."""
        exclude: Sequence[str] = ()
        options = run[0].options
        if options is not None:
            if options.control:
                self._obey(run[0])
                return
            if options.expired(now_ms):
                return
            exclude = options.exclude
        receivers = self._hub.match(run[0].tenant, run[0].to, exclude)
        chunks: dict[Wire, bytes] = {}
        wire: Wire | None = None
        chunk = b""
        gathered = 0
        for receiver in receivers:
            if receiver.lagging:
                continue
            if receiver.wire is not wire:
                wire = receiver.wire
                chunk = chunks.get(wire) or chunks.setdefault(wire, b"".join(wire.frames(run)))
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
            if single or len(chunk) <= MAX_WRITE_BYTES:
                receiver.write(chunk)
            else:
                receiver.lag_from(before)
                receiver.catch_up(log, now_ms)
        self._touched.clear()


def _runs(batch: list[Entry]) -> Iterator[list[Entry]]:
    """Cut a read into runs: consecutive entries without options for the same audience, or one with options."""
    start = 0
    for at in range(1, len(batch) + 1):
        if at < len(batch):
            first, entry = batch[start], batch[at]
            if (
                entry.to is first.to  # decoded audiences are shared, see EntryDecoder
                and entry.options is None
                and first.options is None
                and entry.tenant is first.tenant
            ):
                continue
        yield batch[start:at]
        start = at


def _parts(run: list[Entry]) -> Iterator[list[Entry]]:
    """Cut a run so that each part makes about one write."""
    start = 0
    size = 0
    for at, entry in enumerate(run):
        size += len(entry.data) + _ENVELOPE_BYTES
        if size > MAX_WRITE_BYTES and at > start:
            yield run[start:at]
            start = at
            size = len(entry.data) + _ENVELOPE_BYTES
    yield run[start:]
