"""A WebSocket client that reads only when it is told to: what a slow, stalled or hostile peer looks like."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from tests.support.clients import TIMEOUT_S, Endpoint, Frame


class RawSocket:
    """
    One TCP connection. Nothing is read in the background.

    Attributes:
        tcp: The socket.
        received: Every byte that was read.
        frames: Text frames that were read.
        response: The answer to the handshake.
        close_code: From the server's close frame, if one was read.
        ended: The TCP connection is over.
    """

    def __init__(self, tcp: socket.socket, protocol: ClientProtocol) -> None:
        self.tcp = tcp
        self.received = bytearray()
        self.frames: list[Frame] = []
        self.response: Response | None = None
        self.ended = False
        self._protocol = protocol
        self._text = b""

    @property
    def close_code(self) -> int | None:
        """See above."""
        received = self._protocol.close_rcvd
        return int(received.code) if received is not None else None

    @property
    def pushes(self) -> list[Frame]:
        """Frames from the log that were read."""
        return [frame for frame in self.frames if frame.id is not None]

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.tcp, data)

    async def send_text(self, text: str) -> None:
        """Send a text frame."""
        self._protocol.send_text(text.encode())
        await self.send(b"".join(self._protocol.data_to_send()))

    async def read(self, most: int = 65_536) -> int:
        """Read once, up to so many bytes; return how many came, 0 at the end."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                data = await asyncio.get_running_loop().sock_recv(self.tcp, most)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return 0
        self.received += data
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.response = event
            else:
                self._take(event)
        with contextlib.suppress(ConnectionError):
            await self.send(b"".join(self._protocol.data_to_send()))  # the answer to a close
        return len(data)

    async def read_until_end(self) -> None:
        """Read whatever still comes."""
        while await self.read():
            pass

    def _take(self, frame: Any) -> None:
        assert isinstance(frame, WireFrame)
        if frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text += bytes(frame.data)
            if frame.fin:
                self.frames.append(Frame.parse(self._text))
                self._text = b""


@contextlib.asynccontextmanager
async def raw_socket(
    to: Endpoint, token: str, *, query: str = "", receive_buffer: int | None = None
) -> AsyncIterator[RawSocket]:
    """Connect with a token and read as far as the `welcome`. A small receive buffer makes a slow peer felt soon."""
    protocol = ClientProtocol(parse_uri(f"{to.url}?token={token}{query}"), max_size=None)
    async with tcp_socket(protocol.uri.port, receive_buffer=receive_buffer) as tcp:
        raw = RawSocket(tcp, protocol)
        protocol.send_request(protocol.connect())
        await raw.send(b"".join(protocol.data_to_send()))
        while not raw.frames:
            assert await raw.read(512), "the connection ended"
        yield raw


@contextlib.asynccontextmanager
async def tcp_socket(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[socket.socket]:
    """Connect a socket, which is not blocking."""
    with socket.socket() as tcp:
        if receive_buffer is not None:  # before the connection: the window is agreed on then
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        tcp.setblocking(False)
        await asyncio.get_running_loop().sock_connect(tcp, ("127.0.0.1", port))
        yield tcp
