"""
The log's stream: one reader's connection to one partition.

Owns a connection of its own, because a blocking read holds it, and speaks to it by a `Channel`: the reply of
XREADGROUP is used as hiredis parsed it, without a second pass over every entry.
"""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from gateway.continuity import StreamState
from gateway.entry import EntryId, RawEntry, join_id, split_id
from gateway.store import keys
from gateway.store.channel import Channel
from gateway.store.connection import script
from publisher.cursor import new_epoch

_LOOK: Final = script("look")
_NEW_EPOCH: Final = script("new_epoch")


class GroupMissing(Exception):
    """The consumer group, or the whole stream, is gone (NOGROUP)."""


class StreamReader:
    """
    Reads one partition for one instance.

    Every wait has a deadline. After any error the connection must be dropped with `disconnect`: a late reply could
    be taken for the next command's. Errors are those of redis-py.
    """

    def __init__(self, redis: Redis, partition: int, instance_id: str, *, timeout_s: float) -> None:
        self._pool: Any = redis.connection_pool
        self._stream = keys.stream(partition)
        self._epoch = keys.epoch(partition)
        self._group = keys.group(instance_id)
        self._consumer = instance_id
        self._timeout_s = timeout_s
        self._connection: Any = None
        self._channel: Channel | None = None

    async def connect(self) -> None:
        """Open the connection; through the pool, so that Sentinel and TLS work as they do for other clients."""
        self._connection = self._pool.make_connection()
        await self._connection.connect()
        self._channel = Channel(self._connection)

    async def disconnect(self) -> None:
        """Drop the connection, whatever it is doing."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _call(self, *command: str | bytes | int, wait_s: float = 0.0) -> Any:
        """
        Run one command.

        Raises:
            TimeoutError: No reply in time, which is `timeout_s` and, for a command that blocks, `wait_s`.
        """
        if self._channel is None:
            raise RedisConnectionError("there is no connection")
        return await self._channel.call(*command, within_s=self._timeout_s + wait_s)

    async def look(self, after: EntryId | None = None) -> StreamState:
        """Return the stream's state, as a reader sees it who has read up to `after`; make the log if there is none."""
        read = () if after is None else (join_id(after),)
        epoch, last, added, length, first, newest, behind_ms = await self._run(_LOOK.sha, _LOOK.source, *read)
        return StreamState(
            epoch=epoch.decode(),
            last=split_id(last),
            added=int(added),
            length=int(length),
            first=split_id(first) if first else None,
            newest=split_id(newest) if newest else None,
            behind_ms=max(0, behind_ms),
        )

    async def _run(self, sha: bytes, source: bytes, *more: bytes) -> Any:
        operands: tuple[str | bytes | int, ...] = (
            2,
            self._stream,
            self._epoch,
            new_epoch(),
            self._group,
            self._consumer,
            *more,
        )
        try:
            return await self._call("EVALSHA", sha, *operands)
        except NoScriptError:
            return await self._call("EVAL", source, *operands)

    async def begin_epoch(self, ended: str) -> str:
        """Name a new epoch after `ended`; return the one in force, which may be another instance's choice."""
        epoch: bytes = await self._call("EVAL", _NEW_EPOCH.source, 1, self._epoch, ended, new_epoch())
        return epoch.decode()

    async def set_position(self, after: EntryId, count: int) -> None:
        """
        Let the group go on after `after`, up to where the stream had been given `count` entries; make it if need be.

        Raises:
            GroupMissing: There is no stream.
        """
        position = ("ENTRIESREAD", count)  # from which Redis knows the lag
        try:
            # First, because a server that is out of memory refuses CREATE without looking whether there is anything
            # to create.
            await self._call("XGROUP", "SETID", self._stream, self._group, join_id(after), *position)
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "key to exist" not in str(error):
                raise
        else:
            return
        try:
            await self._call("XGROUP", "CREATE", self._stream, self._group, join_id(after), *position)
        except ResponseError as error:
            raise (GroupMissing() if "key to exist" in str(error) else error) from None
        # Redis 7.0 makes it only when a read brings something, and a group without any is taken for abandoned.
        await self._call("XGROUP", "CREATECONSUMER", self._stream, self._group, self._consumer)

    async def read_group(self, count: int, block_ms: int) -> list[RawEntry]:
        """
        Return the next entries of the group; none after `block_ms` without one.

        Raises:
            GroupMissing: See there.
        """
        try:
            reply = await self._call(
                *("XREADGROUP", "GROUP", self._group, self._consumer, "NOACK", "COUNT", count),
                *("BLOCK", block_ms, "STREAMS", self._stream, ">"),
                wait_s=block_ms / 1000,
            )
        except ResponseError as error:
            # UNBLOCKED: the stream was deleted (older servers), or the server's role changed, under a waiting read.
            if str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise GroupMissing from None
            raise
        return _entries(reply)

    async def read_after(self, after: EntryId, count: int, block_ms: int) -> list[RawEntry]:
        """Return the entries after an id, without the group: works on a server that takes no writes."""
        reply = await self._call(
            *("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self._stream, join_id(after)),
            wait_s=block_ms / 1000,
        )
        return _entries(reply)

    async def range_after(self, after: EntryId, count: int) -> list[RawEntry]:
        """Return up to `count` entries after an id, at once."""
        reply: list[RawEntry] = await self._call("XRANGE", self._stream, b"(" + join_id(after), "+", "COUNT", count)
        return reply


def _entries(reply: Any) -> list[RawEntry]:
    """Return the entries in a reply of XREAD or XREADGROUP about one stream; RESP2 answers nil where there is none."""
    entries: list[RawEntry] = reply[0][1] if reply else []
    return entries


async def entries_after(redis: Redis, partition: int, after: EntryId, count: int) -> tuple[list[RawEntry], bool]:
    """Return up to `count` entries after an id, and whether none of those after it was trimmed. At one moment."""
    stream = keys.stream(partition)
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.xrange(stream, min=b"(" + join_id(after), count=count)
        pipeline.xinfo_stream(stream)
        found, info = await pipeline.execute()
    first = info["first-entry"]
    untrimmed = info["entries-added"] == info["length"]
    page = [(entry_id, [part for pair in fields.items() for part in pair]) for entry_id, fields in found]
    return page, untrimmed or bool(first and split_id(first[0]) <= after)


async def trim(redis: Redis, partition: int, retention_s: float) -> None:
    """Let go of entries that are older than the retention, by the server's clock: ours may be wrong."""
    seconds, _ = await redis.time()
    horizon = int((seconds - retention_s) * 1000)
    if horizon > 0:
        await redis.xtrim(keys.stream(partition), minid=horizon, approximate=True)
