"""
A look at the log and its server from outside, for tools: without a consumer group, and without leaving a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gateway.entry import EntryId, join_id, split_id
from gateway.store import keys

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    What one partition's stream holds.

    Attributes:
        epoch: The log's incarnation; empty where there is no log yet.
        first: Id of the oldest entry that is there, or None.
        last: Id of the newest entry that it ever had.
        length: How many entries there are.
    """

    epoch: str
    first: EntryId | None
    last: EntryId
    length: int


async def epoch_of(redis: Redis, partition: int) -> str:
    """Return the incarnation of a partition's log; empty where there is none yet."""
    epoch: Any = await redis.get(keys.epoch(partition))
    return epoch.decode() if epoch else ""


async def bounds(redis: Redis, partition: int) -> Bounds:
    """Return what a partition's stream holds; empty bounds where there is none."""
    epoch = await epoch_of(redis, partition)
    try:
        info: Any = await redis.xinfo_stream(keys.stream(partition))
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return Bounds("", None, (0, 0), 0)
    first = info["first-entry"]
    return Bounds(
        epoch=epoch,
        first=split_id(first[0]) if first else None,
        last=split_id(info["last-generated-id"]),
        length=info["length"],
    )


async def read_on(
    redis: Redis, positions: Mapping[int, EntryId], *, count: int, block_ms: int
) -> list[tuple[int, bytes, Fields]]:
    """
    Return entries after the given positions, as (partition, id, fields), ordered by id.

    Waits up to `block_ms` for the first one; `count` is per partition.
    """
    streams: Any = {keys.stream(partition): join_id(after) for partition, after in positions.items()}
    partitions = {keys.stream(partition).encode(): partition for partition in positions}
    reply: Any = await redis.xread(streams, count=count, block=block_ms)
    found = [(partitions[stream], entry_id, fields) for stream, entries in reply for entry_id, fields in entries]
    return sorted(found, key=lambda entry: (split_id(entry[1]), entry[0]))


async def find_entry(redis: Redis, partition: int, entry_id: EntryId) -> Fields | None:
    """Return the fields of one entry, or None where it is not, or no longer, in the stream."""
    where = join_id(entry_id)
    reply: Any = await redis.xrange(keys.stream(partition), min=where, max=where)
    return reply[0][1] if reply else None


async def server_time_ms(redis: Redis) -> int:
    """Return the server's clock, ms since 1970: the ids of entries are made with it."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def server_facts(redis: Redis) -> dict[str, Any]:
    """Return what the server says of itself (INFO)."""
    facts: dict[str, Any] = await redis.info()
    return facts
