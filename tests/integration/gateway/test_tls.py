"""TLS served directly: what it speaks, that the socket below it behaves as a plain one, and how files are exchanged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import ConfigError
from publisher import Publisher
from tests.integration.gateway.raw_socket import tcp_socket
from tests.support.certificates import Authority, common_name
from tests.support.clients import connected, settled
from tests.support.gateway import RunningGateway, make_token, running_gateway
from tests.support.waiting import wait_until

BIG = "x" * 300_000


@dataclass
class Secure:
    """A gateway that speaks TLS; an `Endpoint`."""

    gateway: RunningGateway
    ca: Authority
    paths: tuple[str, str]

    @property
    def url(self) -> str:
        return self.gateway.url.replace("ws://", "wss://")

    @property
    def options(self) -> dict[str, Any]:
        return {"ssl": self.ca.client_context()}

    async def shown(self) -> str:
        """Connect; return the name in the certificate that is shown."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port, ssl=self.ca.client_context())
        name = common_name(writer.get_extra_info("ssl_object"))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        del reader
        return name


@contextlib.asynccontextmanager
async def serving(redis_url: str, ca: Authority, **settings: Any) -> AsyncIterator[Secure]:
    certificate, key = ca.issue("one")
    own = {"listen__tls_certificate": certificate, "listen__tls_key": key}
    async with running_gateway(redis_url, **own, **settings) as gateway:
        yield Secure(gateway, ca, (certificate, key))


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(redis_url: str, ca: Authority) -> AsyncIterator[Secure]:
    async with serving(redis_url, ca) as running:
        yield running


# What it speaks


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_clients_connect_by_wss(secure: Secure, tide: Publisher, way: Any) -> None:
    async with connected(secure, "42", way=way, **secure.options) as client:
        assert (await client.send("echo", {"a": BIG[:50_000]})).data == {"a": BIG[:50_000]}
        await tide.publish("e", BIG[:250_000], to="user:42")
        assert (await client.next("e")).data == BIG[:250_000]
        await client.close()
    await wait_until(lambda: secure.gateway.services.metrics.closed == {1000: 1})


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken_with_forward_secrecy(secure: Secure, version: ssl.TLSVersion) -> None:
    context = secure.ca.client_context()
    context.minimum_version = context.maximum_version = version
    async with connected(secure, ssl=context) as client:
        spoken = client.socket.transport.get_extra_info("ssl_object")
        assert spoken.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
        assert "GCM" in spoken.cipher()[0] or "CHACHA" in spoken.cipher()[0]
        assert spoken.compression() is None


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_1, "DEFAULT:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_what_is_out_of_date_is_not_spoken(secure: Secure, version: ssl.TLSVersion, ciphers: str) -> None:
    context = secure.ca.client_context()
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", secure.gateway.port, ssl=context)


async def test_a_peer_that_speaks_no_tls_is_cut_off(secure: Secure) -> None:
    loop = asyncio.get_running_loop()
    for first in (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\xff" * 70_000):
        async with tcp_socket(secure.gateway.port) as tcp, asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(tcp, first)
                while await loop.sock_recv(tcp, 1_000):
                    pass
    await wait_until(lambda: secure.gateway.services.metrics.handshakes_refused == {"tls": 3})
    async with connected(secure, **secure.options):
        pass


async def test_garbage_within_a_session_ends_that_session_alone(secure: Secure) -> None:
    async with connected(secure, "1", **secure.options) as broken, connected(secure, "2", **secure.options) as whole:
        below = broken.socket.transport.get_extra_info("socket").fileno()
        os.write(below, b"\x17\x03\x03\x00\x20" + b"\xaa" * 32)  # a record that nobody encrypted
        await wait_until(lambda: len(secure.gateway.services.connections) == 1)
        assert (await whole.send("ping")).type == "pong"


async def test_a_handshake_that_never_ends_is_ended(redis_url: str, ca: Authority) -> None:
    async with (
        serving(redis_url, ca, limits__handshake_timeout_s=0.2) as secure,
        tcp_socket(secure.gateway.port) as silent,
        tcp_socket(secure.gateway.port) as dripping,
    ):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):  # where this process stood still, it is over already
            await loop.sock_sendall(dripping, b"\x16\x03\x01")
        async with asyncio.timeout(30):
            for tcp in (silent, dripping):
                with contextlib.suppress(ConnectionError):
                    assert await loop.sock_recv(tcp, 100) == b""


