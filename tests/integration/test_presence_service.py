"""The presence service on a real Redis, without sockets: deaths, outages, losses and heirs, at a quick pace."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest
from redis.asyncio import Redis

from gateway.hub import Hub
from gateway.presence import Kept, Tracker
from gateway.presence_service import PresenceService
from gateway.services import Tasks
from gateway.store import keys
from gateway.store.connection import connect
from gateway.store.online import Online
from gateway.store.presence import PresenceStore
from publisher import Publisher
from publisher.event import F_DATA, F_EVENT
from tests.support.devices import Device
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_tokens = itertools.count(1)


class Instance:
    """One instance's presence."""

    def __init__(self, redis: Redis, name: str, partitions: int = 1) -> None:
        tracker = Tracker(Kept(["*"]), 0.1)
        store = PresenceStore(redis, token=f"token-{next(_tokens)}", partitions=partitions, maxlen=10_000)
        self.name = name
        self.hub = Hub(observe=tracker.observe)
        self.service = PresenceService(
            tracker, store, name, flush_every_s=0.01, beat_every_s=0.05, inherited_grace_s=0.5
        )
        self._devices: dict[tuple[str, str], Device] = {}
        self._tasks = Tasks()
        self.running = False

    def come(self, user: str, group: str = "ops") -> None:
        device = self._devices.setdefault((user, group), Device(user))
        self.hub.add(device, f"group:{group}", 0)
        self.hub.add(device, f"user:{user}", 0)

    def go(self, user: str, group: str = "ops") -> None:
        self.hub.remove_all(self._devices.pop((user, group)))

    async def start(self) -> Instance:
        await self.service.begin()
        self.go_on()
        return self

    def go_on(self) -> None:
        self._tasks.start(self.name, self.service.run())
        self.running = True

    async def die(self) -> None:
        """Stop telling anything, without a goodbye."""
        await self._tasks.cancel()
        self.running = False


