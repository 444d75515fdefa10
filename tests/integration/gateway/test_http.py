"""HTTP on the WebSocket port: health, refusals, and what is no HTTP at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
import websockets

from tests.integration.gateway.raw_socket import tcp_socket
from tests.support.clients import connected
from tests.support.gateway import RunningGateway, http_get_json, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

UPGRADE = (
    "GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def answer(gateway: RunningGateway, request: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes."""
    async with tcp_socket(gateway.port) as tcp:
        loop = asyncio.get_running_loop()
        received = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                await loop.sock_sendall(tcp, request)
                while data := await loop.sock_recv(tcp, 65_536):
                    received += data
        return received


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1]) if response else 0


def body(response: bytes) -> Any:
    return json.loads(response.partition(b"\r\n\r\n")[2])


async def test_health_says_that_it_lives_and_who_it_is(gateway: RunningGateway) -> None:
    assert await http_get_json(gateway.port, "/health") == (200, {"status": "ok", "instance": gateway.instance_id})
    assert (await http_get_json(gateway.port, "/health?x=1"))[0] == 200


async def test_an_answer_has_a_length_and_ends_the_connection(gateway: RunningGateway) -> None:
    response = await answer(gateway, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, content = response.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(content)}".encode() in head
    assert b"Content-Type: application/json" in head
    assert b"Connection: close" in head


async def test_ready_says_why_it_is_not_while_redis_is_down_and_health_stays() -> None:
    with RedisServer() as server:
        async with running_gateway(server.url) as gateway:
            assert await http_get_json(gateway.port, "/ready") == (200, {"ready": True, "reasons": []})
            server.kill()

            async def is_unready() -> bool:
                code, said = await http_get_json(gateway.port, "/ready")
                return code == 503 and said["ready"] is False and bool(said["reasons"])

            await wait_until(is_unready)
            assert (await http_get_json(gateway.port, "/health"))[0] == 200
            server.start()

            async def is_ready() -> bool:
                return (await http_get_json(gateway.port, "/ready"))[0] == 200

            await wait_until(is_ready)


async def test_any_other_path_is_404(gateway: RunningGateway) -> None:
    for path in (
        "/",
        "/ws/",
        "/wsx",
        "/WS",
        "/health/",
        "//ws",
        "/%77s",
        "/../ws",
        "/message/push/all",
        "*",
        "http://x/ws",
    ):
        response = await answer(gateway, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status(response) == 404, path
        assert body(response) == {"error": "not found"}


async def test_the_endpoint_without_an_upgrade_asks_for_one(gateway: RunningGateway) -> None:
    response = await answer(gateway, b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status(response) == 426
    assert b"Upgrade: websocket" in response


async def test_other_methods_than_get_are_not_allowed(gateway: RunningGateway) -> None:
    for method in ("HEAD", "OPTIONS", "DELETE", "PUT", "BREW"):
        for path in ("/health", "/ready", "/ws", "/"):
            response = await answer(gateway, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head, _, content = response.partition(b"\r\n\r\n")
            assert (status(response), content) == (405, b""), method
            assert b"Allow: GET" in head


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /ws HTTP/1.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,  # TLS
        b"\0" * 1_000,
        b"\0" * 100_000,
        b"GET /ws\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"GET /ws HTTP/1.1\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"w" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\r\n" * 100,
    ],
    ids=lambda data: repr(data[:24]),
)
async def test_what_is_no_request_of_ours_is_refused_and_ends(redis_url: str, request_bytes: bytes) -> None:
    async with running_gateway(redis_url, limits__handshake_timeout_s=2) as gateway:
        assert status(await answer(gateway, request_bytes)) in {0, 400, 405, 414, 426, 431, 501, 505}
        assert (await http_get_json(gateway.port, "/health"))[0] == 200


async def test_upgrades_that_are_wrong_are_refused(gateway: RunningGateway) -> None:
    good = UPGRADE.format(query="")
    for old, new in (
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Key: short"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: close"),
    ):
        assert status(await answer(gateway, good.replace(old, new).encode())) in {400, 426}, old
    assert not gateway.services.connections


async def test_a_query_with_too_much_in_it_is_an_answer_and_no_crash(gateway: RunningGateway) -> None:
    for query in ("?" + "&".join(f"a{n}=1" for n in range(100)), "?token=%ff%fe", "?token=", "?&&;=", "?cursor=%00"):
        async with tcp_socket(gateway.port) as tcp:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(tcp, UPGRADE.format(query=query).encode())
            async with asyncio.timeout(30):
                assert status(await loop.sock_recv(tcp, 65_536)) in {101, 400, 401}, query


async def test_a_handshake_that_takes_too_long_is_cut_off(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, limits__handshake_timeout_s=3) as gateway,
        tcp_socket(gateway.port) as silent,
    ):
        loop = asyncio.get_running_loop()
        async with tcp_socket(gateway.port) as dripping:
            await loop.sock_sendall(dripping, b"GET /ws HTT")
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(30):
                    assert await loop.sock_recv(silent, 1) == b""
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(30):
                    assert await loop.sock_recv(dripping, 1) == b""
        async with connected(gateway) as client:  # who is quick stays
            assert (await client.send("ping")).type == "pong"


async def test_beyond_the_limit_a_handshake_is_answered_with_503_and_when_to_retry(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections=2) as gateway:
        async with connected(gateway) as one, connected(gateway):
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with connected(gateway):
                    pass
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["Retry-After"]) > 0
            assert (await http_get_json(gateway.port, "/health"))[0] == 200
            assert (await one.send("ping")).type == "pong"
        async with connected(gateway) as client:
            assert client.welcome


async def test_frames_right_behind_the_handshake_are_not_lost(gateway: RunningGateway) -> None:
    frame = b'{"type":"ping","message_id":"early"}'
    masked = bytes((0x81, 0x80 | len(frame), 0, 0, 0, 0)) + frame
    async with tcp_socket(gateway.port) as tcp:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(tcp, UPGRADE.format(query=f"?token={gateway.token('42')}").encode() + masked)
        received = b""
        async with asyncio.timeout(30):
            while b"early" not in received:
                received += await loop.sock_recv(tcp, 65_536)
        assert received.index(b'"welcome"') < received.index(b'"pong"')


async def test_a_token_is_never_logged(gateway: RunningGateway, capfd: pytest.CaptureFixture[str]) -> None:
    token = gateway.token("42", jti="t1")
    async with connected(gateway, token=token) as client:
        await client.send("auth", {"token": token})
    with pytest.raises(websockets.InvalidStatus):
        async with connected(gateway, token=token[:-4] + "AAAA"):
            pass
    captured = capfd.readouterr()
    for part in token.split("."):
        assert part not in captured.out + captured.err
