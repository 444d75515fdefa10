"""
The matrix of hostile tokens against a real gateway over real sockets: every token, every way to bring one.

None opens a session, none gets past the HTTP API's gate, and none leaves more in the log than a short line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import jwt
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.clients import Closed, connected, opened
from tests.support.forged_tokens import AUDIENCE, ISSUER, P256, RSA, SECRET, Forge, public_pem
from tests.support.gateway import GatewayProcess
from tests.support.key_provider import Provider, document
from tests.support.key_provider import serving as serving_keys
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

SETTINGS: dict[str, Any] = {
    "logging__level": "debug",
    "auth__secret": SECRET,
    "auth__public_keys": [public_pem(RSA), public_pem(P256)],
    "auth__algorithms": ["HS256", "RS256", "ES256"],
    "auth__audience": AUDIENCE,
    "auth__issuer": ISSUER,
}
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MOST_CHARS = 300


def forge() -> Forge:
    return Forge(int(time.time()))


def matrix() -> dict[str, Any]:
    return {name: build() for name, (_, build) in forge().hostile().items()}


def texts(*, in_header: bool = False) -> dict[str, str]:
    """Return those that are text; white space around a header's value is not a part of it."""
    return {
        name: token
        for name, token in matrix().items()
        if isinstance(token, str) and not (in_header and token != token.strip())
    }


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@contextlib.asynccontextmanager
async def serving(redis_url: str, **settings: Any) -> AsyncIterator[GatewayProcess]:
    async with GatewayProcess(redis_url, **{**SETTINGS, **settings}) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayProcess]:
    """One for the tests in which nobody gets in."""
    with RedisServer() as server:
        running = GatewayProcess(server.url, **SETTINGS)
        try:
            asyncio.run(running.start())
            yield running
        finally:
            asyncio.run(running.remove())


