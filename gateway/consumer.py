"""
The consumer: follows one partition of the log and hands what it reads to the fan-out, without a gap it does not know.

It survives every failure of Redis. Its position is its own: the group only reports it. After any error the group is
put back to the last entry that arrived here, because Redis may have given it more in a reply that was lost. Entries
that were read before are skipped: a failover can rewind the group. Where the group cannot be used (it is written to
with every read, which a replica, say, refuses), the stream is read without it.

Twice a second, on the same connection and so between two reads, it looks at the stream:

- another epoch, or a last id before ours: the log was lost, what follows is another one;
- what was read is not all that was added (`continuity`): some was trimmed before it was read, or forgotten after.

Where entries may have been trimmed between two reads, it also looks before it delivers (`continuity.Suspicion`).

Either way every connection is told (`on_gap`). The counts decide, never the group's `lag`, which Redis cannot always
know.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

import structlog
from redis.exceptions import ResponseError

from gateway.continuity import Continuity, StreamState, Suspicion
from gateway.decoder import EntryDecoder
from gateway.entry import Entry, EntryId, Item, RawEntry, split_id
from gateway.errors import PoisonEntry
from gateway.fanout import Fanout
from gateway.histogram import FAN_OUT_BOUNDS, Histogram
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.store.connection import REDIS_ERRORS
from gateway.store.stream import GroupMissing, StreamReader

_log = structlog.get_logger()

# A lost or trimmed log is told to clients within a second, on an idle log too: a wait, and a look that is due after it.
_BLOCK_MS = 400
_LOOK_EVERY_S = 0.4
_WITHOUT_GROUP_S = 2.0  # how long to read with XREAD before XREADGROUP is tried again
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
        looked_at: Monotonic time (s) of the last comparison with the stream.
        lag: How many entries the stream had then that were not read yet.
        lag_s: How old the oldest of them was.
        ids_ahead_s: How far the newest id was ahead of our clock.
    """

    warm: bool = False
    problem: str | None = None
    progress_at: float = 0.0
    looked_at: float = 0.0
    lag: int = 0
    lag_s: float = 0.0
    ids_ahead_s: float = 0.0


