"""
An echo behind the real server, for tests that ask for nothing but the WebSocket protocol.

Production has no such path: what it is sent are commands. Here the real `Server` and `SocketProtocol`, with the
options that production has, hold connections that send each message back, as pushes leave: a frame of
`gateway.frames`, compressed where that was negotiated.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest import mock

from gateway import server
from gateway.connection import Connection
from gateway.frames import deflated_frame, text_frame
from gateway.wire.v1 import DeflateWire
from tests.support.gateway import RunningGateway, running_gateway

_TEXT_TO_BINARY = 1  # the opcodes, 1 and 2; what is before them stays


class EchoProtocol(server.SocketProtocol):
    """Keeps a message until the connection has seen it: production drops what is in a binary one."""

    __slots__ = ("message",)

    def _on_message(self, payload: bytes, *, binary: bool = False) -> None:
        self.message = payload
        super()._on_message(payload, binary=binary)


class EchoConnection(Connection):
    """Answers no command, but every message. It is sent no `welcome`, which would be a message too many."""

    __slots__ = ()

    def receive(self, payload: bytes | None, _now: float) -> None:
        """Send a message back: a text one, or, where there is no payload, the binary one that was kept."""
        if payload is not None:
            self.write(self._framed(payload))
            return
        assert isinstance(self.socket, EchoProtocol)
        frame = self._framed(self.socket.message)
        self.write(bytes((frame[0] + _TEXT_TO_BINARY,)) + frame[1:])

    def _framed(self, payload: bytes) -> bytes:
        return deflated_frame(payload) if isinstance(self.wire, DeflateWire) else text_frame(payload)

    def _send(self, kind: str, data: Any) -> None:
        """Say nothing of one's own accord."""


@contextlib.asynccontextmanager
async def echoing_gateway(redis_url: str, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway whose sockets are echoes; see `running_gateway`."""
    with (
        mock.patch.object(server, "SocketProtocol", EchoProtocol),
        mock.patch.object(server, "Connection", EchoConnection),
    ):
        async with running_gateway(redis_url, **settings) as gateway:
            yield gateway
