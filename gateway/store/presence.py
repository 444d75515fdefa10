"""
Presence in Redis: what each instance says of its connections, put together.

A group's presence lives in the slot of the group's partition of the log, because one script changes it and announces
the change. A tenant's users who are online are announced to nobody, so they live in one hash, in a partition chosen by
the tenant: one look lists them all, and tenants spread.

Each process has a token, and each batch a number: a batch that was held up on its way, or whose sender was replaced,
changes nothing. Every method raises what redis-py raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from gateway.presence import Change, Mark
from gateway.store import keys
from gateway.store.connection import run_script, script
from publisher.cursor import new_epoch
from publisher.event import make_event
from publisher.keys import partition_of

PRESENCE: Final = "presence"
SETTLING: Final = "*"  # among the instances: until when (ms) they tell theirs anew; no instance's name

_CLAIM: Final = script("presence_claim")
_BEAT: Final = script("presence_beat")
_APPLY: Final = script("presence_apply")
_TTL_MS: Final = 900_000
_NAMES_TTL_MS: Final = 2 * _TTL_MS  # of who holds what: a hash must not outlive the names in it, or nobody clears it up
_PER_CALL: Final = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """
    What a process finds when it begins to speak for an instance.

    Attributes:
        epoch: The log's; empty where there is none.
        held: How much the instance holds already.
    """

    epoch: str
    held: int


@dataclass(frozen=True, slots=True)
class Beat:
    """
    What a process hears when it says that it lives.

    Attributes:
        mine: It still speaks for the instance.
        epoch: The log's; empty where there is none.
        number: That of the last batch that was carried out.
        held: How much the instance holds.
        instances: Whoever holds presence, with what stands there for them: something else at each of their beats.
    """

    mine: bool
    epoch: str
    number: int
    held: int
    instances: dict[str, str]


class PresenceStore:
    """
    Writes presence.

    Args:
        token: Names this process.
        maxlen: See `publisher.options.Options`.
    """

    def __init__(self, redis: Redis, *, token: str, partitions: int, maxlen: int) -> None:
        self._redis = redis
        self._token = token
        self._maxlen = maxlen
        self.partitions = partitions

    def partition(self, scope: tuple[str, ...]) -> int:
        """Return where the presence of a (tenant, group) lives; of a tenant, where the group is empty."""
        tenant, group = scope
        return group_partition(group, self.partitions) if group else tenant_partition(tenant, self.partitions)

    async def claim(
        self, partition: int, instance_id: str, *, number: int, instead_of: str = "", settle_s: float = 0.0
    ) -> Claim | None:
        """
        Speak for an instance from now on.

        Args:
            number: Of its next batch.
            instead_of: Only if this still stands there; where it is empty, in any case.
            settle_s: How long the others need to tell theirs anew.

        Returns:
            None where something else stands there.
        """
        where = [keys.presence_instances(partition), keys.presence_held(partition, instance_id), keys.epoch(partition)]
        told = (instance_id, self._token, number, _NAMES_TTL_MS, instead_of, int(settle_s * 1000))
        reply = await run_script(self._redis, _CLAIM, where, *told)
        return Claim(reply[1].decode(), reply[2]) if reply[0] else None

    async def beat(self, partition: int, instance_id: str) -> Beat:
        """Say that the instance lives."""
        where = [
            *(keys.presence_instances(partition), keys.presence_held(partition, instance_id)),
            *(keys.presence_tenants(partition), keys.epoch(partition)),
        ]
        mine, epoch, number, held, pairs = await run_script(
            self._redis, _BEAT, where, instance_id, self._token, _NAMES_TTL_MS
        )
        told = [part.decode() for part in pairs]
        instances = dict(zip(told[::2], told[1::2], strict=True))
        return Beat(bool(mine), epoch.decode(), int(number), held, instances)

    async def apply(
        self, partition: int, instance_id: str, changes: Sequence[Change], *, number: int, forget: bool = False
    ) -> int | None:
        """
        Carry out changes, all of one partition, and announce what they change for the cluster.

        Args:
            changes: Each mark once. A group hears first who has come, then who has left.
            number: Over those of all batches before, tries included.
            forget: And then nothing is left of the instance, if it holds nothing more.

        Returns:
            How much the instance holds now; None where this process does not speak for it.
        """
        hashes: dict[str, dict[str, Any]] = {}  # as the script wants them
        for change in changes:
            tenant, group, user = change.mark
            key = keys.presence_group(partition, tenant, group) if group else keys.presence_users(partition, tenant)
            scope = hashes.get(key)
            if scope is None:
                scope = hashes[key] = _scope(tenant, group)
            scope["join" if change.here else "leave"].append(user)
            if group and change.aloud:
                scope["announce"][user] = _announcement(change)
        where = [
            *(keys.stream(partition), keys.epoch(partition), keys.presence_instances(partition)),
            *(keys.presence_held(partition, instance_id), keys.presence_tenants(partition), *hashes),
        ]
        told = orjson.dumps(list(hashes.values()))
        first = (new_epoch(), self._maxlen, instance_id, self._token, number, _TTL_MS, int(forget))
        reply = await run_script(self._redis, _APPLY, where, *first, told)
        return reply[1] if reply[0] else None

    async def held(self, partition: int, instance_id: str) -> AsyncIterator[list[Mark]]:
        """Yield what an instance holds, in parts; what changes meanwhile may be among it or not."""
        key = keys.presence_held(partition, instance_id)
        members: list[Mark] = []
        async for member in self._redis.sscan_iter(key, count=_PER_CALL):
            mark = _mark(member)
            if mark is not None:
                members.append(mark)
            else:  # nobody else would remove it
                await self._redis.srem(key, member)
            if len(members) >= _PER_CALL:
                yield members
                members = []
        if members:
            yield members

    async def renew(self, scopes: Iterable[tuple[str, str]]) -> bool:
        """Let the hashes of these (tenant, group) live on; tell whether all of them are there."""
        where = []
        for tenant, group in scopes:
            partition = self.partition((tenant, group))
            where.append(
                keys.presence_group(partition, tenant, group) if group else keys.presence_users(partition, tenant)
            )
        complete = True
        for start in range(0, len(where), _PER_CALL):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in where[start : start + _PER_CALL]:
                    pipeline.pexpire(key, _TTL_MS)
                complete &= all(await pipeline.execute())
        return complete

    async def leased(self, instance_ids: Iterable[str]) -> set[str]:
        """Return which of the instances have a lease."""
        return await leased(self._redis, instance_ids)


def group_partition(group_id: str, partitions: int) -> int:
    """Return the partition of a group's presence: that of what is sent to it."""
    return partition_of(f"group:{group_id}", partitions)