async def ask(port: int, target: str, *headers: bytes) -> int | None:
    """Send a request as it is; return the status, or None where the connection just ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n" % target.encode() + b"".join(headers) + b"\r\n")
        async with asyncio.timeout(20):
            line = await reader.readline()
        return int(line.split(b" ")[1]) if line else None
    except (ConnectionError, ValueError):  # a line of over 64 KiB is no answer of ours
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def http_port(gateway: GatewayProcess) -> int:
    return int(gateway.log_events("listening")[-1]["http_port"])


async def counts(gateway: GatewayProcess) -> dict[str, Any]:
    """Return what the gateway counted, asked with a good token."""
    good = forge().token(forge().claims(scope="push"))
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.get(
            f"http://127.0.0.1:{http_port(gateway)}/stats", headers={"Authorization": f"Bearer {good}"}
        )
    assert answer.status_code == 200
    instance: dict[str, Any] = answer.json()["instance"]
    return instance


def assert_log_is_quiet(gateway: GatewayProcess, tokens: list[Any]) -> None:
    lines = gateway.log.splitlines()
    assert lines
    assert [line for line in lines if len(line) > MOST_CHARS] == []
    parts = {part for token in tokens for part in str(token).split(".") if len(part) > 20}
    assert [part for part in parts if part in gateway.log] == []
    assert "Traceback" not in gateway.log


def test_there_are_more_than_a_hundred() -> None:
    assert len(set(map(repr, matrix().values()))) >= 100


async def test_none_is_accepted_in_the_handshake(gateway: GatewayProcess) -> None:
    before = sum((await counts(gateway))["auth_failures"].values())
    port = gateway.port
    for name, token in texts().items():
        status = await ask(port, f"/ws?token={quote(as_bytes(token), safe='')}", UPGRADE.encode())
        # An empty token is none: the socket waits for `auth`.
        assert status in ({101} if not token else {400, 401, 414, None}), name
    for name, token in texts(in_header=True).items():
        status = await ask(port, "/ws", UPGRADE.encode(), b"Authorization: Bearer %b\r\n" % as_bytes(token))
        assert status in ({101} if not token else {400, 401, 431, None}), name
        # What is no token in the sense of RFC 9110 cannot be offered as a subprotocol: again none was brought.
        offer = b"Sec-WebSocket-Protocol: tidegate.v1, bearer.%b\r\n" % as_bytes(token)
        assert await ask(port, "/ws", UPGRADE.encode(), offer) in {101, 400, 401, 431, None}, name
    counted = await counts(gateway)
    assert counted["connections_opened"] == 0
    assert sum(counted["auth_failures"].values()) - before > 300
    assert_log_is_quiet(gateway, list(matrix().values()))


async def test_none_is_accepted_as_a_first_message(gateway: GatewayProcess) -> None:
    for name, token in matrix().items():
        if isinstance(token, bytes):
            continue
        async with opened(gateway) as client:
            try:
                await client.post("auth", {"token": token})
                # A frame that is no JSON is answered without its message_id.
                await client.until(lambda c=client: c.of_type("auth_failed") or c.of_type("error"))
            except (Closed, websockets.ConnectionClosed):
                assert (await client.closed())[0] == 1009, name
                continue
            if client.of_type("auth_failed"):
                assert (await client.closed())[0] == 4401, name
            assert not client.of_type("welcome"), name
    assert (await counts(gateway))["connections_opened"] == 0
    assert_log_is_quiet(gateway, list(matrix().values()))


async def test_none_replaces_a_good_one_on_a_live_connection(redis_url: str) -> None:
    async with serving(redis_url) as gateway:
        for name in ("alg none, signed", "other secret", "public PEM as secret", "exp missing", "claim twice"):
            async with connected(gateway, token=forge().token()) as client:
                reply = await client.send("auth", {"token": matrix()[name]})
                assert reply.type == "auth_failed", name
                assert (await client.closed())[0] == 4401


async def test_none_is_accepted_by_the_http_api(gateway: GatewayProcess) -> None:
    port = http_port(gateway)
    for name, token in texts(in_header=True).items():
        for header in (b"Authorization: Bearer ", b"X-API-Key: "):
            # Not 403 either: that would be somebody who is known.
            status = await ask(port, "/stats", header + as_bytes(token) + b"\r\n")
            assert status in {400, 401, 431, None}, name
        if "\n" not in token:
            assert await ask(port, f"/stats?token={quote(as_bytes(token[:5_000]), safe='')}") in {400, 401}, name
    assert_log_is_quiet(gateway, list(matrix().values()))


# Key sets


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Provider, Provider]]:
    """The identity provider, and somebody else's."""
    monkeypatch.setenv("no_proxy", "*")
    with serving_keys() as ours, serving_keys() as theirs:
        yield ours, theirs


async def accepted(gateway: GatewayProcess, token: str) -> bool:
    return await ask(gateway.port, f"/ws?token={token}", UPGRADE.encode()) == 101


async def test_a_swapped_key_set_takes_its_tokens_along(redis_url: str, providers: tuple[Provider, Provider]) -> None:
    ours, theirs = providers
    first, second, evil = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ours.body, theirs.body = document(k=first), document(k=evil)
    settings = {"auth__jwks_url": ours.url, "auth__jwks_lifetime_s": 0.3}

    def token(key: Any, **header: Any) -> str:
        return jwt.encode(forge().claims(), key, "ES256", headers={"kid": "k", **header})

    async with serving(redis_url, **settings) as gateway:
        await wait_until(lambda: accepted(gateway, token(first)), 20)
        for hostile in (
            token(evil),
            token(evil, jku=theirs.url),
            token(evil, x5u=theirs.url),
            token(evil, jwk=json.loads(theirs.body)["keys"][0]),
            token(evil, kid=theirs.url),
            token(second),
        ):
            assert not await accepted(gateway, hostile)
        old = token(first)
        assert await accepted(gateway, old)
        ours.body = document(k=second)  # the same key id
        await wait_until(lambda: accepted(gateway, token(second)), 20)
        assert not await accepted(gateway, old)  # verified before, and in the cache then
        assert not await accepted(gateway, token(first))
        ours.body = (
            b'{"keys": [{"kty": "oct", "kid": "k", "k": "AAAA"}]}'  # a set that cannot be: the last good one holds
        )
        await wait_until(lambda: gateway.log_events("jwks_fetch_failed"), 20)
        assert await accepted(gateway, token(second))
        assert theirs.requests == []
        assert [line for line in gateway.log.splitlines() if len(line) > MOST_CHARS] == []
