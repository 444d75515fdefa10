"""A token under a key that is not known yet: its connection waits while the provider is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from publisher import Publisher
from tests.support.clients import Way, connected, opened, settled
from tests.support.frames import masked, upgrade
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.key_provider import Provider, document, serving
from tests.support.waiting import wait_until

FIRST, SECOND = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def token(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": "42", "iat": now, "exp": now + 600}, key, "ES256", headers={"kid": kid})


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """It has rotated its keys since the gateway read them; its answers wait for the gate."""
    monkeypatch.setenv("no_proxy", "*")
    with serving() as provider:
        provider.body = document(first=FIRST)
        yield provider


@pytest.fixture
async def gateway(redis_url: str, provider: Provider) -> AsyncIterator[RunningGateway]:
    async with running_gateway(redis_url, auth__jwks_url=provider.url, auth__algorithms=["ES256", "HS256"]) as gateway:
        await wait_until(lambda: len(provider.requests) == 1)
        async with connected(gateway, token=token(FIRST, "first")):
            pass
        provider.body = document(first=FIRST, second=SECOND)
        provider.gate.clear()
        yield gateway


async def asked(provider: Provider) -> None:
    await wait_until(lambda: len(provider.requests) == 2)


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_the_connection_opens_when_the_key_is_there(
    gateway: RunningGateway, provider: Provider, tide: Publisher, way: Way
) -> None:
    async def come() -> list[int]:
        async with connected(gateway, token=token(SECOND, "second"), way=way) as client:
            await tide.publish("e", 1, to="user:42")
            await settled(tide, client)
            return [data for _, data in client.events]

    coming = asyncio.create_task(come())
    await asked(provider)
    async with connected(gateway, token=token(FIRST, "first")):  # nobody else waits
        assert not coming.done()
    provider.gate.set()
    assert await coming == [1]


async def test_commands_that_came_along_are_answered_then(gateway: RunningGateway, provider: Provider) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(upgrade(f"/ws?token={token(SECOND, 'second')}"))
    await asked(provider)
    writer.write(masked(b'{"type":"echo","message_id":"1","data":"early"}'))
    provider.gate.set()
    got = await asyncio.wait_for(reader.readuntil(b'"early"'), 30)
    assert got.startswith(b"HTTP/1.1 101 ")
    assert got.index(b'"welcome"') < got.index(b'"early"')
    writer.close()


async def test_a_key_that_the_provider_does_not_have_is_refused(gateway: RunningGateway, provider: Provider) -> None:
    provider.gate.set()
    with pytest.raises(InvalidStatus) as refused:
        async with opened(gateway, query=f"token={token(SECOND, 'third')}"):
            pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("kid", ["second", "third"])
@pytest.mark.parametrize("abruptly", [False, True])
async def test_who_leaves_while_the_provider_is_asked_leaves_nothing_behind(
    gateway: RunningGateway, provider: Provider, kid: str, abruptly: bool
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(upgrade(f"/ws?token={token(SECOND, kid)}"))
    await asked(provider)
    with capture_logs() as lines:
        if abruptly:
            writer.transport.abort()
        else:
            writer.close()
        provider.gate.set()
        async with connected(gateway, token=token(SECOND, "second")):
            await wait_until(lambda: len(gateway.services.connections) == 1)
        await wait_until(lambda: not gateway.services.connections)
    bad = [line for line in lines if line["log_level"] in {"warning", "error"}]
    assert [line for line in bad if line["event"] != "stood_still"] == []  # which this process may have
