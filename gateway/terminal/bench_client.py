"""
The clients of `gateway bench`: many sockets in one process, which only count.

Each reads just enough of RFC 6455 to find the frames of a server that does not compress: a real client's work would be
measured in place of the gateway's.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

EVENT: Final = "bench"
SENT_AT: Final = b'"sent_at":'

_MARK: Final = b'"type":"bench"'
_WELCOME: Final = b'"type":"welcome"'
_AT_ONCE: Final = 100
_CONNECT_TIMEOUT_S: Final = 30.0
_SAMPLES: Final = 200_000


@dataclass(slots=True)
class Tally:
    """
    What all clients together have seen.

    Attributes:
        delivered: Events that came.
        latencies_us: From publish to receipt, of the first of them that fit.
        lost: Connections that ended.
        last: When the last event came, by `time.perf_counter`.
    """

    delivered: int = 0
    latencies_us: list[int] = field(default_factory=list)
    lost: int = 0
    last: float = 0.0
    timed: bool = True


class BenchClient(asyncio.Protocol):
    """One socket."""

    def __init__(self, tally: Tally, request: bytes) -> None:
        self._tally = tally
        self._request = request
        self._buffer = bytearray()
        self._upgraded = False
        self._leaving = False
        self._transport: asyncio.Transport
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        self._read_frames()

    def connection_lost(self, _error: Exception | None, /) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionError("the gateway closed the connection"))
            self.welcomed.exception()
        elif not self._leaving:
            self._tally.lost += 1

    def leave(self) -> None:
        """Say goodbye."""
        self._leaving = True
        self._send(0x8, struct.pack("!H", 1000))
        self._transport.close()

    def _upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self._buffer[: self._buffer.find(b"\r\n")]).decode("latin-1")
        if " 101 " not in f"{status} ":
            if not self.welcomed.done():
                self.welcomed.set_exception(ConnectionError(f"the gateway answered: {status}"))
                self.welcomed.exception()
            self._transport.abort()
            return False
        del self._buffer[: end + 4]
        self._upgraded = True
        return True

    def _read_frames(self) -> None:
        buffer, start = self._buffer, 0
        while len(buffer) - start >= 2:
            length, head = buffer[start + 1] & 0x7F, 2
            if length == 126:
                length, head = int.from_bytes(buffer[start + 2 : start + 4], "big"), 4
            elif length == 127:
                length, head = int.from_bytes(buffer[start + 2 : start + 10], "big"), 10
            end = start + head + length
            if len(buffer) < end or len(buffer) - start < head:
                break
            self._take(buffer[start] & 0x0F, bytes(buffer[start + head : end]))
            start = end
        del buffer[:start]

    def _take(self, opcode: int, payload: bytes) -> None:
        tally = self._tally
        if opcode == 0x1 and _MARK in payload:
            tally.delivered += 1
            tally.last = time.perf_counter()
            if tally.timed and len(tally.latencies_us) < _SAMPLES:
                sent_ns = int(payload.rpartition(SENT_AT)[2].partition(b",")[0])
                tally.latencies_us.append((time.perf_counter_ns() - sent_ns) // 1000)
        elif opcode == 0x1 and not self.welcomed.done() and _WELCOME in payload:
            self.welcomed.set_result(None)
        elif opcode == 0x9:
            self._send(0xA, payload)
        elif opcode == 0x8:
            self._transport.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send a control frame, masked with zeros (RFC 6455, section 5.3: a mask there must be)."""
        if not self._transport.is_closing():
            self._transport.write(bytes((0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0)) + payload)


async def connect_all(url: str, tokens: Sequence[str], tally: Tally) -> list[BenchClient]:
    """
    Connect a client for each token; return them once all are welcome.

    Raises:
        OSError: Some could not connect: nobody listens, or the gateway refuses.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    async with asyncio.timeout(_CONNECT_TIMEOUT_S + len(tokens) / 200):
        return list(await asyncio.gather(*(_connect(url, token, tally, gate) for token in tokens)))


async def _connect(url: str, token: str, tally: Tally, gate: asyncio.Semaphore) -> BenchClient:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(url)
    tls = parts.scheme == "wss"
    request = _request(parts.netloc, parts.path or "/", token)
    async with gate:
        _, client = await asyncio.get_running_loop().create_connection(
            lambda: BenchClient(tally, request), parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None
        )
        await client.welcomed
    return client


def _request(host: str, path: str, token: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: tidegate.v1",
        f"Authorization: Bearer {token}",
    )
    return "\r\n".join((*lines, "", "")).encode()
