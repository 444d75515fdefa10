"""
The consumer: follows one partition of the log and hands what it reads to the fan-out, without a gap it does not know.

It survives every failure of Redis: after any error it goes on from the last id it read. Once a second, on the same
connection and so between two reads, it looks at the stream and compares:

- another epoch, or a stream shorter than what was read: the log was lost, what follows is another one;
- more entries ever added than were read, with none left to read: some were trimmed before they were read.

Either way every connection is told (`on_gap`). The count decides, never the group's `lag`, which Redis cannot always
know. Entries with an id that was read before are skipped: a failover can rewind the group.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog
from redis.exceptions import ResponseError

from gateway.entry import Entry, EntryDecoder, EntryId, split_id
from gateway.errors import PoisonEntry
from gateway.fanout import Fanout
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.store.connection import REDIS_ERRORS
from gateway.store.stream import GroupMissing, RawEntry, StreamReader, StreamState

_log = structlog.get_logger()

_BLOCK_MS = 1_000
_LOOK_EVERY_S = 1.0
_WITHOUT_GROUP_S = 5.0  # how long to read with XREAD before XREADGROUP is tried again
_LONGEST_PAUSE_S = 1.0
_IDS_AHEAD_ALERT_MS = 60_000


@dataclass(slots=True)
class Health:
    """
    How a consumer is doing.

    Attributes:
        warm: It has caught up with the stream once.
        problem: What keeps it from reading, or None.
        progress_at: Monotonic time (s) of the last successful read.
    """

    warm: bool = False
    problem: str | None = None
    progress_at: float = 0.0


class Consumer:
    """
    Reads one partition for as long as `run` runs.

    Args:
        on_gap: Called with a reason after the log was reset: what connections have may have a hole.
        on_poison: Called with each entry that cannot be delivered.
    """

    def __init__(
        self,
        reader: StreamReader,
        partition: int,
        *,
        log: Log,
        fanout: Fanout,
        metrics: Metrics,
        on_gap: Callable[[str], None],
        on_poison: Callable[[PoisonEntry], None],
        read_count: int,
        retention_s: float,
    ) -> None:
        self.health = Health()
        self.warmed = asyncio.Event()
        self._reader = reader
        self._number = partition
        self._log = log
        self._state = log.partitions[partition]
        self._fanout = fanout
        self._metrics = metrics
        self._on_gap = on_gap
        self._on_poison = on_poison
        self._read_count = read_count
        self._retention_ms = int(retention_s * 1000)
        self._decoder = EntryDecoder(partition)
        self._read = 0  # how many entries the log had ever been given when we had read up to `last`
        self._looked_at = 0.0
        self._without_group_until = 0.0
        self._failures = 0
        self._ids_ahead = False

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            try:
                await self._reader.connect()
                await self._follow()
            except REDIS_ERRORS as error:
                self._failed(error)
            finally:
                await self._reader.disconnect()
            longest = min(_LONGEST_PAUSE_S, 0.05 * 2 ** min(self._failures, 6))
            await asyncio.sleep(random.uniform(0.5, 1.0) * longest)

    async def _follow(self) -> None:
        if self.health.warm:
            await self._settle()
        else:
            await self._warm()
        while True:
            if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
                await self._settle()
            try:
                raw = await self._next()
            except GroupMissing:
                await self._settle()
                await self._reader.set_position(self._state.last)
                continue
            if raw:
                self._take(raw)
            self._progressed()

    async def _next(self) -> list[RawEntry]:
        """Read on, by way of the group where that works: a server that takes no writes can still be read."""
        now = time.monotonic()
        if now >= self._without_group_until:
            try:
                return await self._reader.read_group(self._read_count, _BLOCK_MS)
            except ResponseError as error:  # READONLY, NOREPLICAS, MISCONF, OOM …
                self._failed(error)
                self._without_group_until = now + _WITHOUT_GROUP_S
        return await self._reader.read_after(self._state.last, self._read_count, _BLOCK_MS)

    def _take(self, raw: list[RawEntry]) -> None:
        """Deliver what a read brought."""
        if split_id(raw[0][0]) <= self._state.last:  # the group was rewound, or we read without it
            raw = [entry for entry in raw if split_id(entry[0]) > self._state.last]
        if not raw:
            return
        self._read += len(raw)
        self._metrics.events += len(raw)
        self._fanout.deliver(self._decode(raw), int(time.time() * 1000))
        self._state.last = split_id(raw[-1][0])  # also where the last of them were poison

    def _decode(self, raw: list[RawEntry]) -> list[Entry]:
        decode = self._decoder.decode
        try:
            return [decode(entry_id, fields) for entry_id, fields in raw]
        except PoisonEntry:
            return list(self._decode_each(raw))

    def _decode_each(self, raw: list[RawEntry]) -> Iterator[Entry]:
        for entry_id, fields in raw:
            try:
                yield self._decoder.decode(entry_id, fields)
            except PoisonEntry as poison:
                self._on_poison(poison)

    def _progressed(self) -> None:
        self.health.progress_at = time.monotonic()
        if self.health.problem is not None and self.health.progress_at >= self._without_group_until:
            _log.info("log_reached", partition=self._number, after=self.health.problem)
            self.health.problem = None
        self._failures = 0

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        kind = type(error).__name__
        self._metrics.redis_errors[kind] += 1
        if self.health.problem != kind:  # one line per change, not per try
            _log.warning("log_unreachable", partition=self._number, error=kind, detail=str(error)[:200])
        self.health.problem = kind

    # Starting, and noticing what is missing.

    async def _warm(self) -> None:
        """Fill memory with the retention window, then let the group go on where that ends."""
        state = await self._reader.look()
        untrimmed = state.added == state.length
        start: EntryId = (max(0, min(int(time.time() * 1000), state.last[0]) - self._retention_ms), 0)
        floor: EntryId = (0, 0)
        if not untrimmed or (state.first is not None and state.first < start):
            floor = max(start, _before(state.first or state.last))
        self._log.reset(self._number, state.epoch, floor)
        while state.last > self._state.last:
            raw = await self._reader.range_after(self._state.last, self._read_count)
            if not raw:
                break
            self._log.extend(self._decode(raw), int(time.time() * 1000))
            self._state.last = split_id(raw[-1][0])
            if self._state.last >= state.last:
                state = await self._reader.look()
        self._state.last = max(self._state.last, state.last)
        self._read = state.added
        await self._reader.set_position(self._state.last)
        self._looked_at = time.monotonic()
        self.health.warm = True
        self.warmed.set()
        _log.info("log_warm", partition=self._number, entries=len(self._log), epoch=state.epoch)

    async def _settle(self) -> None:
        """Compare the stream with what was read; make known what is missing."""
        state = await self._reader.look()
        self._looked_at = time.monotonic()
        self._alert_ids_ahead(state)
        if state.epoch != self._state.epoch:
            await self._start_over(state, "epoch")
        elif state.last < self._state.last:
            await self._end_epoch(state)
        elif (missed := self._missed(state)) > 0:
            _log.error("entries_missed", partition=self._number, entries=missed)
            await self._start_over(state, "trimmed")
        elif missed < 0:
            await self._end_epoch(state)

    def _missed(self, state: StreamState) -> int:
        """Return how many entries were trimmed unread; negative where the log has forgotten some that we read."""
        if state.last == self._state.last:
            return state.added - self._read
        if state.first is not None and self._state.last < state.first:
            return state.added - state.length - self._read
        return 0  # it can still be read from where we are

    async def _end_epoch(self, state: StreamState) -> None:
        """The log has lost entries that were delivered: what follows is another log."""
        epoch = await self._reader.begin_epoch(state.epoch)
        await self._start_over(replace(state, epoch=epoch), "epoch")

    async def _start_over(self, state: StreamState, reason: str) -> None:
        """Go on in a log that does not continue what was read."""
        if state.first is None or state.first > self._state.last:
            position = _before(state.first) if state.first is not None else state.last
            self._read = state.added - state.length
        else:
            position = state.last
            self._read = state.added
        await self._reader.set_position(position)
        _log.error("log_discontinued", partition=self._number, reason=reason, epoch=state.epoch)
        self._log.reset(self._number, state.epoch, position)
        self._on_gap(reason)

    def _alert_ids_ahead(self, state: StreamState) -> None:
        """Ids lead the clock when an entry was added with an id of the future: retention by time then fails."""
        ahead_ms = state.last[0] - int(time.time() * 1000)
        if ahead_ms > _IDS_AHEAD_ALERT_MS and not self._ids_ahead:
            _log.error("log_ids_ahead_of_clock", partition=self._number, ahead_s=ahead_ms // 1000)
        self._ids_ahead = ahead_ms > _IDS_AHEAD_ALERT_MS


def _before(entry_id: EntryId) -> EntryId:
    """Return the id just before an entry's."""
    ms, n = entry_id
    return (ms, n - 1) if n else (max(ms - 1, 0), 2**64 - 1 if ms else 0)
