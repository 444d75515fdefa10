"""
History: what a group has been written, a page at a time, as clients and services get it.

Which groups keep one is the settings' to say. Whoever publishes writes it (`publish_kept.lua`); this module reads.
Bounded: in reads at a time, in readers that wait, in time, and in the bytes of a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from gateway.decoder import EntryDecoder
from gateway.entry import Entry, EntryId, RawEntry
from gateway.errors import PoisonEntry
from gateway.store.history import Sighting, look_for, newest_before
from gateway.wire.v1 import event_text
from publisher.cursor import Cursor
from publisher.event import F_EPOCH, F_ID
from publisher.keys import partition_of

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 50
MAX_PAGE_BYTES: Final = 512 * 1024  # clients have limits too: many take no frame over 1 MiB

_AT_A_TIME: Final = 8
_MOST_WAITING: Final = 512
_MAX_N: Final = 2**64 - 1  # the second half of a stream's id


@dataclass(frozen=True, slots=True)
class Page:
    """
    Some messages of a group.

    Attributes:
        messages: JSON text: a list of frames as `new_message` has them, the newest first.
        has_more: Whether there are older ones.
    """

    messages: bytes = b"[]"
    has_more: bool = False

    def json(self, *, success: bool) -> bytes:
        """Return the page as the JSON text of an answer. Past `json_text`: what it holds has passed its limits."""
        head = b'{"success":true,' if success else b"{"
        return b'%b"messages":%b,"has_more":%b}' % (head, self.messages, b"true" if self.has_more else b"false")


@dataclass(frozen=True, slots=True)
class Message:
    """
    An entry of a history.

    Attributes:
        entry: It; its `id` is the history's.
        epoch: Of the log that it came from.
        logged_id: Its id in that log: nearly always the same.
    """

    entry: Entry
    epoch: str
    logged_id: bytes


class History:
    """
    Reads histories.

    Args:
        groups: Patterns of the groups that keep one, as in a shell.
        retention_ms: What is older is not shown, though it may still be there.
        timeout_s: A read takes no longer, the wait for its turn included.
    """

    def __init__(
        self, redis: Redis, *, partitions: int, groups: Iterable[str], retention_ms: int, timeout_s: float
    ) -> None:
        self._redis = redis
        self._partitions = partitions
        patterns = "|".join(map(fnmatch.translate, groups))
        self._keeps = re.compile(patterns).match if patterns else None
        self._retention_ms = retention_ms
        self._timeout_s = timeout_s
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._waiting = 0
        self._decoders: dict[int, EntryDecoder] = {}

    def keeps(self, group: str) -> bool:
        """Tell whether a group keeps what is written to it."""
        return self._keeps is not None and self._keeps(group) is not None

    def partition(self, group: str) -> int:
        """Return the partition of a group's events."""
        return partition_of(f"group:{group}", self._partitions)

    def position(self, group: str, text: str) -> EntryId:
        """
        Return where the message with this id stands in a group's history.

        Raises:
            ValueError: It is no id of a message of this group.
        """
        cursor = Cursor.parse(text)
        if cursor.partition != self.partition(group) or cursor.n > _MAX_N or (cursor.ms, cursor.n) == (0, 0):
            raise ValueError("not an id of this group")
        return cursor.ms, cursor.n

    async def page(self, tenant: str, group: str, *, before: EntryId | None, limit: int) -> Page:
        """
        Return the messages before an id, or the newest. None of a group that keeps no history.

        Raises:
            OSError: There are too many readers, or it took too long (TimeoutError).
            Others of redis-py: Redis cannot be asked.
        """
        if not self.keeps(group):
            return Page()
        partition = self.partition(group)
        since_ms = int(time.time() * 1000) - self._retention_ms
        async with self._in_turn():
            raw = await newest_before(
                self._redis, partition, tenant, group, before=before, since_ms=since_ms, count=limit + 1
            )
        return _page(self._messages(partition, raw[:limit]), has_more=len(raw) > limit)

    async def look_for(self, tenant: str, group: str, *, at: EntryId | None) -> tuple[Sighting, list[Message]]:
        """Look for one message, in the log and in what is kept; see `store.history`. Raises as `page` does."""
        partition = self.partition(group)
        async with self._in_turn():
            sighting = await look_for(self._redis, partition, tenant, group, at=at, count=MAX_LIMIT)
        return sighting, list(self._messages(partition, sighting.kept))

    def decode(self, partition: int, raw: Iterable[RawEntry]) -> Iterator[Entry]:
        """Yield the entries that can be read."""
        decoder = self._decoders.get(partition)
        if decoder is None:
            decoder = self._decoders[partition] = EntryDecoder(partition)
        for entry_id, fields in raw:
            with contextlib.suppress(PoisonEntry):  # counted when the log was read
                yield decoder.decode(entry_id, fields)

    def _messages(self, partition: int, raw: Iterable[RawEntry]) -> Iterator[Message]:
        for entry_id, fields in raw:
            named = dict(zip(fields[::2], fields[1::2], strict=True))
            epoch = named.get(F_EPOCH, b"").decode("ascii", "replace")
            for entry in self.decode(partition, [(entry_id, fields)]):
                yield Message(entry, epoch, named.get(F_ID, entry_id))

    @contextlib.asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it for so long that both together stay within the deadline."""
        if self._waiting >= _MOST_WAITING:
            raise TimeoutError("too many read histories")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s), self._turn:
                yield
        finally:
            self._waiting -= 1


def _page(messages: Iterable[Message], *, has_more: bool) -> Page:
    """Make a page, of less than was asked for where that would be too large for one frame."""
    texts: list[bytes] = []
    size = 0
    for message in messages:
        try:
            text = event_text(message.entry, message.epoch)
        except PoisonEntry:
            continue
        size += len(text)
        if texts and size > MAX_PAGE_BYTES:
            has_more = True
            break
        texts.append(text)
    return Page(b"[%b]" % b",".join(texts), has_more)
