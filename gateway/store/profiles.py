"""Profiles as Redis has them: users' durable groups and unread counts, read for many users at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from redis.asyncio import Redis

from gateway.entry import EntryId, split_id
from gateway.profiles import Key, Membership, Snapshot
from gateway.store import keys
from gateway.store.connection import run_script, script

_log = structlog.get_logger()

_LOAD: Final = script("load_profiles")
_LOST: Final = (0, 0)


async def load_profiles(redis: Redis, users: Sequence[Key], partitions: int) -> list[Snapshot]:
    """Return each user's snapshot, by one script per partition."""
    groups: list[dict[str, Membership]] = [{} for _ in users]
    unread: list[int | None] = [None] * len(users)
    for partition in range(partitions):
        own = [
            number
            for number, (_, user) in enumerate(users)
            if partitions == 1 or keys.partition_of(f"user:{user}", partitions) == partition
        ]
        names = [keys.memberships(partition, *user) for user in users]
        names += [keys.inbox_unread(partition, *users[number]) for number in own]
        last, found, counts = await run_script(redis, _LOAD, [keys.stream(partition), *names], len(users))
        end = split_id(last)
        for number, flat in enumerate(found):
            if flat:
                groups[number].update(_memberships(flat, partition, end))
        for number, count in zip(own, counts, strict=True):
            unread[number] = count if count >= 0 else None
    return [Snapshot(*known) for known in zip(groups, unread, strict=True)]


def _memberships(flat: list[bytes], partition: int, end: EntryId) -> dict[str, Membership]:
    found = {}
    for name, added in zip(flat[::2], flat[1::2], strict=True):
        try:
            at = split_id(added)
            # An id beyond the end is of a log that was lost: whoever was added in that has always been a member.
            found[name.decode()] = (partition, at if at <= end else _LOST)
        except ValueError:
            _log.error("poison_membership", group=str(name)[:200])  # one must not keep the others from being loaded
    return found
