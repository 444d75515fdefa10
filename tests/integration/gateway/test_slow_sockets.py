"""Sockets that do not read, or not fast enough: they cost a position, not a buffer, and nobody else anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from publisher import Publisher
from tests.integration.gateway.raw_socket import RawSocket, raw_socket
from tests.support.clients import connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until

PAYLOAD = "x" * 10_000
_LITTLE = 8 * 1024  # what its receive buffer takes
# A transport holds at most one write beyond its high-water mark.
MOST_BUFFERED = 64 * 1024


async def flood(tide: Publisher, count: int, *, to: Any = "user:slow", start: int = 0, **options: Any) -> list[str]:
    """Publish numbered events of 10 KB each; return their ids."""
    ids = []
    for first in range(start, start + count, 50):
        numbers = range(first, min(first + 50, start + count))
        ids += await tide.publish_many([{"event": "e", "data": [n, PAYLOAD], "to": to, **options} for n in numbers])
    return ids


def numbers(raw: RawSocket) -> list[int]:
    """What a slow client has read so far."""
    return [frame.data[0] for frame in raw.pushes if frame.type == "e"]


def buffered(gateway: RunningGateway) -> int:
    """Bytes that the gateway itself holds for its sockets, the kernel's share left out."""
    return max((c.socket._transport.get_write_buffer_size() for c in gateway.services.connections), default=0)


def paused(gateway: RunningGateway) -> bool:
    return any(connection.paused for connection in gateway.services.connections)


async def read_numbers(raw: RawSocket, last: int) -> None:
    """Read until event `last` is there."""
    while not numbers(raw) or numbers(raw)[-1] != last:
        assert await raw.read(), f"the connection ended: {raw.close_code}"


async def test_a_socket_that_does_not_read_costs_little_and_slows_nobody(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with (
        raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE),
        connected(gateway, "fast") as fast,
    ):
        for start in range(0, 2_000, 500):
            await flood(tide, 500, to=["user:slow", "user:fast"], start=start)
            assert buffered(gateway) <= MOST_BUFFERED
        await settled(tide, fast)
        assert [data[0] for _, data in fast.events] == list(range(2_000))
        assert buffered(gateway) <= MOST_BUFFERED


async def test_a_socket_that_takes_nothing_is_aborted_after_the_stall_timeout_and_can_resume(
    redis_url: str, tide: Publisher
) -> None:
    async with (
        running_gateway(redis_url) as patient,  # with one that comes back, and may stand still in this process
        running_gateway(redis_url, limits__stall_timeout_s=1) as gateway,
        connected(gateway, "fast") as fast,
    ):
        async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
            await flood(tide, 500)
            await wait_until(lambda: gateway.services.metrics.stalled == 1)
            await slow.read_until_end()
            assert slow.close_code is None
        await settled(tide, fast)
        assert gateway.services.metrics.closed == {1006: 1}
        had = numbers(slow)
        assert had == list(range(len(had)))
        async with connected(patient, "slow", cursor=slow.pushes[-1].id) as back:
            await settled(tide, back)
            assert [data[0] for _, data in back.events] == list(range(len(had), 500))


async def test_a_slow_but_steady_reader_is_kept_and_misses_nothing(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, limits__stall_timeout_s=3) as gateway,
        raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow,
    ):
        await flood(tide, 400)
        await wait_until(lambda: paused(gateway))
        end = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < end:  # well beyond the stall timeout
            await slow.read(512)  # so little that its transport has no room all that time
            await asyncio.sleep(0.05)
        assert numbers(slow)[-1] < 399
        assert gateway.services.metrics.stalled == 0
        await read_numbers(slow, 399)
        assert numbers(slow) == list(range(400))
        await flood(tide, 1, start=400)
        await read_numbers(slow, 400)