class Consumer:
    """
    Reads one partition for as long as `run` runs.

    Args:
        on_gap: Called with a reason after the log was reset: what connections have may have a hole.
        on_poison: Called with each entry that cannot be delivered.
        on_loaded: Called with entries that were there before this instance, among them all that have options. They
            are in memory, and not delivered.

    Attributes:
        health: How it is doing.
        fan_out: How long it took to deliver what a read brought.
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
        on_loaded: Callable[[list[Entry]], None],
        read_count: int,
        retention_s: float,
    ) -> None:
        self.health = Health()
        self.fan_out = Histogram(FAN_OUT_BOUNDS)
        self.warmed = asyncio.Event()
        self._reader = reader
        self._number = partition
        self._log = log
        self._state = log.partitions[partition]
        self._fanout = fanout
        self._metrics = metrics
        self._on_gap = on_gap
        self._on_poison = on_poison
        self._on_loaded = on_loaded
        self._read_count = read_count
        self._ask_for = read_count
        self._retention_ms = int(retention_s * 1000)
        self._decoder = EntryDecoder(partition)
        self._continuity = Continuity()
        self._suspicion = Suspicion()
        self._group_placed = False  # whether the group stands where we do
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
                if isinstance(error, TimeoutError):  # perhaps the reply is too much for this network in that time
                    self._ask_for = max(1, self._ask_for // 4)
            finally:
                self._group_placed = False
                await self._reader.disconnect()
            longest = min(_LONGEST_PAUSE_S, 0.05 * 2 ** min(self._failures, 6))
            await asyncio.sleep(random.uniform(0.5, 1.0) * longest)

    async def _follow(self) -> None:
        if self.health.warm:
            await self._settle()
        else:
            await self._warm()
        while True:
            if time.monotonic() - self.health.looked_at >= _LOOK_EVERY_S:
                await self._settle()
            self._suspicion.asked(time.monotonic())
            try:
                raw = await self._next()
            except GroupMissing:
                self._group_placed = False
                await self._settle()
            else:
                await self._take(raw)

    async def _next(self) -> list[RawEntry]:
        """Read on, by way of the group where that works: a server that takes no writes can still be read."""
        now = time.monotonic()
        if now >= self._without_group_until:
            try:
                if not self._group_placed:
                    await self._reader.set_position(self._state.last, self._continuity.count)
                    self._group_placed = True
                raw = await self._reader.read_group(self._ask_for, _BLOCK_MS)
            except ResponseError as error:  # READONLY, NOREPLICAS, MISCONF, OOM …
                self._group_placed = False
                self._without_group_until = now + _WITHOUT_GROUP_S
                self._failed(error)
            else:
                self._recovered()
                return raw
        raw = await self._reader.read_after(self._state.last, self._ask_for, _BLOCK_MS)
        self._progressed()
        return raw

    async def _take(self, raw: list[RawEntry]) -> None:
        """Deliver what a read brought."""
        if raw and split_id(raw[0][0]) <= self._state.last:
            self._group_placed = False  # somebody has rewound it
            raw = [entry for entry in raw if split_id(entry[0]) > self._state.last]
        full = len(raw) >= self._ask_for
        age_ms = time.time() * 1000 - split_id(raw[-1][0])[0] if raw else None
        suspicious = self._suspicion.answered(time.monotonic(), _BLOCK_MS / 1000, age_ms, full=full)
        if not raw:
            return
        if suspicious and not await self._verified(raw):
            self._group_placed = False
            await self._settle()
            return
        missing = self._continuity.took([entry_id for entry_id, _ in raw])
        self._metrics.events += len(raw)
        began = time.perf_counter()
        self._fanout.deliver(self._decode(raw, self._fanout.wanted), int(time.time() * 1000))
        self.fan_out.observe(time.perf_counter() - began)
        self._state.last = split_id(raw[-1][0])  # also where the last of them were poison
        if missing:
            await self._judge(missing, self._state.epoch, self._state.last, self._continuity.count + missing)

    async def _verified(self, raw: list[RawEntry]) -> bool:
        """
        Make known what is missing before a read's entries; tell whether they are to be delivered thereafter.

        They are not, and count as not read, where they may be another log's, or entries are gone before or after them.
        """
        state = await self._reader.look()
        missing = self._continuity.verified(state, self._state.last, [entry_id for entry_id, _ in raw])
        if missing is None or state.epoch != self._state.epoch:
            return False
        await self._judge(missing, state.epoch, _before(split_id(raw[0][0])), self._continuity.count + missing)
        self._assure(state)
        return True

    def _decode(self, raw: list[RawEntry], wanted: Mapping[str, Container[str]] | None) -> list[Item]:
        try:
            return self._decoder.decode_all(raw, wanted)
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
        self._failures = 0
        self._ask_for = min(2 * self._ask_for, self._read_count)

    def _recovered(self) -> None:
        self._progressed()
        if self.health.problem is not None:
            _log.info("log_reached", partition=self._number, after=self.health.problem)
            self.health.problem = None

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        problem = _name_of(error)
        self._metrics.redis_errors[problem] += 1
        if self.health.problem != problem:  # one line per change, not per try
            _log.warning("log_unreachable", partition=self._number, error=problem, detail=str(error)[:200])
        self.health.problem = problem

    # Starting, and noticing what is missing.

    async def _warm(self) -> None:
        """Fill memory with the retention window; reading goes on where that ends."""
        state = await self._reader.look()
        self._alert_ids_ahead(state)
        self._log.reset(self._number, state.epoch, self._warm_from(state))
        while state.has_after(self._state.last):
            state = await self._load_page(state)
        self._state.last = max(self._state.last, state.last)
        self._continuity.restart(state.added)
        self.health.looked_at = time.monotonic()
        self._recovered()
        self.health.warm = True
        self.warmed.set()
        _log.info("log_warm", partition=self._number, entries=len(self._log), epoch=state.epoch)

    def _warm_from(self, state: StreamState) -> EntryId:
        """Return the id after which everything is still there and within the retention."""
        horizon = min(int(time.time() * 1000), state.last[0]) - self._retention_ms
        start: EntryId = (max(0, horizon), 0)
        if state.first is None:
            return state.last
        if state.gone or state.first < start:
            return max(start, _before(state.first))
        return (0, 0)

    async def _load_page(self, state: StreamState) -> StreamState:
        """Add the next entries to memory; return what a look shows thereafter."""
        page = await self._reader.range_after(self._state.last, self._ask_for)
        after = await self._reader.look()
        if page:
            if after.gone != state.gone and (after.first is None or after.first > self._state.last):
                # Trimmed meanwhile, perhaps between what is in memory and this page.
                self._log.reset(self._number, after.epoch, _before(split_id(page[0][0])))
            items = self._decode(page, {})
            self._log.extend(items, int(time.time() * 1000))
            self._on_loaded([item for item in items if not isinstance(item, tuple)])
            self._state.last = split_id(page[-1][0])
        self._recovered()
        return after

    async def _settle(self) -> None:
        """Compare the stream with what was read; make known what is missing."""
        state = await self._reader.look(self._state.last)
        self.health.looked_at = time.monotonic()
        self.health.lag_s = state.behind_ms / 1000
        self._alert_ids_ahead(state)
        last = self._state.last
        if state.last < last:
            missing, position, count = -1, state.last, state.added
        else:
            missing = self._continuity.looked(state, last)
            self.health.lag = max(0, state.added - self._continuity.count)
            position, count = self._resumption(state)
        await self._judge(missing, state.epoch, position, count)
        self._assure(state)

    def _assure(self, state: StreamState) -> None:
        self._suspicion.looked(time.monotonic(), self._continuity.count - state.gone, self._read_count)

    def _resumption(self, state: StreamState) -> tuple[EntryId, int]:
        """Return where to go on, should there be a gap, and how many entries the stream was given up to there."""
        if state.begins_after(self._state.last):
            return _before(state.first or state.last), state.gone
        if state.has_after(self._state.last):
            return self._state.last, self._continuity.count
        return state.last, state.added

    async def _judge(self, missing: int, epoch: str, position: EntryId, count: int) -> None:
        """Start over from `position` if the epoch is another one, or entries are missing; end an epoch that is over."""
        if missing < 0 and epoch == self._state.epoch:
            epoch = await self._reader.begin_epoch(epoch)
        if epoch == self._state.epoch and not missing:
            return
        reason = "trimmed" if epoch == self._state.epoch else "epoch"
        _log.error("log_discontinued", partition=self._number, reason=reason, epoch=epoch, missing=max(missing, 0))
        self._group_placed = False
        self._continuity.restart(count)
        self._log.reset(self._number, epoch, position)
        self._on_gap(reason)

    def _alert_ids_ahead(self, state: StreamState) -> None:
        """Ids lead the clock when an entry was added with an id of the future: retention by time then fails."""
        ahead_ms = state.last[0] - int(time.time() * 1000)
        if ahead_ms > _IDS_AHEAD_ALERT_MS and not self._ids_ahead:
            _log.error("log_ids_ahead_of_clock", partition=self._number, ahead_s=ahead_ms // 1000)
        self.health.ids_ahead_s = max(0, ahead_ms) / 1000
        self._ids_ahead = ahead_ms > _IDS_AHEAD_ALERT_MS


def _before(entry_id: EntryId) -> EntryId:
    """Return the id just before an entry's."""
    ms, n = entry_id
    return (ms, n - 1) if n else (max(ms - 1, 0), 2**64 - 1 if ms else 0)


def _name_of(error: BaseException) -> str:
    """Return what an error is called: its code where redis-py has no type for it, as for NOREPLICAS."""
    code = str(error).partition(" ")[0]
    return code if type(error) is ResponseError and code.isupper() and code != "ERR" else type(error).__name__
