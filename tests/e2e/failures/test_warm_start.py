"""A gateway starts on a log that is there already: large, trimmed, emptied, strange."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway import consumer
from publisher import Publisher
from publisher.keys import stream
from tests.e2e.failures.scene import EVENT, Ticker, compared, resyncs, ticks, told
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

STREAM = stream(0)


@pytest.mark.usefixtures("quick_looks")
async def test_ten_thousand_entries_are_taken_in_and_resumed_from(server: RedisServer, tide: Publisher) -> None:
    ticker = Ticker(tide)
    async with running_gateway(server.url) as early, connected(early) as alice:
        await ticker.tick()
        await settled(tide, alice)
        cursor = alice.cursor
    for _ in range(20):
        await ticker.tick(500)
    began = time.monotonic()
    async with running_gateway(server.url) as gateway:
        assert time.monotonic() - began < 30
        assert len(gateway.services.log) == 10_002  # a marker among them
        async with connected(gateway, cursor=cursor) as bob:
            await wait_until(lambda: len(ticks(bob)) == 10_000)
            assert ticks(bob) == list(range(2, 10_002))
        assert gateway.services.metrics.backfills == 0
        await compared(gateway)


@pytest.mark.usefixtures("quick_looks")
async def test_memory_is_bounded_in_entries_and_the_rest_is_read_back(server: RedisServer, tide: Publisher) -> None:
    ticker = Ticker(tide)
    async with running_gateway(server.url) as early, connected(early) as alice:
        await ticker.tick()
        await settled(tide, alice)
        cursor = alice.cursor
    await ticker.tick(500)
    async with running_gateway(server.url, log__memory_entries=100) as gateway, connected(gateway) as alice:
        assert len(gateway.services.log) == 100
        await ticker.tick(500)
        await settled(tide, alice)
        assert len(gateway.services.log) == 100
        async with connected(gateway, cursor=cursor) as bob:
            await wait_until(lambda: ticks(bob) == list(range(2, 1_002)))
            assert resyncs(bob) == []
        await compared(gateway)
        assert resyncs(alice) == []


async def test_memory_is_bounded_in_bytes(server: RedisServer, tide: Publisher) -> None:
    megabyte = 1024 * 1024
    async with GatewayProcess(server.url, log__memory_bytes=16 * megabyte) as gateway, connected(gateway) as alice:

        async def fill(rounds: int) -> int:
            for _ in range(rounds):
                await tide.publish_many([{"event": "filling", "data": "x" * 100_000, "to": "user:2"}] * 50)
                await settled(tide, alice)
            return _resident(gateway.pid)

        full = await fill(6)
        assert await fill(6) - full < 10 * megabyte  # of thirty
    async with running_gateway(server.url, log__memory_bytes=16 * megabyte) as warm:
        assert 15 * megabyte < warm.services.log.size_bytes <= 16 * megabyte


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("state", ["missing", "empty", "trimmed", "emptied", "with deletions"])
async def test_any_state_of_the_log_is_a_sound_beginning(server: RedisServer, tide: Publisher, state: str) -> None:
    ticker = Ticker(tide)
    cursors = []
    if state not in {"missing", "empty"}:
        async with running_gateway(server.url) as early, connected(early) as alice:
            for _ in range(8):
                await ticker.tick()
                await settled(tide, alice)
                cursors.append(alice.cursor)
    with server.client() as client:
        if state == "empty":
            client.xgroup_create(STREAM, "other", mkstream=True)
        elif state == "trimmed":
            client.xtrim(STREAM, maxlen=4, approximate=False)
        elif state == "emptied":
            client.xtrim(STREAM, maxlen=0, approximate=False)
        elif state == "with deletions":
            client.xdel(STREAM, client.xrange(STREAM)[3][0])
    async with running_gateway(server.url) as gateway, connected(gateway) as alice:
        await compared(gateway)
        await ticker.tick(3)
        await settled(tide, alice)
        await compared(gateway)
        assert len(ticks(alice)) == 3
        assert resyncs(alice) == []
        if cursors:
            async with connected(gateway, cursor=cursors[-1]) as fresh:
                await wait_until(lambda: ticks(fresh) == [9, 10, 11])
                assert resyncs(fresh) == []
            async with connected(gateway, cursor=cursors[0]) as stale:
                if state == "with deletions":  # of a marker
                    await wait_until(lambda: ticks(stale) == list(range(2, 12)))
                else:
                    await told(stale, reason="expired")


@pytest.mark.usefixtures("quick_looks")
async def test_an_id_of_the_future_alerts_and_breaks_nothing(server: RedisServer, tide: Publisher) -> None:
    hour_ms = 3_600_000
    ticker = Ticker(tide)
    with capture_logs() as lines:
        async with running_gateway(server.url) as gateway, connected(gateway) as alice:
            await ticker.tick(3)
            await settled(tide, alice)
            with server.client() as client:
                _, fields = client.xrange(STREAM)[0]
                client.xadd(STREAM, {**fields, "d": "1000"}, id=f"{int(time.time() * 1000) + hour_ms}-0")
            await wait_until(lambda: ticks(alice) == [1, 2, 3, 1000])
            cursor = alice.cursor
            await ticker.tick(3)
            await settled(tide, alice)
            await compared(gateway)
            assert ticks(alice) == [1, 2, 3, 1000, 4, 5, 6]
            assert resyncs(alice) == []
            async with running_gateway(server.url) as later:
                for each in (gateway, later):
                    async with connected(each, cursor=cursor) as bob:
                        await wait_until(lambda bob=bob: ticks(bob) == [4, 5, 6])
                        assert resyncs(bob) == []
    alerts = [line for line in lines if line["event"] == "log_ids_ahead_of_clock"]
    assert len(alerts) == 2  # each instance once
    assert all(3_500 < alert["ahead_s"] <= 3_600 for alert in alerts)


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("ahead_s", [-3_600, 3_600])
async def test_a_clock_that_is_wrong_by_an_hour_breaks_nothing(
    server: RedisServer, tide: Publisher, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    class WrongClock:
        monotonic = staticmethod(time.monotonic)
        perf_counter = staticmethod(time.perf_counter)

        @staticmethod
        def time() -> float:
            return time.time() + ahead_s

    ticker = Ticker(tide)
    await ticker.tick(10)
    async with running_gateway(server.url) as right, connected(right) as alice:
        monkeypatch.setattr(consumer, "time", WrongClock)
        async with running_gateway(server.url) as wrong, connected(wrong) as bob:
            assert len(wrong.services.log) == 10
            cursor = bob.welcome["cursor"]
            await ticker.tick(10)
            await settled(tide, alice, bob)
            await compared(right, wrong)
            assert ticks(bob) == ticks(alice) == list(range(11, 21))
            async with connected(wrong, cursor=cursor) as carol:
                await wait_until(lambda: ticks(carol) == list(range(11, 21)))
            assert resyncs(bob) == []


@pytest.mark.usefixtures("quick_looks")
async def test_poison_is_skipped_at_the_start_and_later(server: RedisServer, tide: Publisher) -> None:
    ticker = Ticker(tide)
    await ticker.tick()
    with server.client() as client, capture_logs() as lines:
        poison = client.xadd(STREAM, {"not": "an event"})
        async with running_gateway(server.url) as gateway, connected(gateway) as alice:
            client.xadd(STREAM, {"v": "1", "t": "default", "to": "[", "e": EVENT, "m": "m", "d": "1"})
            await ticker.tick(2)
            await settled(tide, alice)
            await compared(gateway)
            assert ticks(alice) == [2, 3]
            assert resyncs(alice) == []
            assert gateway.services.metrics.poison == 2
    assert next(line["entry"] for line in lines if line["event"] == "poison_entry") == poison