async def test_a_socket_that_reads_again_catches_up_and_is_live_again(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        for start in range(0, 900, 300):  # stops three times
            await flood(tide, 300, start=start)
            await wait_until(lambda: paused(gateway))
            await read_numbers(slow, start + 299)
        assert numbers(slow) == list(range(900))
        await wait_until(lambda: not any(connection.lagging for connection in gateway.services.connections))
        await flood(tide, 1, start=900)
        await read_numbers(slow, 900)


async def test_events_published_while_it_catches_up_come_in_order(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        await flood(tide, 300)
        await wait_until(lambda: paused(gateway))
        publishing = asyncio.create_task(flood(tide, 300, start=300))
        await read_numbers(slow, 599)
        await publishing
        assert numbers(slow) == list(range(600))


async def test_the_commands_of_a_client_that_does_not_read_wait(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        await flood(tide, 300)
        await wait_until(lambda: paused(gateway))
        await slow.send_text('{"type": "echo", "message_id": "late", "data": 1}')
        await read_numbers(slow, 299)
        while slow.frames[-1].type != "echo":
            assert await slow.read()
        assert slow.frames[-1].message_id == "late"


@pytest.mark.parametrize("settings", [{"log__memory_entries": 100}, {"log__memory_bytes": 1024 * 1024}])
async def test_who_falls_out_of_memory_is_closed_with_1013_and_can_resume(
    redis_url: str, tide: Publisher, settings: dict[str, Any]
) -> None:
    async with running_gateway(redis_url, **settings) as gateway:
        async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
            await flood(tide, 300)
            await wait_until(lambda: paused(gateway))
            await slow.read_until_end()
            assert slow.close_code == 1013
        had = numbers(slow)
        assert had == list(range(len(had)))
        async with connected(gateway, "slow", cursor=slow.pushes[-1].id) as back:  # from the stream
            await settled(tide, back)
            assert [data[0] for _, data in back.events] == list(range(len(had), 300))


async def test_what_is_low_is_left_out_while_lagging_and_only_then(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        await tide.publish("e", [0, "low, but in time"], to="user:slow", priority="low")
        await read_numbers(slow, 0)
        await flood(tide, 300, start=1)
        await wait_until(lambda: paused(gateway))
        await flood(tide, 50, start=1_001, priority="low")
        await flood(tide, 1, start=301)
        await read_numbers(slow, 301)
        assert numbers(slow) == list(range(302))
        await wait_until(lambda: not any(connection.lagging for connection in gateway.services.connections))
        await tide.publish("e", [302, "low"], to="user:slow", priority="low")
        await read_numbers(slow, 302)


async def test_of_a_collapse_key_only_the_newest_comes_while_lagging(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        for number in (0, 1):
            await tide.publish("e", [number, ""], to="user:slow", collapse="a")
        await read_numbers(slow, 1)
        await flood(tide, 300, start=2)
        await wait_until(lambda: paused(gateway))
        for number in range(1_000, 1_010):
            await tide.publish("e", [number, ""], to="user:slow", collapse="ab"[number % 2])
        await flood(tide, 1, start=302)
        await read_numbers(slow, 302)
        assert numbers(slow) == [*range(302), 1_008, 1_009, 302]


async def test_what_expires_while_it_waits_does_not_come(gateway: RunningGateway, tide: Publisher) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        await flood(tide, 300)
        await wait_until(lambda: paused(gateway))
        await tide.publish("e", [1_000, ""], to="user:slow", expires_in=0.05)
        await tide.publish("e", [1_001, ""], to="user:slow", expires_in=60)
        await asyncio.sleep(0.06)  # the time that was given
        await read_numbers(slow, 1_001)
        assert numbers(slow) == [*range(300), 1_001]


async def test_a_slow_client_that_is_kicked_is_told_when_it_reads_again(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE) as slow:
        await flood(tide, 300)
        await wait_until(lambda: paused(gateway))
        await tide.kick("slow")
        await wait_until(lambda: gateway.services.hub.count("default", "user:slow") == 0)
        await slow.read_until_end()
        assert slow.close_code == 4403
    await wait_until(lambda: not gateway.services.connections)


async def test_a_slow_client_that_leaves_amid_its_backlog_leaves_nothing(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with raw_socket(gateway, gateway.token("slow"), receive_buffer=_LITTLE):
        await flood(tide, 300)
        await wait_until(lambda: paused(gateway))
    await wait_until(lambda: not gateway.services.connections)
    assert list(gateway.services.hub.subscribers()) == []
