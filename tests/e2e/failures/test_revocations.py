"""Kicks and revocations reach an instance that could not hear them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import websockets

from publisher import Publisher
from publisher.keys import revocations, stream
from tests.e2e.failures.scene import Ticker, told
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def gateway(proxy: Proxy) -> AsyncIterator[RunningGateway]:
    async with running_gateway(proxy.url) as gateway:
        yield gateway


async def _is_refused(gateway: RunningGateway, user: str, jti: str) -> None:
    issued_at = int(time.time()) - 60  # before the revocation: one of the second after it would be good
    with pytest.raises(websockets.InvalidStatus) as refusal:
        async with connected(gateway, user, claims={"jti": jti, "iat": issued_at}):
            pass
    assert refusal.value.response.status_code == 401


async def _are_thrown_out(kicked: Client, *revoked: Client) -> None:
    assert await kicked.closed() == (4403, "enough")
    for client in revoked:
        assert await client.closed() == (4403, "revoked")


async def test_revocations_from_before_the_start_hold(
    server: RedisServer, proxy: Proxy, tide: Publisher, gateway: RunningGateway
) -> None:
    await tide.revoke(jti="stolen")
    await tide.revoke(user="mallory")
    with server.client() as client:
        client.xtrim(stream(0), maxlen=0)  # not from the log
        client.zadd(revocations(0), {"poison": 4e12, '["default"]': 4e12, '["default", "jti", "x"]': "inf"})
    async with running_gateway(proxy.url) as later:
        await _is_refused(later, "1", "stolen")
        await _is_refused(later, "mallory", "other")
        async with connected(later, "1", claims={"jti": "other"}):
            pass


async def test_what_was_ordered_while_the_link_was_down_takes_effect_when_it_is_back(
    proxy: Proxy, tide: Publisher, gateway: RunningGateway
) -> None:
    async with (
        connected(gateway, "1") as kicked,
        connected(gateway, "2", claims={"jti": "stolen"}) as revoked,
        connected(gateway, "3") as banned,
        connected(gateway, "4") as alice,
    ):
        proxy.refuse()
        await tide.kick("1", reason="enough")
        await tide.revoke(jti="stolen")
        await tide.revoke(user="3")
        proxy.restore()
        await _are_thrown_out(kicked, revoked, banned)
        await _is_refused(gateway, "2", "stolen")
        ticker = Ticker(tide)
        await ticker.tick(3)
        await settled(tide, alice)
        ticker.check(alice)


async def test_revocations_hold_although_their_announcement_was_missed(
    server: RedisServer, proxy: Proxy, tide: Publisher, gateway: RunningGateway
) -> None:
    async with (
        connected(gateway, "2", claims={"jti": "stolen"}) as revoked,
        connected(gateway, "3") as banned,
        connected(gateway, "4") as alice,
    ):
        proxy.refuse()
        await tide.revoke(jti="stolen")
        await tide.revoke(user="3")
        with server.client() as client:
            client.xtrim(stream(0), maxlen=0)
        proxy.restore()
        await told(alice, reason="trimmed")
        for client in (revoked, banned):
            assert await client.closed() == (4403, "revoked")
        await _is_refused(gateway, "2", "stolen")
