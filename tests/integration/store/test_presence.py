"""Presence in Redis: edges, repetition, processes that are replaced, and who counts as alive."""

from __future__ import annotations

import itertools

import orjson
import pytest
from redis.asyncio import Redis

from gateway.errors import PresenceUnsettled
from gateway.presence import Change, Kept, Mark
from gateway.store import keys
from gateway.store.online import Online, page
from gateway.store.presence import PresenceStore
from publisher.event import F_COLLAPSE, F_DATA, F_EXCLUDE, F_TENANT, F_TO
from publisher.keys import partition_of
from tests.support.redis_server import RedisServer

P = 0
NAMES = ["ada", "a b", "ä:ö {x} 1*", "'\"]", "日本", "x" * 256]
numbers = itertools.count(1)


def store(redis: Redis, token: str = "t1", partitions: int = 1) -> PresenceStore:
    return PresenceStore(redis, token=token, partitions=partitions, maxlen=1_000)


def joins(*users: str, group: str = "ops", tenant: str = "default", aloud: bool = True) -> list[Change]:
    return [Change((tenant, group, user), here=True, aloud=aloud) for user in users]


def leaves(*users: str, group: str = "ops", tenant: str = "default") -> list[Change]:
    return [Change((tenant, group, user), here=False, aloud=True) for user in users]


async def begun(redis: Redis, *instances: str) -> PresenceStore:
    """Return a store that speaks for these instances."""
    own = store(redis)
    for name in instances:
        assert await own.claim(P, name, number=next(numbers)) is not None
    return own


async def tell(own: PresenceStore, instance: str, changes: list[Change], number: int | None = None) -> int | None:
    return await own.apply(P, instance, changes, number=number or next(numbers))


async def announced(redis: Redis) -> list[tuple[str, str, str]]:
    """Return group, user and action of each announcement, in order."""
    entries = await redis.xrange(keys.stream(P))
    data = [orjson.loads(fields[F_DATA]) for _, fields in entries]
    return [(each["group_id"], each["user_id"], each["action"]) for each in data]


def online(redis: Redis, **options: str) -> Online:
    return Online(redis, partitions=1, kept=Kept(["*"]), **options)


# Edges.


async def test_the_first_instance_announces_a_join_and_the_last_a_leave(redis: Redis) -> None:
    own = await begun(redis, "a", "b")
    await tell(own, "a", joins("ada"))
    await tell(own, "b", joins("ada"))
    assert await announced(redis) == [("ops", "ada", "join")]
    await tell(own, "a", leaves("ada"))
    assert await announced(redis) == [("ops", "ada", "join")]
    await tell(own, "b", leaves("ada"))
    assert await announced(redis) == [("ops", "ada", "join"), ("ops", "ada", "leave")]
    assert not await redis.exists(keys.presence_group(P, "default", "ops"))


async def test_an_announcement_is_for_the_group_but_not_for_the_user(redis: Redis) -> None:
    await tell(await begun(redis, "a"), "a", joins("ada", tenant="acme"))
    ((_, fields),) = await redis.xrange(keys.stream(P))
    assert (fields[F_TENANT], fields[F_TO], fields[F_EXCLUDE]) == (b"acme", b'["group:ops"]', b'["user:ada"]')
    assert fields[F_COLLAPSE].startswith(b"presence:")


