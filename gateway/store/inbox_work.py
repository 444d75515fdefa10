"""
The work: notifications that are in the log and not in the inboxes yet.

One stream per partition, shared by all instances through one group. What an instance has read is its own until it is
acknowledged; what it leaves behind when it dies is claimed by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from gateway.decoder import EntryDecoder
from gateway.errors import PoisonEntry
from gateway.store import keys
from gateway.store.connection import run_script, script
from gateway.store.inbox import InboxRules
from publisher.command import WORK_TTL_MS
from publisher.cursor import Cursor
from publisher.notification import data_place, make_unread_count

GROUP: Final = "projector"

_PROJECT: Final = script("inbox_project")
_JOIN: Final = script("join_work")
_PRUNE: Final = script("prune_work")

_USER: Final = "user:"
_MOST_USERS: Final = 1_000  # a publisher writes a hundred
_ID_FIELD: Final = b"i"

RawWork = tuple[bytes, dict[bytes, bytes]]
"""Work as Redis sends it: its id, and its fields; none where it was deleted meanwhile."""


@dataclass(frozen=True, slots=True)
class Work:
    """
    One notification to be written.

    Attributes:
        work_id: Its id in the stream of the work.
        notification_id: Its id in the log.
        tenant, users: Whose inboxes.
        text: What to write: JSON, an object.
    """

    work_id: bytes
    notification_id: str
    tenant: str
    users: tuple[str, ...]
    text: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What became of some work: whether it was done by this call, and whose inbox cannot be written, and why."""

    done: bool
    failures: list[tuple[str, str]]


class WorkStream:
    """
    One instance's part in the work of one partition. Raises the errors of redis-py.

    Args:
        redis: A client whose timeout is longer than `read` blocks.
        consumer: The instance's name in the group.
    """

    def __init__(self, redis: Redis, partition: int, consumer: str, rules: InboxRules) -> None:
        self._redis: Any = redis
        self._partition = partition
        self._stream = keys.inbox_work(partition)
        self._consumer = consumer
        self._rules = rules
        self._decoder = EntryDecoder(partition)

    async def join(self) -> None:
        """Make the group, if it is not there."""
        await run_script(self._redis, _JOIN, [self._stream], GROUP, WORK_TTL_MS)

    async def read(self, count: int, block_ms: int) -> list[RawWork]:
        """Take work that nobody has; none after `block_ms` without any."""
        return _entries(await self._redis.xreadgroup(GROUP, self._consumer, {self._stream: ">"}, count, block_ms))

    async def own(self, count: int) -> list[RawWork]:
        """Return the oldest of what is taken and not done: after a failure, or a restart under the same name."""
        return _entries(await self._redis.xreadgroup(GROUP, self._consumer, {self._stream: "0"}, count))

    async def claim(self, idle_ms: int, count: int) -> list[RawWork]:
        """Take work over that somebody has had for so long: they died, or wait for something."""
        reply = await self._redis.xautoclaim(self._stream, GROUP, self._consumer, idle_ms, "0-0", count)
        return list(reply[1])

    async def backlog(self) -> int:
        """Return how much work there is: what nobody has taken, and what is under way."""
        count: int = await self._redis.xlen(self._stream)
        return count

    async def prune(self, idle_ms: int) -> int:
        """Remove the names of instances that are gone; return how many."""
        removed: int = await run_script(self._redis, _PRUNE, [self._stream], GROUP, idle_ms)
        return removed

    async def drop(self, work_id: bytes) -> None:
        """Let work go undone."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xack(self._stream, GROUP, work_id)
            pipeline.xdel(self._stream, work_id)
            await pipeline.execute()

    def decode(self, raw: RawWork) -> Work:
        """
        Read what a publisher wrote.

        Raises:
            PoisonEntry: It is not a notification that this version can write.
        """
        work_id, fields = raw
        entry = self._decoder.decode(work_id, [part for pair in fields.items() for part in pair])
        try:
            notification_id = str(Cursor.parse(fields[_ID_FIELD].decode("ascii")))
            body = orjson.loads(entry.data)
        except (KeyError, ValueError) as error:
            raise PoisonEntry(work_id, f"not a notification: {type(error).__name__}") from None
        if not isinstance(body, dict) or not body or "id" in body:
            raise PoisonEntry(work_id, "its data is not that of a notification")
        if not all(address.startswith(_USER) for address in entry.to) or len(entry.to) > _MOST_USERS:
            raise PoisonEntry(work_id, "it is not for users, or for too many")
        users = tuple(address.removeprefix(_USER) for address in entry.to)
        return Work(work_id, notification_id, entry.tenant, users, entry.data.strip())

    async def project(self, works: Sequence[Work]) -> list[Written | Exception]:
        """Write notifications, in one round trip, each by itself; return what became of each."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for work in works:
                names, arguments = self._call(work)
                pipeline.execute_command("EVALSHA", _PROJECT.sha, len(names), *names, *arguments)
            replies = await pipeline.execute(raise_on_error=False)
        return [await self._outcome(work, reply) for work, reply in zip(works, replies, strict=True)]

    async def _outcome(self, work: Work, reply: Any) -> Written | Exception:
        if isinstance(reply, NoScriptError):
            names, arguments = self._call(work)
            try:
                reply = await run_script(self._redis, _PROJECT, names, *arguments)
            except ResponseError as error:  # as the pipeline returns it
                reply = error
        if isinstance(reply, Exception):
            return reply
        failed = zip(reply[1::2], reply[2::2], strict=True)
        failures = [(work.users[number - 1], problem.decode(errors="replace")) for number, problem in failed]
        return Written(bool(reply[0]), failures)

    def _call(self, work: Work) -> tuple[list[str], list[str | bytes | int]]:
        partition = self._partition
        names = [keys.stream(partition), keys.epoch(partition), self._stream]
        events = [make_unread_count(work.tenant, user) for user in work.users]
        arguments = [
            *self._rules.arguments(data_place(events[0]), len(events[0].fields)),
            *(GROUP, work.work_id, work.notification_id, work.text),
        ]
        for user, event in zip(work.users, events, strict=True):
            names += keys.box(partition, work.tenant, user)
            arguments += event.fields
        return names, arguments


def _entries(reply: Any) -> list[RawWork]:
    entries: list[RawWork] = reply[0][1] if reply else []
    return entries
