"""What a Redis server is asked while something goes on, as its MONITOR tells it: each command, its key, who sent it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator
from typing import NamedTuple

from tests.support.redis_server import RedisServer

_LINE = re.compile(rb'\+?[\d.]+ \[\d+ (?P<source>lua|[^\]]+)\] "(?P<command>[^"]+)"(?: "(?P<first>(?:[^"\\]|\\.)*)")?')


class Call(NamedTuple):
    """One command (lower case), its first argument, which for most is the key, and whether a script called it."""

    command: str
    first: str
    in_script: bool


@contextlib.asynccontextmanager
async def monitored(server: RedisServer) -> AsyncIterator[list[Call]]:
    """Collect what the server carries out while the block runs; the list is filled when the block has ended."""
    calls: list[Call] = []
    watch_reader, watch = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 26)
    mark_reader, mark = await asyncio.open_connection("127.0.0.1", server.port)
    collecting: asyncio.Task[list[Call]] | None = None
    try:
        watch.write(b"MONITOR\r\n")
        await watch_reader.readuntil(b"+OK\r\n")
        end = secrets.token_hex(8)
        collecting = asyncio.create_task(_collect(watch_reader, end), name="monitor")
        yield calls
        mark.write(f"ECHO {end}\r\n".encode())
        await mark_reader.readline()
        async with asyncio.timeout(30):
            calls += await collecting
    finally:
        if collecting is not None:
            collecting.cancel()
        for writer in (watch, mark):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _collect(reader: asyncio.StreamReader, end: str) -> list[Call]:
    """Read up to the call whose argument is `end`, in large pieces: a server drops a monitor that lags too far."""
    data, mark = bytearray(), end.encode()
    while (at := data.find(mark)) < 0:
        piece = await reader.read(1 << 20)
        if not piece:
            raise ConnectionError("the server has dropped its monitor")
        data += piece
    return [_call(line) for line in _LINE.finditer(bytes(data[: data.rfind(b"\n", 0, at)]))]


def _call(line: re.Match[bytes]) -> Call:
    return Call(
        line["command"].decode().lower(), (line["first"] or b"").decode(errors="replace"), line["source"] == b"lua"
    )