class Cluster:
    """Some instances, and what is known of them."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.online = Online(redis, partitions=1, kept=Kept(["*"]))
        self._instances: list[Instance] = []

    async def start(self, name: str, *, leased: bool = True, redis: Redis | None = None) -> Instance:
        if leased:
            await self.redis.set(keys.instance(name), "a lease")
        instance = await Instance(redis or self.redis, name).start()
        self._instances.append(instance)
        return instance

    async def kill(self, instance: Instance) -> None:
        """Let it die, and its lease end."""
        await instance.die()
        await self.redis.delete(keys.instance(instance.name))

    async def members(self, *users: str, group: str = "ops") -> None:
        """Wait until exactly these users are in a group, and online."""

        async def are() -> bool:
            with contextlib.suppress(Exception):
                return await self.online.members("default", group) == sorted(users)
            return False

        await wait_until(are)

    async def announced(self) -> list[tuple[str, str]]:
        """Return user and action of each announcement in the log, in order."""
        entries = await self.redis.xrange(keys.stream(0))
        data = [orjson.loads(fields[F_DATA]) for _, fields in entries if fields[F_EVENT] == b"presence"]
        return [(each["user_id"], each["action"]) for each in data]

    async def announces(self, *expected: tuple[str, str]) -> None:
        """Wait until exactly this is announced."""

        async def is_so() -> bool:
            return sorted(await self.announced()) == sorted(expected)

        await wait_until(is_so)

    async def beats(self, count: int = 8) -> None:
        """Wait until every instance that runs has said so several times from now on."""
        running = [instance.name for instance in self._instances if instance.running]
        for _ in range(count):
            before = await self.redis.hgetall(keys.presence_instances(0))

            async def beaten(before: dict[bytes, bytes] = before) -> bool:
                now = await self.redis.hgetall(keys.presence_instances(0))
                return all(now.get(name.encode()) not in (None, before.get(name.encode())) for name in running)

            await wait_until(beaten)

    async def close(self) -> None:
        for instance in self._instances:
            await instance.die()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.presence_service._END_WITHIN_S", 30.0)


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    client = connect(server.url, 30)
    yield client
    await client.aclose()


@pytest.fixture
async def impatient(server: RedisServer) -> AsyncIterator[Redis]:
    """A client for instances that are to notice when Redis does not answer."""
    client = connect(server.url, 2)
    yield client
    await client.aclose()


@pytest.fixture
async def cluster(server: RedisServer, redis: Redis) -> AsyncIterator[Cluster]:
    async with Publisher(server.url) as tide:
        await tide.publish("the log begins", None, to="all")
    cluster = Cluster(redis)
    yield cluster
    await cluster.close()


# Deaths.


async def test_the_users_of_a_dead_instance_leave_unless_they_are_elsewhere(cluster: Cluster) -> None:
    dying, living = await cluster.start("dying"), await cluster.start("living")
    for user in ("ada", "bob"):
        dying.come(user)
    living.come("bob")
    await cluster.members("ada", "bob")
    await cluster.kill(dying)
    await cluster.members("bob")
    await cluster.announces(("ada", "join"), ("bob", "join"), ("ada", "leave"))
    assert set(await cluster.redis.hgetall(keys.presence_instances(0))) == {b"living"}
    assert not await cluster.redis.exists(keys.presence_held(0, "dying"))


async def test_several_who_bury_at_once_announce_each_leave_once(cluster: Cluster) -> None:
    dying = await cluster.start("dying")
    buriers = [await cluster.start(f"living-{number}") for number in range(4)]
    users = [f"user-{number}" for number in range(700)]
    for user in users:
        dying.come(user)
    buriers[0].come("ada")
    await cluster.members("ada", *users)
    await cluster.kill(dying)
    await cluster.members("ada")
    await cluster.beats()
    leaves = [user for user, action in await cluster.announced() if action == "leave"]
    assert sorted(leaves) == sorted(users)


async def test_a_silent_instance_with_a_lease_is_left_alone(cluster: Cluster) -> None:
    silent, living = await cluster.start("silent"), await cluster.start("living")
    silent.come("ada")
    living.come("bob")
    await cluster.members("ada", "bob")
    await silent.die()
    await cluster.beats()
    await cluster.announces(("ada", "join"), ("bob", "join"))


async def test_an_instance_that_beats_without_a_lease_is_left_alone(cluster: Cluster) -> None:
    """After a failure of Redis, its lease may come back later than its presence."""
    one, other = await cluster.start("one", leased=False), await cluster.start("other", leased=False)
    one.come("ada")
    other.come("bob")
    await cluster.members("ada", "bob")
    await cluster.beats()
    assert {action for _, action in await cluster.announced()} == {"join"}


async def test_an_instance_that_was_taken_for_dead_says_that_its_users_are_here(cluster: Cluster) -> None:
    frozen, living = await cluster.start("frozen"), await cluster.start("living")
    frozen.come("ada")
    frozen.come("bob")
    living.come("bob")
    await cluster.members("ada", "bob")
    await cluster.kill(frozen)
    await cluster.members("bob")
    frozen.go_on()
    await cluster.members("ada", "bob")
    await cluster.announces(("ada", "join"), ("bob", "join"), ("ada", "leave"), ("ada", "join"))


async def test_a_death_between_two_burials_is_finished_by_another(cluster: Cluster) -> None:
    dying = await cluster.start("dying")
    dying.come("ada")
    await cluster.members("ada")
    await cluster.kill(dying)
    said = (await cluster.redis.hget(keys.presence_instances(0), "dying")).decode()
    half = PresenceStore(cluster.redis, token="half", partitions=1, maxlen=1_000)
    assert await half.claim(0, "dying", number=1, instead_of=said) is not None  # and then it dies, too
    await cluster.start("living")
    await cluster.members()
    await cluster.announces(("ada", "join"), ("ada", "leave"))


# Heirs.


async def test_users_who_come_back_to_a_restarted_instance_have_not_left(cluster: Cluster) -> None:
    first = await cluster.start("phoenix")
    for user in ("ada", "bob"):
        first.come(user)
    await cluster.members("ada", "bob")
    await first.die()
    second = await cluster.start("phoenix")
    second.come("ada")
    await cluster.members("ada")
    await cluster.announces(("ada", "join"), ("bob", "join"), ("bob", "leave"))


async def test_a_predecessor_that_still_speaks_is_not_heard(cluster: Cluster) -> None:
    first = await cluster.start("twin")
    first.come("ada")
    await cluster.members("ada")
    await first.die()
    second = await cluster.start("twin")
    second.come("bob")
    await cluster.members("bob")
    first.come("cyd")
    first.service._beat_at = float("inf")  # it is about to end: the lease tells it
    first.go_on()
    await cluster.beats(2)
    await cluster.members("bob")


# Goodbyes.


async def test_an_instance_that_ends_takes_its_users_with_it(cluster: Cluster) -> None:
    ending, staying = await cluster.start("ending"), await cluster.start("staying")
    users = [f"user-{number}" for number in range(600)]
    for user in users:
        ending.come(user)
    staying.come("user-7")
    await cluster.members(*users)
    await ending.service.end()
    await cluster.members("user-7")
    leaves = [user for user, action in await cluster.announced() if action == "leave"]
    assert sorted(leaves) == sorted(set(users) - {"user-7"})
    assert set(await cluster.redis.hgetall(keys.presence_instances(0))) == {b"staying"}


async def test_an_end_without_redis_is_left_to_the_others(cluster: Cluster, server: RedisServer) -> None:
    ending = await cluster.start("ending")
    ending.come("ada")
    await cluster.members("ada")
    server.stop()
    async with asyncio.timeout(20):
        await ending.service.end()
    server.start()
    await cluster.redis.delete(keys.instance("ending"))
    await cluster.start("other")
    await cluster.members()


# Redis fails.


async def test_what_happens_while_redis_is_down_is_told_when_it_is_back(cluster: Cluster, server: RedisServer) -> None:
    one = await cluster.start("one")
    one.come("ada")
    one.come("bob")
    await cluster.members("ada", "bob")
    server.stop()
    one.go("bob")
    one.come("cyd")
    one.come("dan")
    one.go("dan")
    server.start()
    await cluster.members("ada", "cyd")
    await cluster.announces(("ada", "join"), ("bob", "join"), ("cyd", "join"), ("bob", "leave"))


async def test_a_frozen_redis_makes_nobody_join_or_leave_twice(
    impatient: Redis, cluster: Cluster, server: RedisServer
) -> None:
    one, other = [await cluster.start(name, redis=impatient) for name in ("one", "other")]
    one.come("ada")
    other.come("bob")
    await cluster.members("ada", "bob")
    server.pause()
    try:
        one.come("cyd")
        one.go("ada")
        await asyncio.gather(*[wait_until(lambda each=each: each.service._failures) for each in (one, other)])
        one.come("ada")
        one.go("cyd")
    finally:
        server.resume()
    await cluster.members("ada", "bob")
    await cluster.beats()
    announced = await cluster.announced()
    for user in ("ada", "bob", "cyd"):
        actions = [action for name, action in announced if name == user]
        assert actions == ["join", "leave"] * (len(actions) // 2) + ["join"] * (len(actions) % 2), announced
    assert [user for user, action in announced if user == "bob"] == ["bob"]


async def test_a_redis_that_takes_no_writes_is_told_later(cluster: Cluster, server: RedisServer) -> None:
    one = await cluster.start("one")
    await cluster.beats(1)
    with server.client() as admin:
        admin.config_set("maxmemory", 1)
        one.come("ada")
        await wait_until(lambda: one.service._failures)
        admin.config_set("maxmemory", 0)
    await cluster.members("ada")
    await cluster.announces(("ada", "join"))


async def test_after_a_flush_everybody_is_there_again_and_nobody_is_announced(
    cluster: Cluster, server: RedisServer
) -> None:
    one, other = await cluster.start("one"), await cluster.start("other")
    users = [f"user-{number}" for number in range(300)]
    for user in users:
        one.come(user)
    other.come("user-7")
    other.come("bob")
    await cluster.members("bob", *users)
    await cluster.redis.flushall()
    async with Publisher(server.url) as tide:
        await tide.publish("the log begins anew", None, to="all")
    one.go("user-7")  # who is on the other one still
    await cluster.members("bob", *users)
    await cluster.beats(2)
    assert await cluster.announced() == []
    one.go("user-8")
    await cluster.announces(("user-8", "leave"))


@pytest.mark.parametrize(
    "lost",
    [
        keys.presence_instances(0),
        keys.presence_held(0, "one"),
        keys.presence_users(0, "default"),
    ],
)
async def test_a_lost_key_is_made_anew_without_an_announcement(
    cluster: Cluster, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.presence_service._RENEW_EVERY_S", 0.1)
    one = await cluster.start("one")
    one.come("ada")
    await cluster.members("ada")
    await cluster.redis.delete(lost)
    await wait_until(lambda: cluster.redis.exists(lost))
    await cluster.members("ada")
    assert await cluster.announced() == [("ada", "join")]


async def test_a_quiet_group_does_not_vanish(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.presence_service._RENEW_EVERY_S", 0.1)
    one = await cluster.start("one")
    one.come("ada")
    await cluster.members("ada")
    for key in await cluster.redis.keys("tg:presence:*"):
        await cluster.redis.pexpire(key, 5_000)

    async def renewed() -> bool:
        return all([await cluster.redis.pttl(key) > 800_000 for key in await cluster.redis.keys("tg:presence:*")])

    await wait_until(renewed)


async def test_several_partitions_are_kept_in_step(redis: Redis, cluster: Cluster) -> None:
    instance = await Instance(redis, "many", partitions=3).start()
    groups = [f"g{number}" for number in range(9)]
    try:
        for group in groups:
            instance.come("ada", group)
        online = Online(redis, partitions=3, kept=Kept(["*"]))

        async def all_in() -> bool:
            return all([await online.members("default", group) == ["ada"] for group in groups])

        await wait_until(all_in)
        assert await online.count() == 1
        await instance.service.end()
        assert await redis.keys("tg:presence:*") == []
    finally:
        await instance.die()
