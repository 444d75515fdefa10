"""Origins, as browsers and forgers send them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.errors import ConfigError
from gateway.settings import load
from tests.support.gateway import RunningGateway, make_token, running_gateway

LISTED = ("https://app.example.com", "https://xn--bcher-kva.example", "http://localhost:3000")
OURS = "{host}"

REFUSED = [
    *("null", "NULL", "", " ", "*", "about:blank", "file://", "data:", "undefined"),
    *("https://evil.example", "https://app.example.com.evil.example", "https://evil.example/https://app.example.com"),
    *("https://xapp.example.com", "https://sub.app.example.com", "https://app.example.co", "https://example.com"),
    *("http://app.example.com", "https://app.example.com:8443", "https://app.example.com:443", "wss://app.example.com"),
    *("https://app.example.com/", "https://app.example.com?", "https://app.example.com#", "https://app.example.com."),
    *("https://app.example.com@evil.example", "https://evil@app.example.com", "https://app.example.com%2eevil.example"),
    *("https://app.example.com\\.evil.example", "https://app.example.com\tx", "https://app.example.com, https://x"),
    *("https://b\xfccher.example", "https://xn--bcher-kvb.example", "http://localhost", "http://localhost:30000"),
    *(
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://0x7f.1:{port}",
        "http://127.1:{port}",
        "http://2130706433:{port}",
    ),
    *("http://localhost:{port}", "http://[::1]:{port}", "http://[::ffff:127.0.0.1]:{port}", "http://0.0.0.0:{port}"),
    *("ftp://{host}", "chrome-extension://{host}", "javascript://{host}", "{host}", "//{host}", "http:{host}"),
    *("http://{host}/", "http://{host}.", "http://x@{host}", "http://{host}@x", "http://{host}x", "http://{host} "),
]
ALLOWED = ["http://{host}", "https://{host}", "HTTP://{host}", *LISTED, "HTTPS://APP.EXAMPLE.COM"]


async def connects(gateway: RunningGateway, *lines: str, host: str = OURS) -> int:
    """Send a handshake with these header lines; return the status, 0 where there was none."""
    ours = f"127.0.0.1:{gateway.port}"

    def fill(text: str) -> str:
        return text.replace("{host}", ours).replace("{port}", str(gateway.port))

    head = [
        f"GET /ws?token={make_token('42')} HTTP/1.1",
        *([f"Host: {fill(host)}"] if host else []),
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *map(fill, lines),
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        async with asyncio.timeout(30):
            answer = await reader.readline()
        return int(answer.split(b" ")[1]) if answer else 0
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_null_and_look_alikes_are_refused(redis_url: str) -> None:
    async with running_gateway(redis_url, listen__origins=LISTED) as gateway:
        for origin in REFUSED:
            if origin == "http://{host} ":  # white space around a value is not a part of it
                continue
            assert await connects(gateway, f"Origin: {origin}") in {403, 400, 0}, origin
        assert gateway.services.metrics.connections_opened == 0


async def test_our_own_pages_and_the_listed_ones_may(redis_url: str) -> None:
    async with running_gateway(redis_url, listen__origins=LISTED) as gateway:
        for origin in ALLOWED:
            assert await connects(gateway, f"Origin: {origin}") == 101, origin
        assert await connects(gateway) == 101  # no browser


async def test_two_origins_or_hosts_are_refused(gateway: RunningGateway) -> None:
    ours = "Origin: http://{host}"
    assert await connects(gateway, ours, ours) in {403, 400}
    assert await connects(gateway, ours, "Origin: null") in {403, 400}
    assert await connects(gateway, ours, "Host: {host}") in {403, 400}
    assert await connects(gateway, ours, host="") in {403, 400}
    assert await connects(gateway, ours, host="evil.example") == 403


async def test_another_header_is_no_origin(gateway: RunningGateway) -> None:
    evil = "Origin: https://evil.example"
    for line in ("X-Forwarded-Host: evil.example", "Referer: http://{host}/", "Sec-WebSocket-Origin: http://{host}"):
        assert await connects(gateway, evil, line) == 403, line


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://*.example.com",
        "https://a@b",
        "null",
        "",
        "https://",
        "a b",
    ],
)
def test_a_setting_that_could_match_nothing_or_too_much_is_refused(origin: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(listen={"origins": [origin]})
    assert refused.value.setting == "listen.origins"