async def test_who_is_blocked_or_too_many_costs_no_tls_handshake(redis_url: str, ca: Authority) -> None:
    async with serving(redis_url, ca, access__block=["127.0.0.2"], limits__connections_per_ip=1) as secure:
        async with connected(secure, **secure.options):
            for address in ("127.0.0.1", "127.0.0.2"):
                with pytest.raises((ssl.SSLError, OSError)):
                    await asyncio.open_connection(
                        "127.0.0.1", secure.gateway.port, ssl=ca.client_context(), local_addr=(address, 0)
                    )
        assert secure.gateway.services.metrics.handshakes_refused == {"address": 1, "blocked": 1}


async def test_the_gateway_closes_in_good_order(secure: Secure, tide: Publisher) -> None:
    async with connected(secure, "42", **secure.options) as client:
        await tide.kick("42", reason="Bye.")
        assert await client.closed() == (4403, "Bye.")
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.gateway.port, ssl=secure.ca.client_context())
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        answer = await reader.read()  # raises where close_notify is missing
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")


# The socket below: limits, pauses and stalls, as without TLS


class SlowClient:
    """A TLS client that reads when it is told to. Blocking calls, in a thread."""

    def __init__(self, secure: Secure, user: str) -> None:
        tcp = socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024)
        tcp.settimeout(30)
        tcp.connect(("127.0.0.1", secure.gateway.port))
        self.tls = secure.ca.client_context().wrap_socket(tcp, server_hostname="127.0.0.1")
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        self.tls.sendall(
            f"GET /ws?token={make_token(user)} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.received = b""
        while b'"welcome"' not in self.received:
            self.read()

    def read(self, most: int = 16_384) -> int:
        chunk = self.tls.recv(most)
        self.received += chunk
        return len(chunk)


@contextlib.asynccontextmanager
async def slow(secure: Secure) -> AsyncIterator[SlowClient]:
    client = await asyncio.to_thread(SlowClient, secure, "slow")
    try:
        yield client
    finally:
        client.tls.close()


def buffered(secure: Secure) -> int:
    return max((c.socket._transport.get_write_buffer_size() for c in secure.gateway.services.connections), default=0)  # type: ignore[attr-defined]


async def flood(tide: Publisher, count: int) -> None:
    for _ in range(count // 50):
        await tide.publish_many([{"event": "e", "data": BIG[:10_000], "to": "all"}] * 50)


async def test_a_tls_socket_that_does_not_read_costs_little_and_slows_nobody(
    redis_url: str, ca: Authority, tide: Publisher
) -> None:
    async with (
        serving(redis_url, ca, limits__stall_timeout_s=60) as secure,  # it is still there at the end
        slow(secure),
        connected(secure, "fast", **secure.options) as fast,
    ):
        for _ in range(3):
            await flood(tide, 300)
            assert buffered(secure) <= 64 * 1024
        await settled(tide, fast)
        assert len(fast.events) == 900
        assert any(connection.paused for connection in secure.gateway.services.connections)


async def test_a_tls_socket_that_takes_nothing_is_aborted(redis_url: str, ca: Authority, tide: Publisher) -> None:
    async with serving(redis_url, ca, limits__stall_timeout_s=1) as secure, slow(secure):
        await flood(tide, 500)
        await wait_until(lambda: secure.gateway.services.metrics.stalled == 1)


async def test_a_slow_but_steady_tls_reader_is_kept_and_misses_nothing(
    redis_url: str, ca: Authority, tide: Publisher
) -> None:
    async with serving(redis_url, ca, limits__stall_timeout_s=3) as secure, slow(secure) as client:
        await flood(tide, 300)
        await wait_until(lambda: any(c.paused for c in secure.gateway.services.connections))
        end = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < end:  # well beyond the stall timeout
            await asyncio.to_thread(client.read, 16_384)
            await asyncio.sleep(0.05)
        assert secure.gateway.services.metrics.stalled == 0
        while client.received.count(b'"type":"e"') < 300 or not client.received.endswith(b'x"}'):
            assert await asyncio.to_thread(client.read)
        assert client.received.count(b'"type":"e"') == 300


# The files


async def test_a_reload_is_for_new_connections_and_drops_none(secure: Secure, tide: Publisher) -> None:
    async with connected(secure, "42", **secure.options) as before:
        for old, new in zip(secure.paths, secure.ca.issue("two"), strict=True):
            shutil.copy(new, old)
        assert await secure.shown() == "one"
        secure.gateway.application.reload()
        assert await secure.shown() == "two"
        async with connected(secure, "43", **secure.options) as after:
            await tide.publish("e", 1, to="all")
            await before.next("e")
            await after.next("e")


@pytest.mark.parametrize("damage", ["missing", "empty", "not PEM", "another's key", "encrypted", "no certificate"])
async def test_files_that_cannot_be_used_refuse_the_start_and_change_nothing_on_reload(
    secure: Secure, redis_url: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, key = map(Path, secure.paths)
    spare = secure.ca.issue("spare", passphrase=b"x")
    {
        "missing": key.unlink,
        "empty": lambda: certificate.write_bytes(b""),
        "not PEM": lambda: certificate.write_bytes(b"\x30\x82" + bytes(500)),
        "another's key": lambda: shutil.copy(secure.ca.issue("other")[1], key),
        "encrypted": lambda: (shutil.copy(spare[0], certificate), shutil.copy(spare[1], key)),
        "no certificate": lambda: shutil.copy(key, certificate),
    }[damage]()
    capfd.readouterr()
    secure.gateway.application.reload()
    assert "".join(capfd.readouterr()).count("tls_reload_failed") == 1
    assert await secure.shown() == "one"
    with pytest.raises(ConfigError) as refused:
        async with running_gateway(
            redis_url, listen__tls_certificate=str(certificate), listen__tls_key=str(key), http__enabled=False
        ):
            pass
    assert refused.value.setting.startswith("listen.tls_")
    assert "\n" not in str(refused.value)


# The HTTP API


async def test_the_http_api_speaks_tls_and_follows_a_reload(redis_url: str, ca: Authority) -> None:
    certificate, key = ca.issue("one")
    settings = {"http__tls_certificate": certificate, "http__tls_key": key}
    async with running_gateway(redis_url, **settings) as gateway:
        url = gateway.http_url.replace("http://", "https://")
        options: dict[str, Any] = {"verify": ca.client_context(), "trust_env": False, "timeout": 30}
        async with httpx.AsyncClient(base_url=url, **options) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
            headers = {"Authorization": f"Bearer {make_token('svc', scope='push')}"}
            body = {"event": "e", "data": BIG[:200_000]}
            assert (await client.post("/message/push/all", json=body, headers=headers)).status_code == 202
            for old, new in zip((certificate, key), ca.issue("two"), strict=True):
                shutil.copy(new, old)
            gateway.application.reload()
            assert (await client.get("/health")).status_code == 200  # on the connection that was there before
        port = gateway.application.http_port
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ca.client_context())
        assert common_name(writer.get_extra_info("ssl_object")) == "two"
        writer.close()
        async with httpx.AsyncClient(trust_env=False, timeout=30) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"{gateway.http_url}/health")
