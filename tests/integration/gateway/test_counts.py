"""What operators see of clients that are slow, silent or too fast, and of work that waits."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.store.inbox_work import GROUP
from publisher import Publisher
from publisher.keys import inbox_work
from tests.integration.gateway.raw_socket import raw_socket, tcp_socket
from tests.integration.gateway.test_slow_sockets import flood
from tests.support.clients import connected, opened, settled
from tests.support.frames import upgrade
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

WORK = inbox_work(0)


async def test_every_byte_that_a_client_gets_after_the_handshake_is_counted(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with raw_socket(gateway, gateway.token("1")) as raw:
        await tide.publish_many([{"event": "e", "data": n, "to": "all"} for n in range(50)])
        await raw.send_text('{"type": "ping"}')
        while len(raw.pushes) < 50 or not any(frame.type == "pong" for frame in raw.frames):
            assert await raw.read()
        head = raw.received.index(b"\r\n\r\n") + 4
        assert gateway.services.log.outcomes.bytes_written == len(raw.received) - head


async def test_a_socket_that_is_slow_and_then_stalls_counts_as_both(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, limits__stall_timeout_s=0.5) as gateway,
        raw_socket(gateway, gateway.token("slow"), receive_buffer=8 * 1024),
    ):
        await flood(tide, 500)
        metrics = gateway.services.metrics
        await wait_until(lambda: metrics.aborted["stalled"] == 1)
        assert metrics.slow >= 1


async def test_who_says_nothing_is_silent_before_and_after_the_handshake(redis_url: str) -> None:
    short = {"heartbeat__ping_interval_s": 0.2, "heartbeat__timeout_s": 1.0, "limits__handshake_timeout_s": 3}
    async with (
        running_gateway(redis_url, **short) as gateway,
        tcp_socket(gateway.port) as late,
        tcp_socket(gateway.port),
    ):
        # It may be cut off before it is welcome, so nothing is waited for.
        await asyncio.get_running_loop().sock_sendall(late, upgrade(f"/ws?token={gateway.token('1')}"))
        metrics = gateway.services.metrics
        await wait_until(lambda: metrics.aborted["handshake"] == 1)
        await wait_until(lambda: metrics.aborted["silent"] == 1)


@pytest.mark.parametrize("what", ["command", "handshake", "http"])
async def test_what_is_too_fast_is_counted_as_what_it_is(redis_url: str, what: str) -> None:
    settings = {
        "command": {"limits__messages_per_s": 0.01, "limits__messages_burst": 2},
        "handshake": {"limits__handshakes_per_s": 0.01, "limits__handshakes_burst": 1},
        "http": {"http__requests_per_s": 0.01, "http__requests_burst": 1},
    }[what]
    async with running_gateway(redis_url, **settings) as gateway:
        limited = gateway.services.metrics.rate_limited
        if what == "command":
            async with connected(gateway, "1") as client:
                replies = [await client.send("ping") for _ in range(3)]
                assert replies[-1].data["code"] == 429
        elif what == "handshake":
            async with connected(gateway, "1"):
                with pytest.raises(Exception, match="429"):
                    async with opened(gateway):
                        pass
        else:
            headers = {"Authorization": f"Bearer {gateway.token('svc', scope='push')}"}
            async with httpx.AsyncClient(trust_env=False, headers=headers, timeout=30) as http:
                answers = [(await http.get(f"{gateway.http_url}/ready")).status_code for _ in range(2)]
                assert answers == [200, 429]
        assert limited == {what: 1}


async def test_work_that_nobody_can_write_is_a_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.projector._CLAIM_EVERY_S", 0.1)
    with RedisServer() as server:
        async with running_gateway(server.url) as gateway, Publisher(server.url) as tide:
            projector = gateway.application._projectors[0]
            with server.client() as redis:
                await tide.notify("1", title="t")
                await wait_until(lambda: gateway.services.metrics.notifications == 1)
                with redis.pipeline(transaction=True) as work:  # at once, or the living one would have it
                    work.xadd(WORK, {"i": "x"})
                    work.xreadgroup(GROUP, "dead", {WORK: ">"}, 1)
                    work.execute()
                await tide.notify("1", title="t")  # it need not wait for something to read, and counts
                await wait_until(lambda: projector.backlog == 1)


async def test_delivering_takes_time_which_is_counted_once_a_read(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "1") as client:
        await tide.publish("e", 1, to="all")
        await client.next("e")  # by a read of its own
        await settled(tide, client)
    fan_out = gateway.application.parts.consumers[0].fan_out
    assert 2 <= fan_out.count <= gateway.services.metrics.events
    assert fan_out.total > 0
