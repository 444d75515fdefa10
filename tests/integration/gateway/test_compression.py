"""permessage-deflate: compressed once for everybody, and nobody gets other data than the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway

DEFLATE: dict[str, Any] = {"extensions": [ClientPerMessageDeflateFactory()]}


@pytest.fixture
async def compressing(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway that offers compression."""
    async with running_gateway(redis_url, compression__enabled=True) as running:
        yield running


def extensions(client: Client) -> str:
    """What was negotiated."""
    assert client.socket.response is not None
    return str(client.socket.response.headers.get("Sec-WebSocket-Extensions", ""))


async def test_clients_with_and_without_compression_get_the_same(compressing: RunningGateway, tide: Publisher) -> None:
    async with (
        connected(compressing, "1", **DEFLATE) as one,
        connected(compressing, "2", **DEFLATE) as two,
        connected(compressing, "3") as plain,
    ):
        assert "permessage-deflate" in extensions(one)
        assert "server_no_context_takeover" in extensions(one)
        assert not extensions(plain)
        for data in ("", "x" * 100_000, {"é": [1.5, 2**70, None]}, list(range(1_000)), None):
            await tide.publish("e", data, to="all")
        await tide.publish_many([{"event": "e", "data": [n, "words " * 20], "to": "all"} for n in range(500)])
        await settled(tide, one, two, plain)
        assert one.events == two.events == plain.events
        assert len(plain.events) == 505


async def test_an_event_is_compressed_once_and_not_at_all_where_nobody_wants_it(
    compressing: RunningGateway, tide: Publisher
) -> None:
    log = compressing.services.log
    async with connected(compressing, "3") as plain:
        await tide.publish("e", "x" * 1_000, to="all")
        await plain.next("e")
        assert log.entry(log.head).deflated is None
        async with connected(compressing, "1", **DEFLATE) as one, connected(compressing, "2", **DEFLATE) as two:
            await tide.publish("e", "x" * 1_000, to="all")
            for client in (one, two, plain):
                await client.next("e")
            entry = log.entry(log.head)
            first = entry.deflated
            assert first is not None
            assert entry.frame is not None
            assert len(first) < len(entry.frame) / 4
            async with connected(compressing, "1", cursor=one.welcome["cursor"], **DEFLATE) as back:
                await back.received(1)
            assert entry.deflated is first


async def test_a_replay_is_compressed_as_well(compressing: RunningGateway, tide: Publisher) -> None:
    async with connected(compressing, "1", **DEFLATE) as one:
        await tide.publish_many([{"event": "e", "data": [n, "x" * 500], "to": "all"} for n in range(300)])
        await settled(tide, one)
    async with connected(compressing, "1", cursor=one.pushes[9].id, **DEFLATE) as back:
        await settled(tide, back)
        assert back.events == one.events[10:]


@pytest.mark.parametrize(
    "offer",
    [
        {"server_max_window_bits": 10},
        {"client_max_window_bits": 10},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
    ],
)
async def test_a_client_may_ask_for_other_parameters(
    compressing: RunningGateway, tide: Publisher, offer: dict[str, Any]
) -> None:
    factory = ClientPerMessageDeflateFactory(**offer)
    async with connected(compressing, "1", extensions=[factory]) as one, connected(compressing, "2", **DEFLATE) as two:
        assert "permessage-deflate" in extensions(one)
        for _ in range(5):  # over and over: a context that one side kept would show
            await tide.publish("e", ["the same words " * 5_000], to="all")
            assert (await one.send("echo", "the same words " * 500)).data == "the same words " * 500
        await settled(tide, one, two)
        assert one.events == two.events
        assert len(one.events) == 5


async def test_commands_may_be_compressed(compressing: RunningGateway) -> None:
    async with connected(compressing, "1", **DEFLATE) as client:
        for number in range(20):
            assert (await client.send("echo", [number, "x" * 1_000])).data == [number, "x" * 1_000]


async def test_without_the_setting_nothing_is_negotiated(gateway: RunningGateway) -> None:
    async with connected(gateway, "1", **DEFLATE) as client:
        assert not extensions(client)
        assert (await client.send("echo", 1)).data == 1
