"""The gateway's process stands still for longer than any deadline of its peers: that is not held against them."""

from __future__ import annotations

import asyncio
from typing import Any

from publisher import Publisher
from tests.support.clients import connected, opened, settled
from tests.support.frames import upgrade
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

LIMITS: dict[str, Any] = {
    "heartbeat__ping_interval_s": 1,
    "heartbeat__timeout_s": 7.5,
    "limits__auth_timeout_s": 5,
    "limits__handshake_timeout_s": 7.5,
}
STANDSTILL_S = 8


async def test_nobody_is_cut_off_for_it(server: RedisServer, tide: Publisher) -> None:
    async with (
        GatewayProcess(server.url, **LIMITS) as gateway,
        connected(gateway, "speaks") as speaks,
        connected(gateway, "listens") as listens,
        opened(gateway) as unknown,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /ws")
        gateway.pause()
        posted = await speaks.post("echo", "meanwhile")
        await tide.publish("notice", 1, to="user:listens")
        await asyncio.sleep(STANDSTILL_S)  # that it lasts is the point
        gateway.resume()
        assert (await speaks.reply(posted)).data == "meanwhile"
        assert (await listens.next("notice")).data == 1
        await wait_until(
            lambda: [line for line in gateway.log_events("stood_still") if line["seconds"] > STANDSTILL_S - 3]
        )
        await unknown.send("auth", {"token": gateway.token("late")})
        await unknown.next("welcome")
        writer.write(upgrade(f"/ws?token={gateway.token('slow')}")[len("GET /ws") :])
        assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
        writer.close()
        await settled(tide, speaks, listens)
        assert speaks.of_type("resync") == listens.of_type("resync") == []


async def test_who_has_gone_meanwhile_is_noticed_after_it(server: RedisServer) -> None:
    async with GatewayProcess(server.url, **LIMITS) as gateway, opened(gateway) as unknown:
        reader, silent = await asyncio.open_connection("127.0.0.1", gateway.port)
        silent.write(upgrade(f"/ws?token={gateway.token('silent')}"))  # and never answers a ping
        assert (await reader.readline()).startswith(b"HTTP/1.1 101 ")
        gateway.pause()
        await asyncio.sleep(STANDSTILL_S)
        gateway.resume()
        assert (await unknown.closed())[0] == 4408
        await wait_until(lambda: [line["user"] for line in gateway.log_events("connection_closed")] == ["silent"])
        silent.close()
