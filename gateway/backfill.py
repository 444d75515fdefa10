"""
Backfill: what a resuming client missed before the memory of this instance begins, read from the stream.

Rare (memory usually holds the whole retention window) and bounded: in clients at a time, in entries and in bytes.
What cannot be had is told by a `resync`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis

from gateway.entry import Entry, EntryDecoder, EntryId, split_id
from gateway.errors import PoisonEntry
from gateway.log import Log, newest_of_each_key
from gateway.services import Tasks
from gateway.store.connection import REDIS_ERRORS
from gateway.store.stream import range_after, stream_bounds

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.subscriber import Hold

_log = structlog.get_logger()

_AT_A_TIME = 8
_PAGE = 500
_MAX_BYTES = 8 * 1024 * 1024


class _Unobtainable(Exception):
    """The missing range cannot be sent; the argument is the reason that the client gets."""


class Backfill:
    """Fetches what is older than memory."""

    def __init__(self, redis: Redis, log: Log, tasks: Tasks, *, max_entries: int) -> None:
        self._redis = redis
        self._log = log
        self._tasks = tasks
        self._max_entries = max_entries
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._decoders = [EntryDecoder(number) for number in range(len(log.partitions))]

    def start(
        self, connection: Connection, hold: Hold, starts: Mapping[int, EntryId], addresses: frozenset[str]
    ) -> None:
        """
        Fetch what `addresses` had between `starts` and memory, for a connection that waits.

        Ends with `connection.backfilled`, after a `connection.resync` where it cannot be had.
        """
        self._tasks.start("backfill", self._run(connection, hold, starts, addresses))

    async def _run(
        self, connection: Connection, hold: Hold, starts: Mapping[int, EntryId], addresses: frozenset[str]
    ) -> None:
        older: list[Entry] = []
        try:
            async with self._turn:
                older = await self._fetch(connection, starts, addresses)
        except _Unobtainable as problem:
            connection.resync(str(problem), addresses)
        except REDIS_ERRORS as error:
            _log.warning("backfill_failed", client=connection.client_id, error=type(error).__name__)
            connection.resync("unavailable", addresses)
        connection.backfilled(hold, older)

    async def _fetch(
        self, connection: Connection, starts: Mapping[int, EntryId], addresses: frozenset[str]
    ) -> list[Entry]:
        """Page through the partitions until memory takes over; it may move on meanwhile."""
        found: list[Entry] = []
        scanned = 0
        for number, start in starts.items():
            at = start
            while at < (floor := self._log.partitions[number].floor):
                page = await range_after(self._redis, number, at, _PAGE)
                scanned += len(page)
                found += self._wanted(connection, number, page, floor, addresses)
                if scanned > self._max_entries or sum(entry.size for entry in found) > _MAX_BYTES:
                    raise _Unobtainable("too_far")
                at = split_id(page[-1][0]) if page else floor
            await self._check_reach(number, start)  # afterwards: the stream is trimmed at any time
        return newest_of_each_key(found)

    async def _check_reach(self, number: int, start: EntryId) -> None:
        first, untrimmed = await stream_bounds(self._redis, number)
        if not untrimmed and (first is None or start < first):
            raise _Unobtainable("expired")

    def _wanted(
        self,
        connection: Connection,
        number: int,
        page: list[tuple[bytes, list[bytes]]],
        floor: EntryId,
        addresses: frozenset[str],
    ) -> list[Entry]:
        now_ms = int(time.time() * 1000)
        wanted = []
        for entry_id, fields in page:
            if split_id(entry_id) > floor:
                break
            try:
                entry = self._decoders[number].decode(entry_id, fields)
            except PoisonEntry:
                continue  # counted when it was read first
            options = entry.options
            if entry.tenant != connection.tenant or addresses.isdisjoint(entry.to):
                continue
            if options is not None and (
                options.control or options.expired(now_ms) or entry.excludes(connection.addresses)
            ):
                continue
            wanted.append(entry)
        return wanted
