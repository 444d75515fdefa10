"""What groups keep, as Redis has it: reads of their streams, each one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from gateway.entry import EntryId, RawEntry, join_id, split_id
from gateway.store import keys


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    Where a message may be.

    Attributes:
        newest: Id of the log's newest entry; (0, 0) where there is none.
        logged: The entry of the log with the id asked for.
        kept: Entries of the history: the one with that id, or the newest.
    """

    newest: EntryId
    logged: list[RawEntry]
    kept: list[RawEntry]


async def newest_before(
    redis: Redis, partition: int, tenant: str, group: str, *, before: EntryId | None, since_ms: int, count: int
) -> list[RawEntry]:
    """Return up to `count` entries of a group's history, the newest first: those before an id, of `since_ms` on."""
    key = keys.history(partition, tenant, group)
    newest = "+" if before is None else b"(" + join_id(before)
    return _raw(await redis.xrevrange(key, max=newest, min=str(max(0, since_ms)), count=count))


async def look_for(
    redis: Redis, partition: int, tenant: str, group: str, *, at: EntryId | None, count: int
) -> Sighting:
    """Look for a message at an id, in the log and in the history; without one, among the newest `count` kept."""
    stream, history = keys.stream(partition), keys.history(partition, tenant, group)
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.xrevrange(stream, count=1)
        if at is None:
            pipeline.xrevrange(history, count=count)
        else:
            pipeline.xrange(history, min=join_id(at), max=join_id(at))
            pipeline.xrange(stream, min=join_id(at), max=join_id(at))
        newest, kept, *logged = await pipeline.execute()
    return Sighting(
        newest=split_id(newest[0][0]) if newest else (0, 0),
        logged=_raw(logged[0]) if logged else [],
        kept=_raw(kept),
    )


def _raw(entries: list[tuple[bytes, Mapping[bytes, bytes]]] | Any) -> list[RawEntry]:
    return [(entry_id, [part for pair in fields.items() for part in pair]) for entry_id, fields in entries]
