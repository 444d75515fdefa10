"""
Inboxes: the notifications of each user, as `publisher.keys.inbox` and its siblings hold them.

Every change is one script, which tells the user's devices of the unread count in the same step, by an entry of the
log. What is over its time, or too much, is gone whenever somebody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from gateway.store import keys
from gateway.store.connection import run_script, script
from publisher.cursor import new_epoch
from publisher.keys import partition_of
from publisher.notification import data_place, make_unread_count
from publisher.script import Script

MAX_ID_LENGTH: Final = 128  # a cursor has less

_PAGE: Final = script("inbox_page")
_GET: Final = script("inbox_get")
_READ: Final = script("inbox_read")
_DELETE: Final = script("inbox_delete")
_COUNT: Final = script("inbox_count")
_CHECK: Final = script("inbox_check")

_AT_A_TIME: Final = 32
_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class InboxRules:
    """
    What holds for every inbox.

    Attributes:
        partitions, maxlen: Of the log.
        max_entries: Most notifications of a user.
        retention_ms: How long they are kept.
    """

    partitions: int
    maxlen: int
    max_entries: int
    retention_ms: int

    def arguments(self, place: int, fields: int) -> list[str | int]:
        """Return what every script is told first; see `inbox.lua`."""
        return [new_epoch(), self.maxlen, self.max_entries, self.retention_ms, place, fields]


def inbox_rules(*, partitions: int, maxlen: int, max_entries: int, retention_days: float) -> InboxRules:
    """Return the rules that the settings make."""
    return InboxRules(partitions, maxlen, max_entries, int(retention_days * _DAY_MS))


@dataclass(frozen=True, slots=True)
class Item:
    """
    A notification in an inbox.

    Attributes:
        id: That of its frame.
        text: The rest of it, as JSON text: an object.
        read: Whether its user has read it.
    """

    id: str
    text: bytes
    read: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the notifications of an inbox; `total` is how many there are of the kind that was asked for."""

    items: list[Item]
    total: int
    unread: int


@dataclass(frozen=True, slots=True)
class Marked:
    """What became of a request to mark notifications: how many are unread now, have changed, and are there at all."""

    unread: int
    changed: int
    known: int


@dataclass(frozen=True, slots=True)
class Recount:
    """
    An inbox, counted anew.

    Attributes:
        notifications: How many there are.
        served: How many are said to be unread.
        counted: How many are.
        lost: Listed, and not there.
        hidden: There, and not listed.
    """

    tenant: str
    user: str
    notifications: int
    served: int
    counted: int
    lost: int
    hidden: int

    @property
    def right(self) -> bool:
        """Whether all that is said of it is so."""
        return self.served == self.counted and not self.lost and not self.hidden


class Inbox:
    """
    The inboxes. Raises the errors of redis-py, and TimeoutError.

    Args:
        timeout_s: Longest wait for Redis, the wait for one's turn included: many clients may ask at once, and must not
            open a connection each.
    """

    def __init__(self, redis: Redis, rules: InboxRules, *, timeout_s: float) -> None:
        self._redis = redis
        self._rules = rules
        self._timeout_s = timeout_s
        self._turn = asyncio.Semaphore(_AT_A_TIME)

    async def page(
        self, tenant: str, user: str, *, page: int, size: int, unread_only: bool = False, kind: str | None = None
    ) -> Page:
        """Return a page, counted from 1, of the newest notifications: all, unread ones, or those of one type."""
        begins = b'{"type":%b,' % orjson.dumps(kind) if kind is not None else b""
        total, unread, *found = await self._run(_PAGE, tenant, user, (page - 1) * size, size, int(unread_only), begins)
        items = [
            Item(entry_id.decode(), text, not is_unread)
            for entry_id, text, is_unread in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]
        return Page(items, total, unread)

    async def get(self, tenant: str, user: str, notification_id: str) -> Item | None:
        """Return one notification."""
        found = await self._run(_GET, tenant, user, notification_id)
        return Item(notification_id, found[0], not found[1]) if found else None

    async def mark_read(self, tenant: str, user: str, ids: Sequence[str]) -> Marked:
        """Mark some notifications as read; ids that are not there change nothing."""
        return Marked(*await self._run(_READ, tenant, user, 0, *ids))

    async def mark_all_read(self, tenant: str, user: str) -> Marked:
        """Mark all of a user's notifications as read."""
        return Marked(*await self._run(_READ, tenant, user, 1))

    async def delete(self, tenant: str, user: str, notification_id: str) -> int | None:
        """Delete a notification; return how many are unread then, or None where it was not there."""
        unread, known = await self._run(_DELETE, tenant, user, notification_id)
        return unread if known else None

    async def unread_count(self, tenant: str, user: str) -> int:
        """Return how many notifications are unread."""
        count: int = await self._run(_COUNT, tenant, user)
        return count

    async def check(self, tenant: str, user: str, *, repair: bool = False) -> Recount:
        """Count an inbox anew; with `repair`, make right what is not so."""
        return Recount(tenant, user, *await self._run(_CHECK, tenant, user, int(repair)))

    async def owners(self, tenant: str | None = None) -> AsyncIterator[tuple[str, str]]:
        """Yield the tenant and the user of every inbox there is, or of a tenant's, each once."""
        seen: set[tuple[str, str]] = set()
        key: Any
        async for key in self._redis.scan_iter(match=keys.inbox_pattern(tenant), count=1000):
            owner = keys.inbox_owner(key.decode())
            if owner not in seen:
                seen.add(owner)
                yield owner

    async def _run(self, lua: Script, tenant: str, user: str, *arguments: str | bytes | int) -> Any:
        partition = partition_of(f"user:{user}", self._rules.partitions)
        event = make_unread_count(tenant, user)
        told = self._rules.arguments(data_place(event), len(event.fields))
        names = [keys.stream(partition), keys.epoch(partition), *keys.box(partition, tenant, user)]
        async with asyncio.timeout(self._timeout_s), self._turn:
            return await run_script(self._redis, lua, names, *told, *event.fields, *arguments)
