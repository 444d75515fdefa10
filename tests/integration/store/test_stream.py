"""The log's stream, read by one instance."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from gateway.continuity import StreamState
from gateway.store import keys
from gateway.store.connection import connect, eviction_policy, run_script, script
from gateway.store.stream import GroupMissing, StreamReader, entries_after, trim
from publisher import Publisher
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

STREAM = keys.stream(0)
EPOCH = keys.epoch(0)


async def _fill(redis: Redis, *numbers: int) -> None:
    for number in numbers:
        await redis.xadd(STREAM, {"n": str(number)}, id=f"{number}-0")


class TestLook:
    async def test_a_log_that_is_not_there_is_made_with_an_epoch(self, redis: Redis, reader: StreamReader) -> None:
        state = await reader.look()
        assert state == StreamState(state.epoch, (0, 0), 0, 0, None, None)
        assert (await redis.get(EPOCH)).decode() == state.epoch
        assert await redis.xlen(STREAM) == 0
        assert await reader.look() == state

    async def test_it_shows_the_ends_and_the_counts(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2, 3, 4)
        await redis.xdel(STREAM, "1-0", "4-0")
        state = await reader.look()
        assert (state.last, state.added, state.length) == ((4, 0), 4, 2)
        assert (state.first, state.newest) == ((2, 0), (3, 0))

    async def test_an_emptied_log_has_no_ends(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2)
        await redis.xtrim(STREAM, maxlen=0, approximate=False)
        state = await reader.look()
        assert (state.last, state.added, state.first, state.newest) == ((2, 0), 2, None, None)

    async def test_a_lost_stream_has_another_epoch_though_the_old_one_is_there(
        self, redis: Redis, reader: StreamReader
    ) -> None:
        before = await reader.look()
        await redis.delete(STREAM)
        after = await reader.look()
        assert after.epoch != before.epoch
        assert (await redis.get(EPOCH)).decode() == after.epoch

    async def test_it_finds_the_epoch_of_a_publisher_that_came_first(
        self, redis: Redis, server: RedisServer, reader: StreamReader
    ) -> None:
        async with Publisher(server.url, timeout_s=60) as tide:
            event_id = await tide.publish("first", None, to="all")
        assert event_id.endswith((await reader.look()).epoch)

    async def test_it_writes_nothing_where_nothing_is_missing(self, redis: Redis, reader: StreamReader) -> None:
        before = await reader.look()
        await redis.replicaof("127.0.0.1", 1)
        try:
            assert await reader.look() == before
        finally:
            await redis.replicaof("NO", "ONE")

    async def test_it_works_after_the_scripts_were_forgotten(self, redis: Redis, reader: StreamReader) -> None:
        before = await reader.look()
        await redis.script_flush()
        assert await reader.look() == before


class TestEpoch:
    async def test_of_two_who_end_an_epoch_the_first_names_the_next(self, redis: Redis, reader: StreamReader) -> None:
        other = StreamReader(redis, 0, "b", timeout_s=30)
        await other.connect()
        old = (await reader.look()).epoch
        named = await asyncio.gather(reader.begin_epoch(old), other.begin_epoch(old))
        assert len(set(named)) == 1
        assert named[0] != old
        assert await reader.begin_epoch(old) == named[0]
        await other.disconnect()

    async def test_a_server_that_takes_no_writes_refuses(self, redis: Redis, reader: StreamReader) -> None:
        old = (await reader.look()).epoch
        await redis.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(ReadOnlyError):
                await reader.begin_epoch(old)
        finally:
            await redis.replicaof("NO", "ONE")


class TestGroup:
    async def test_it_goes_on_after_its_position(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2, 3)
        await reader.set_position((1, 0), 1)
        assert await reader.read_group(10, 100) == [[b"2-0", [b"n", b"2"]], [b"3-0", [b"n", b"3"]]]
        assert await reader.read_group(10, 10) == []
        await reader.set_position((2, 0), 2)
        assert await reader.read_group(10, 100) == [[b"3-0", [b"n", b"3"]]]

    async def test_redis_knows_its_lag(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2, 3, 4, 5)
        for position, lag in ((2, 3), (4, 1), (0, 5)):  # made, moved on, moved back
            await reader.set_position((position, 0), position)
            assert [group["lag"] for group in await redis.xinfo_groups(STREAM)] == [lag]
        await reader.read_group(4, 100)
        assert [group["lag"] for group in await redis.xinfo_groups(STREAM)] == [1]
        assert [group["pending"] for group in await redis.xinfo_groups(STREAM)] == [0]

    async def test_one_that_is_missing_is_told_apart(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1)
        with pytest.raises(GroupMissing):
            await reader.read_group(10, 10)
        await reader.set_position((0, 0), 0)
        await redis.xgroup_destroy(STREAM, "gw:a")
        with pytest.raises(GroupMissing):
            await reader.read_group(10, 10)

    async def test_a_stream_that_is_missing_is_not_made(self, redis: Redis, reader: StreamReader) -> None:
        with pytest.raises(GroupMissing):
            await reader.set_position((5, 0), 5)
        assert not await redis.exists(STREAM)

    @pytest.mark.parametrize("deed", ["flushall", "delete", "destroy"])
    async def test_a_waiting_read_ends_when_its_group_goes(
        self, redis: Redis, reader: StreamReader, server: RedisServer, deed: str
    ) -> None:
        await _fill(redis, 1)
        await reader.set_position((1, 0), 1)
        reading = asyncio.create_task(reader.read_group(10, 30_000))
        await wait_until(lambda: _blocked(redis))
        began = time.monotonic()
        if deed == "flushall":
            await redis.flushall()
        elif deed == "delete":
            await redis.delete(STREAM)
        else:
            await redis.xgroup_destroy(STREAM, "gw:a")
        with pytest.raises(GroupMissing):
            await reading
        assert time.monotonic() - began < 20

    async def test_it_can_be_put_back_without_memory_but_not_made(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2)
        await reader.set_position((2, 0), 2)
        await redis.config_set("maxmemory", 1)
        try:
            await reader.set_position((1, 0), 1)
            assert len(await reader.read_group(10, 100)) == 1
            await redis.xgroup_destroy(STREAM, "gw:a")
            with pytest.raises(OutOfMemoryError):
                await reader.set_position((1, 0), 1)
        finally:
            await redis.config_set("maxmemory", 0)

    async def test_without_it_a_replica_can_be_read(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2)
        await reader.set_position((1, 0), 1)
        await redis.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(ReadOnlyError):
                await reader.read_group(10, 10)
            assert await reader.read_after((1, 0), 10, 10) == [[b"2-0", [b"n", b"2"]]]
            assert await reader.read_after((2, 0), 10, 10) == []
        finally:
            await redis.replicaof("NO", "ONE")

    async def test_other_answers_are_errors(self, redis: Redis, reader: StreamReader) -> None:
        await redis.set(STREAM, "not a stream")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await reader.look()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await reader.read_group(10, 10)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await reader.set_position((0, 0), 0)

    async def test_it_has_its_consumer_from_the_beginning(self, redis: Redis, reader: StreamReader) -> None:
        await reader.look()
        await reader.set_position((0, 0), 0)
        assert [consumer["name"] for consumer in await redis.xinfo_consumers(STREAM, "gw:a")] == [b"a"]
        await redis.xgroup_destroy(STREAM, "gw:a")
        await reader.set_position((0, 0), 0)
        assert [consumer["name"] for consumer in await redis.xinfo_consumers(STREAM, "gw:a")] == [b"a"]


async def _blocked(redis: Redis) -> bool:
    return bool((await redis.info("clients"))["blocked_clients"])


class TestDeadlines:
    async def test_silence_is_an_error_and_not_an_answer(self, redis: Redis, server: RedisServer) -> None:
        async with Proxy(server.port) as proxy:
            client = connect(proxy.url, 30)
            reader = StreamReader(client, 0, "a", timeout_s=0.5)
            await reader.connect()
            proxy.silence()
            began = time.monotonic()
            for call in (
                reader.read_after((0, 0), 10, 100),
                reader.look(),
                reader.range_after((0, 0), 10),
            ):
                with pytest.raises(TimeoutError):
                    await call
            assert 1.5 < time.monotonic() - began < 30
            await reader.disconnect()
            await client.aclose()

    async def test_a_wait_may_be_longer_than_the_time_limit_for_an_answer(
        self, server: RedisServer, reader: StreamReader
    ) -> None:
        await reader.look()
        await reader.set_position((0, 0), 0)

        async def waits_for_longer(*read: Any) -> bool:
            client = connect(server.url, 0.3)
            hasty = StreamReader(client, 0, "a", timeout_s=0.3)
            try:
                await hasty.connect()
                return await getattr(hasty, read[0])(*read[1:]) == []
            except (TimeoutError, RedisTimeout):  # the server, or we, have paused for as long as the limit
                return False
            finally:
                await hasty.disconnect()
                await client.aclose()

        await wait_until(lambda: waits_for_longer("read_group", 10, 500))
        await wait_until(lambda: waits_for_longer("read_after", (0, 0), 10, 500))


class TestRange:
    async def test_both_ways_to_read_a_range_agree(self, redis: Redis, reader: StreamReader) -> None:
        await _fill(redis, 1, 2, 3, 4)
        expected = [[b"2-0", [b"n", b"2"]], [b"3-0", [b"n", b"3"]]]
        assert await reader.range_after((1, 0), 2) == expected
        page, complete = await entries_after(redis, 0, (1, 0), 2)
        assert [list(entry) for entry in page] == expected
        assert complete
        assert await reader.range_after((1, 2**64 - 1), 1) == expected[:1]

    async def test_a_range_of_which_something_was_trimmed_is_not_complete(
        self, redis: Redis, reader: StreamReader
    ) -> None:
        await reader.look()
        assert await entries_after(redis, 0, (0, 0), 10) == ([], True)
        await _fill(redis, 1, 2, 3)
        assert (await entries_after(redis, 0, (0, 0), 1))[1]
        await redis.xtrim(STREAM, maxlen=2, approximate=False)
        assert not (await entries_after(redis, 0, (0, 0), 1))[1]
        assert (await entries_after(redis, 0, (2, 0), 1))[1]
        await redis.xtrim(STREAM, maxlen=0, approximate=False)
        assert await entries_after(redis, 0, (2, 0), 1) == ([], False)


class TestTrim:
    async def test_it_goes_by_the_clock_of_the_server(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        now_ms = int(time.time() * 1000)
        async with redis.pipeline() as pipeline:
            for age_s, ids in ((700, 500), (100, 500)):
                for n in range(ids):
                    pipeline.xadd(STREAM, {"n": n}, id=f"{now_ms - age_s * 1000}-{n}")
            await pipeline.execute()
        wrong = time.time() + 86_400
        monkeypatch.setattr(time, "time", lambda: wrong)
        await trim(redis, 0, 600)
        assert 500 <= await redis.xlen(STREAM) < 700  # by whole nodes of the stream
        await trim(redis, 0, 10**10)
        assert await redis.xlen(STREAM) >= 500

    async def test_a_missing_stream_stays_missing(self, redis: Redis) -> None:
        await trim(redis, 0, 600)
        assert not await redis.exists(STREAM)


async def test_the_eviction_policy_is_asked_of_the_server(redis: Redis) -> None:
    assert await eviction_policy(redis) == "noeviction"
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    assert await eviction_policy(redis) == "allkeys-lru"
    await redis.config_set("maxmemory-policy", "noeviction")


async def test_a_script_is_sent_where_the_server_does_not_have_it(redis: Redis) -> None:
    release = script("release_lease")
    for _ in range(2):
        await redis.script_flush()
        assert await run_script(redis, release, ["nothing"], "token") == 0
