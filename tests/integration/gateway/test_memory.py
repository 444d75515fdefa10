"""What a connection leaves behind: nothing that waits for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import aiohttp
import pytest
from websockets.http11 import Request

from gateway.connection import Connection
from gateway.core import Core
from gateway.replies import Replies
from gateway.server import SocketProtocol
from tests.integration.gateway.raw_socket import raw_socket, tcp_socket
from tests.support.clients import connected, opened
from tests.support.frames import masked, upgrade
from tests.support.gateway import RunningGateway
from tests.support.waiting import wait_until

PARTS = (Connection, Core, Replies, SocketProtocol)


def alive() -> int:
    """Count what belongs to connections."""
    return sum(type(thing) in PARTS for thing in gc.get_objects())


@pytest.fixture
async def leaves_nothing(gateway: RunningGateway) -> AsyncIterator[None]:
    gc.collect()
    before = alive()
    gc.disable()
    try:
        yield
        await wait_until(lambda: not gateway.services.connections and alive() <= before)
    finally:
        gc.enable()


pytestmark = pytest.mark.usefixtures("leaves_nothing")


async def test_a_closed_connection(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        assert (await client.send("ping")).type == "pong"


async def test_a_connection_that_was_cut(gateway: RunningGateway) -> None:
    async with raw_socket(gateway, gateway.token("42")) as raw:
        await raw.send(masked(b"{")[:3])


async def test_a_connection_that_violated_the_protocol(gateway: RunningGateway) -> None:
    async with raw_socket(gateway, gateway.token("42")) as raw:
        await raw.send(b"\x7f" * 20)


async def test_a_connection_whose_command_is_not_answered_yet(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.send("join_group", {"group_id": "g"})
        for number in range(5):
            await client.post("send_message", {"group_id": "g", "content": number}, message_id=str(number))


async def test_a_connection_that_never_authenticated(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        await client.post("auth", {"token": "no"}, message_id="1")


@pytest.mark.parametrize("path", ["/ws?token=no", "/health", "/nowhere"])
async def test_a_request_that_was_answered(gateway: RunningGateway, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{gateway.port}{path}") as answer:
        await answer.read()


async def test_half_a_request(gateway: RunningGateway) -> None:
    async with tcp_socket(gateway.port) as tcp:
        await asyncio.get_running_loop().sock_sendall(tcp, b"GET /ws HTTP/1.1\r\nHost")


async def test_the_token_is_forgotten_with_the_request(gateway: RunningGateway) -> None:
    async with tcp_socket(gateway.port) as tcp:
        await asyncio.get_running_loop().sock_sendall(tcp, upgrade(f"/ws?token={gateway.token('42')}"))
        await wait_until(lambda: gateway.services.connections)
        requests = [thing for thing in gc.get_objects() if type(thing) is Request]
        assert [(request.path, dict(request.headers)) for request in requests] == [("", {})]