def tenant_partition(tenant: str, partitions: int) -> int:
    """Return the partition of a tenant's users."""
    return partition_of(tenant, partitions)


async def leased(redis: Redis, instance_ids: Iterable[str]) -> set[str]:
    """Return which of the instances have a lease."""
    asked = list(instance_ids)
    async with redis.pipeline(transaction=False) as pipeline:
        for instance_id in asked:
            pipeline.exists(keys.instance(instance_id))
        found: list[Any] = await pipeline.execute()
    return {instance_id for instance_id, there in zip(asked, found, strict=True) if there}


def _scope(tenant: str, group: str) -> dict[str, Any]:
    """Return what the script is told of one hash, without any change yet."""
    held, of_all = f"{tenant}\n{group}\n", "" if group else tenant  # no name has a control character
    return {"held": held, "tenant": of_all, "join": [], "leave": [], "announce": {}}


def _announcement(change: Change) -> list[str]:
    """
    Return the fields of the entry that announces a change to the group, but not to the user, whom it tells nothing.

    It is kept, because who resumes must not miss it, and collapsed by user, because of several only the last counts.
    """
    tenant, group, user = change.mark
    data = {"group_id": group, "user_id": user, "action": "join" if change.here else "leave"}
    collapse = "presence:" + blake2b(f"{group}\n{user}".encode(), digest_size=16).hexdigest()
    event = make_event(PRESENCE, data, to=f"group:{group}", exclude=f"user:{user}", tenant=tenant, collapse=collapse)
    return [field.decode() for field in event.fields]


def _mark(member: bytes) -> Mark | None:
    parts = member.decode("utf-8", "replace").split("\n")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None