async def test_a_group_hears_first_who_came_and_then_who_left(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", joins("c"))
    await tell(own, "a", [*leaves("c"), *joins("b", "a"), *joins("d", group="dev")])
    said = await announced(redis)
    assert [change for change in said if change[0] == "dev"] == [("dev", "d", "join")]
    assert [change for change in said if change[0] == "ops"] == [
        ("ops", "c", "join"),
        ("ops", "b", "join"),
        ("ops", "a", "join"),
        ("ops", "c", "leave"),
    ]


async def test_users_online_and_what_is_told_in_a_low_voice_are_not_announced(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", [*joins("ada", group=""), *joins("ada", aloud=False)])
    assert await announced(redis) == []
    assert await online(redis).users("default") == await online(redis).members("default", "ops") == ["ada"]


@pytest.mark.parametrize("repeated", [joins("ada", "bob"), leaves("ada", "bob")])
async def test_a_repeated_batch_announces_nothing_again(redis: Redis, repeated: list[Change]) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", joins("ada", "bob"))
    held = await tell(own, "a", repeated)
    before = await announced(redis)
    assert await tell(own, "a", repeated) == held
    assert await announced(redis) == before


async def test_a_batch_that_was_held_up_changes_nothing(redis: Redis) -> None:
    own = await begun(redis, "a")
    early, late = next(numbers), next(numbers)
    await tell(own, "a", [*joins("bob"), *leaves("ada")], late)
    assert await tell(own, "a", joins("ada"), early) is None
    assert await online(redis).members("default", "ops") == ["bob"]


async def test_a_process_that_was_replaced_changes_nothing(redis: Redis) -> None:
    old, new = store(redis, "old"), store(redis, "new")
    await old.claim(P, "a", number=1)
    await tell(old, "a", joins("ada"))
    claim = await new.claim(P, "a", number=1)
    assert claim is not None
    assert claim.held == 1
    assert await tell(old, "a", leaves("ada")) is None
    assert await tell(old, "never claimed", joins("bob")) is None
    assert await announced(redis) == [("ops", "ada", "join")]
    assert not (await old.beat(P, "a")).mine
    assert (await new.beat(P, "a")).mine


# Beats, claims.


async def test_a_beat_says_what_redis_has(redis: Redis) -> None:
    own = await begun(redis, "a", "b")
    number = next(numbers)
    await tell(own, "a", joins("ada", "bob"), number)
    beat = await own.beat(P, "a")
    assert (beat.mine, beat.number, beat.held, set(beat.instances)) == (True, number, 2, {"a", "b"})
    assert beat.epoch.encode() == await redis.get(keys.epoch(P))
    await redis.flushall()
    beat = await own.beat(P, "a")
    assert (beat.mine, beat.epoch, beat.number, beat.held, beat.instances) == (False, "", 0, 0, {})


async def test_of_two_who_bury_the_same_instance_one_does(redis: Redis) -> None:
    own = await begun(redis, "dead")
    await tell(own, "dead", joins("ada"))
    said = (await own.beat(P, "dead")).instances["dead"]
    one, two = store(redis, "one"), store(redis, "two")
    claims = [await each.claim(P, "dead", number=next(numbers), instead_of=said) for each in (one, two)]
    assert [claim is not None for claim in claims] == [True, False]
    assert await tell(two, "dead", leaves("ada")) is None
    assert await tell(one, "dead", leaves("ada")) == 0
    assert await announced(redis) == [("ops", "ada", "join"), ("ops", "ada", "leave")]


async def test_what_an_instance_holds_comes_in_parts(redis: Redis) -> None:
    own = await begun(redis, "a")
    expected: set[Mark] = set()
    for start in range(0, 2_000, 250):
        changes = joins(*(str(number) for number in range(start, start + 250)))
        expected |= {change.mark for change in changes}
        await tell(own, "a", changes)
    await redis.sadd(keys.presence_held(P, "a"), "not\nours", b"\xff")
    parts = [part async for part in own.held(P, "a")]
    assert len(parts) > 1
    assert {mark for part in parts for mark in part} == expected
    assert await redis.scard(keys.presence_held(P, "a")) == len(expected)


async def test_an_instance_that_is_forgotten_leaves_nothing(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", [*joins("ada"), *joins("ada", group="")])
    await own.apply(P, "a", [*leaves("ada"), *leaves("ada", group="")], number=next(numbers), forget=True)
    assert await redis.keys("tg:presence:*") == []


async def test_an_instance_that_holds_something_is_not_forgotten(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", joins("ada", "bob"))
    assert await own.apply(P, "a", leaves("ada"), number=next(numbers), forget=True) == 1
    assert "a" in (await own.beat(P, "a")).instances


@pytest.mark.parametrize("name", NAMES)
async def test_names_come_back_as_they_were(redis: Redis, name: str) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", [*joins(name, group=name), *joins(name, group="")])
    assert await online(redis).members("default", name) == await online(redis).users("default") == [name]
    assert [mark async for part in own.held(P, "a") for mark in part]
    assert await announced(redis) == [(name, name, "join")]
    await tell(own, "a", [*leaves(name, group=name), *leaves(name, group="")])
    assert await online(redis).members("default", name) == await online(redis).users("default") == []


def test_no_two_keys_of_presence_are_the_same() -> None:
    tenants, groups = ("users", "group", "a"), ("users", "x:users", "@held:users", "{y}")
    made = [keys.presence_users(P, tenant) for tenant in tenants]
    made += [keys.presence_group(P, tenant, group) for tenant in tenants for group in groups]
    made += [keys.presence_held(P, instance) for instance in ("users", "group")]
    made += [keys.presence_instances(P), keys.presence_tenants(P)]
    assert len(made) == len(set(made))
    assert all(key.startswith("tg:presence:{events:0}:") for key in made)


# Lives.


async def test_every_key_ends_by_itself_and_lives_on_while_it_is_renewed(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", [*joins("ada"), *joins("ada", group="")])
    found = await redis.keys("tg:presence:*")
    assert len(found) == 5
    for key in found:
        assert 0 < await redis.pttl(key) <= (900_000 if b"@" not in key else 1_800_000)
        await redis.pexpire(key, 10_000)
    await own.beat(P, "a")
    assert await own.renew([("default", "ops"), ("default", "")])
    for key in found:
        assert await redis.pttl(key) > 800_000
    assert not await own.renew([("default", "gone")])


async def test_a_silent_instance_without_a_lease_does_not_count(redis: Redis) -> None:
    own = await begun(redis, "dead", "live")
    await tell(own, "dead", [*joins("ada", group=""), *joins("bob", group=""), *joins("ada")])
    await tell(own, "live", joins("bob", group=""))
    who = online(redis)
    assert await who.count() == 2
    await redis.hset(keys.presence_instances(P), "dead", "t1 1 1000")  # its last beat was in 1970
    await redis.set(keys.instance("dead"), "a lease", px=60_000)
    assert await who.users("default") == ["ada", "bob"]
    await redis.delete(keys.instance("dead"))
    assert await who.users("default") == ["bob"]
    assert await who.which("default", ["ada", "bob", "cyd"]) == {"ada": False, "bob": True, "cyd": False}
    assert await who.members("default", "ops") == []
    assert await who.count() == 1


async def test_tenants_are_told_apart_and_counted_together(redis: Redis) -> None:
    own = await begun(redis, "a")
    await tell(own, "a", [*joins("ada", group="", tenant="acme"), *joins("ada", group="")])
    await tell(own, "a", [*joins("bob", group="", tenant="acme"), *joins("bob", tenant="acme")])
    who = online(redis)
    assert (await who.users("acme"), await who.users("default"), await who.users("other")) == (
        ["ada", "bob"],
        ["ada"],
        [],
    )
    assert (await who.members("acme", "ops"), await who.members("default", "ops")) == (["bob"], [])
    assert await who.count() == 3
    await tell(own, "a", leaves("ada", group=""))
    assert await redis.smembers(keys.presence_tenants(P)) == {b"acme"}
    assert await who.count() == 2


async def test_while_presence_is_told_again_nobody_is_told_who_is_online(redis: Redis) -> None:
    own = await begun(redis, "a")
    assert await online(redis, instance_id="a").count() == 0
    await own.claim(P, "a", number=next(numbers), settle_s=60)
    for question in (online(redis).users("default"), online(redis).count()):
        with pytest.raises(PresenceUnsettled):
            await question
    await own.claim(P, "a", number=next(numbers), settle_s=0.001)
    await redis.hset(keys.presence_instances(P), "*", "1000")
    assert await online(redis).users("default") == []
    await redis.flushall()
    with pytest.raises(PresenceUnsettled):  # we are not there: Redis has forgotten more than us
        await online(redis, instance_id="a").users("default")


async def test_presence_is_spread_over_the_partitions(redis: Redis) -> None:
    own = store(redis, partitions=4)
    for partition in range(4):
        await own.claim(partition, "a", number=next(numbers))
    groups = [f"g{number}" for number in range(8)]
    used = set()
    for group in groups:
        partition = own.partition(("default", group))
        assert partition == partition_of(f"group:{group}", 4)
        used.add(partition)
        await own.apply(partition, "a", joins("ada", group=group), number=next(numbers))
    for tenant in groups:
        partition = own.partition((tenant, ""))
        await own.apply(partition, "a", joins("ada", group="", tenant=tenant), number=next(numbers))
    assert len(used) > 1
    who = Online(redis, partitions=4, kept=Kept(["*"]))
    assert [await who.members("default", group) for group in groups] == [["ada"]] * 8
    assert await who.count() == 8


def test_a_page_begins_behind_a_name() -> None:
    names = ["a", "b", "c", "d"]
    assert page(names, after=None, limit=2) == ["a", "b"]
    assert page(names, after="b", limit=2) == ["c", "d"]
    assert page(names, after="bb", limit=9) == ["c", "d"]
    assert page(names, after="d", limit=2) == []


async def test_ten_thousand_users_are_listed(redis: Redis, server: RedisServer) -> None:
    own = await begun(redis, "a")
    users = [f"user-{number:05}" for number in range(10_000)]
    for start in range(0, len(users), 250):
        await tell(own, "a", joins(*users[start : start + 250], group=""))
    assert await online(redis).users("default") == users
    assert await online(redis).count() == 10_000
