"""
A WebSocket client that costs little: thousands of them live in one process.

It knows frames, the log's events and its own cursor, and nothing of scenarios. A `Crowd` opens it and is told of its
end.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.chaos.ledger import Record

if TYPE_CHECKING:
    from tests.chaos.crowd import Crowd

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_NO_MASK: Final = bytes(4)  # RFC 6455, 5.3: a client masks; a masking key of zero leaves the payload as it is


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as its frame says it: whose, which, under which id, and whether that is the number's first id."""

    producer: int
    number: int
    event_id: str
    is_first_id: bool


class Client(asyncio.Protocol):
    """
    One client through all its connections.

    Attributes:
        records: What it had of each producer.
        cursor: What it resumes from.
        welcomed: Whether it is connected and was let in.
        refusal: The status of the answer that was no upgrade.
        close_code: Of the last connection, where the server gave one.
        reconnect_in_s: How long the server asked it to stay away.
    """

    __slots__ = (
        "_crowd",
        "_rest",
        "_upgraded",
        "close_code",
        "cursor",
        "down_at",
        "ended",
        "index",
        "reconnect_in_s",
        "records",
        "refusal",
        "token",
        "transport",
        "turn",
        "welcomed",
    )

    def __init__(self, crowd: Crowd, index: int, token: str, producers: int) -> None:
        self.index = index
        self.token = token
        self.records = [Record() for _ in range(producers)]
        self.cursor = ""
        self.welcomed = False
        self.refusal = 0
        self.close_code = 0
        self.reconnect_in_s: float | None = None
        self.down_at = 0.0
        self.transport: Any = None
        self.ended: asyncio.Future[None]
        self.turn: asyncio.Future[bool]  # whether it was let in
        self._crowd = crowd
        self._rest = b""
        self._upgraded = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget the connection before the one that is about to be opened."""
        self.turn, self.ended = loop.create_future(), loop.create_future()
        self._rest = b""
        self._upgraded = self.welcomed = False
        self.refusal = self.close_code = 0
        self.reconnect_in_s = None

    def say(self, kind: str, data: Any) -> None:
        """Send a command; its reply is of no interest."""
        self._send(_TEXT, orjson.dumps({"type": kind, "message_id": f"c{self.index}", "data": data}))

    def drop(self) -> None:
        """End the connection without a word."""
        if self.transport is not None:
            self.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing from the kernel any more."""
        self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """Take from the kernel again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server has accepted; ask for the upgrade."""
        self.transport = transport
        cursor = f"cursor={self.cursor}&" if self.cursor else ""
        self.transport.write(
            f"GET /ws?{cursor}token={self.token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take every frame that is complete."""
        if self._rest:
            data = self._rest + data
        at = 0 if self._upgraded else self._take_response(data)
        if at < 0:
            self._rest = data
            return
        size = len(data)
        known = self._crowd.known
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length > 125:
                start = at + (4 if length == 126 else 10)
                if size < start:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            end = start + length
            if end > size:
                break
            kind, payload = data[at], data[start:end]
            at = end
            if kind == _TEXT:
                seen = known.get(payload)
                if seen is None:
                    seen = self._crowd.learn(self, payload)
                if seen is not None:
                    self._take(seen)
            else:
                self._control(kind, payload)
        self._rest = data[at:]

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is over."""
        was_in, self.welcomed, self.transport = self.welcomed, False, None
        self.down_at = time.monotonic()
        if not self.turn.done():
            self.turn.set_result(False)
        if not self.ended.done():
            self.ended.set_result(None)
        self._crowd.lost(self, was_in)

    # Frames.

    def _take(self, seen: Seen) -> None:
        record = self.records[seen.producer]
        if seen.number == record.last + 1 and record.start:  # `Record.take` for the usual case, without the call
            record.last = seen.number
        else:
            record.take(seen.number, is_first_id=seen.is_first_id)
        self.cursor = seen.event_id
        samples = self._crowd.samples
        if samples is not None and self._crowd.is_sampled(self):
            samples.append(time.monotonic() - self._crowd.ledgers[seen.producer].sent_at[seen.number])

    def told(self, frame: dict[str, Any]) -> None:
        """Obey a frame that is no event."""
        kind, data = frame["type"], frame["data"]
        if kind == "welcome":
            self._welcome(data)
        elif kind == "resync":
            self.cursor = data["cursor"]
            for record in self.records:
                record.resync(data["cursor"], data["reason"])
            self._crowd.resynced(self, data["reason"])
        elif kind == "going_away":
            self.reconnect_in_s = data["reconnect_in_ms"] / 1000

    def _welcome(self, data: dict[str, Any]) -> None:
        if not self.cursor:
            self.cursor = data["cursor"]
            for record in self.records:
                record.joined = data["cursor"]
        self.welcomed = True
        if not self.turn.done():
            self.turn.set_result(True)

    def _control(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            self._send(_PONG, payload)
        elif kind == _CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            self._send(_CLOSE, payload[:2])
            self.transport.close()
        elif kind != _PONG:
            raise AssertionError(f"an unexpected frame: {kind:#x}")

    def _take_response(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return -1
        if not data.startswith(b"HTTP/1.1 101"):
            self.refusal = int(data[9:12])
            self.transport.abort()
            return len(data)
        self._upgraded = True
        return end + 4

    def _send(self, kind: int, payload: bytes) -> None:
        size = len(payload)
        header = bytes([kind, 0x80 | size]) if size < 126 else bytes([kind, 0xFE, size >> 8, size & 0xFF])
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(header + _NO_MASK + payload)


def narrow_socket() -> socket.socket:
    """
    Return a socket for a client that will be slow: it holds little, and lets the server's kernel hold little.

    On loopback a segment is 64 KB and a send buffer 2.5 MB from the start (tcp(7), TCP_MAXSEG), so a stall would take
    minutes to show. With segments as on a network it takes a second.
    """
    narrow = socket.socket()
    narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1_400)
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    narrow.setblocking(False)
    return narrow
