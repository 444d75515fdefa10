"""The stream's reader by TLS, through which its channel takes a connection over as well."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.store.connection import connect
from gateway.store.stream import StreamReader
from publisher import Publisher
from publisher.keys import stream
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer, free_port, redis7_binary

COUNT = 3_000
PAD = "x" * 400
"""A reply of over a megabyte: many TLS records, in many reads."""


async def _read_all(url: str) -> list[bytes]:
    redis = connect(url, 30)
    reader = StreamReader(redis, 0, "a", timeout_s=30)
    try:
        await reader.connect()
        await reader.set_position((0, 0), 0)
        read = await reader.read_group(COUNT, 100)
        again = await reader.range_after((0, 0), 1)
        assert again[0] == read[0]
        return [fields[fields.index(b"m") + 1] for _, fields in read]
    finally:
        await reader.disconnect()
        await redis.aclose()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_large_read_comes_whole(tmp_path: Path, loop: Any) -> None:
    binary = redis7_binary()
    if binary is None:
        pytest.skip("needs redis7")
    certificate, key = Authority(tmp_path).issue("redis")
    port = free_port()
    lines = (f"tls-port {port}", f"tls-cert-file {certificate}", f"tls-key-file {key}", "tls-auth-clients no")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RedisServer(binary, lines=lines))
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop))

        async def scene() -> None:
            async with Publisher(server.url, timeout_s=60) as tide:
                events = [{"event": "e", "data": PAD, "to": "all", "message_id": str(n)} for n in range(COUNT)]
                await tide.publish_many(events)
            url = f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none&ssl_check_hostname=false"
            assert await _read_all(url) == [b"%d" % number for number in range(COUNT)]

        runner.run(scene())
        with server.client() as client:
            assert client.xlen(stream(0)) == COUNT
