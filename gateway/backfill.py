"""
Backfill: what a resuming client missed before the memory of this instance begins, read from the stream.

Rare (memory usually holds the whole retention window) and bounded: in clients at a time, in entries and in bytes.
What cannot be had is told by a `resync`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis

from gateway.decoder import EntryDecoder
from gateway.entry import Entry, EntryId, RawEntry, footprint_of, split_id
from gateway.errors import PoisonEntry
from gateway.log import Ahead, Found, Log, newest_of_each_key
from gateway.services import Tasks
from gateway.store.connection import REDIS_ERRORS
from gateway.store.stream import entries_after

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.subscriber import Hold

_log = structlog.get_logger()

_AT_A_TIME = 8
_PAGE = 500
_MAX_BYTES = 8 * 1024 * 1024


class _Unobtainable(Exception):
    """The missing range cannot be sent; the argument is the reason that the client gets."""


@dataclass(frozen=True, slots=True)
class Missing:
    """
    What a connection asks for.

    Attributes:
        cursor: After which.
        addresses: Of which.
        until: Up to which id of each partition; None: as far as there is.
        floor: Returns after which id an address is the connection's; None: not at all. Asked anew for each entry:
            addresses come and go meanwhile.
    """

    cursor: str
    addresses: frozenset[str]
    until: list[EntryId] | None = None
    floor: Callable[[str], EntryId | None] = lambda _address: (0, 0)


class Backfill:
    """
    Fetches what is older than memory.

    Args:
        recalled: The ids of messages that nobody gets any more.
    """

    def __init__(
        self, redis: Redis, log: Log, tasks: Tasks, *, max_entries: int, recalled: Container[str] = ()
    ) -> None:
        self._redis = redis
        self._log = log
        self._tasks = tasks
        self._max_entries = max_entries
        self._recalled = recalled
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._decoders = [EntryDecoder(number) for number in range(len(log.partitions))]

    def start(self, connection: Connection, hold: Hold, missing: Missing, then: Callable[[Found], None]) -> None:
        """
        Fetch what a connection that waits is missing, as far as it is older than memory.

        Ends with `connection.backfilled`, after a `connection.resync` where it cannot be had.

        Args:
            then: Called before with where memory takes over.
        """
        self._tasks.start("backfill", self._run(connection, hold, missing, then))

    async def _run(self, connection: Connection, hold: Hold, missing: Missing, then: Callable[[Found], None]) -> None:
        older: list[Entry] = []
        problem = None
        try:
            async with self._turn:
                older, found = await self._fetch(connection, missing)
        except _Unobtainable as error:
            problem = str(error)
        except REDIS_ERRORS as error:
            _log.warning("backfill_failed", client=connection.client_id, error=type(error).__name__)
            problem = "unavailable"
        if hold not in connection.held:  # it is gone, or was told meanwhile that the log is another
            return
        if problem is None:
            then(found)
        else:
            connection.resync(problem, missing.addresses)
        connection.backfilled(hold, older)

    async def _fetch(self, connection: Connection, missing: Missing) -> tuple[list[Entry], Found]:
        """
        Page through the partitions until memory takes over.

        Memory moves on meanwhile, faster than one page after the other on a busy log, so a page is used as far as
        this instance has read, beyond where memory begins.
        """
        older: list[Entry] = []
        left = self._max_entries
        positions = self._log.positions(missing.cursor)
        while not isinstance(where := self._log.locate_positions(positions), Found):
            if isinstance(where, Ahead):
                raise _Unobtainable("unknown_cursor")
            for number, start in where.starts.items():
                partition = self._log.partitions[number]
                floor = partition.floor
                page, complete = await entries_after(self._redis, number, start, _PAGE)
                if not complete:
                    raise _Unobtainable("expired")
                page = [entry for entry in page if split_id(entry[0]) <= partition.last]
                older += self._wanted(connection, missing, number, page)
                positions[number] = split_id(page[-1][0]) if page else floor
                left -= len(page)
                if left < 0 or footprint_of(older) > _MAX_BYTES:
                    raise _Unobtainable("too_far")
        return newest_of_each_key(older), where

    def _wanted(self, connection: Connection, missing: Missing, number: int, page: list[RawEntry]) -> list[Entry]:
        now_ms = int(time.time() * 1000)
        epoch = self._log.partitions[number].epoch
        wanted = []
        for entry_id, fields in page:
            if missing.until is not None and split_id(entry_id) > missing.until[number]:
                break
            try:
                entry = self._decoders[number].decode(entry_id, fields)
            except PoisonEntry:
                continue  # counted when it was read first
            options = entry.options
            if f"{entry_id.decode()}.{number}.{epoch}" in self._recalled:
                continue
            if entry.tenant != connection.tenant or not _is_meant(entry, connection, missing):
                continue
            if missing.addresses.isdisjoint(connection.claims(entry, self._log.sieve)):
                continue
            if options is not None and (
                not options.kept or options.expired(now_ms) or entry.excludes(connection.addresses)
            ):
                continue
            wanted.append(entry)
        return wanted


def _is_meant(entry: Entry, connection: Connection, missing: Missing) -> bool:
    """Tell whether an address of an entry is the connection's, and was at that place in the log."""
    for address in entry.to:
        if address in connection.addresses:
            floor = missing.floor(address)
            if floor is not None and floor < entry.position:
                return True
    return False
