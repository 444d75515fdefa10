"""
A TCP proxy in front of a server, which does to connections what networks do: cuts, silence, delay, losses.

    async with Proxy(server.port) as proxy:
        ... proxy.url
        proxy.silence()          # no byte passes any more, and nobody is told
        proxy.restore()          # for new connections; those that were silenced stay so

Runs in the test's own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

_CHUNK = 65_536


class Proxy:
    """
    Forwards connections to a port of 127.0.0.1.

    Attributes:
        delay_s: Each chunk of a reply waits so long.
        slice_bytes: Replies arrive in parts of so many bytes; 0: as they come.
        connections: How many there have been.
        target_port: Where new connections lead.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.slice_bytes = 0
        self.connections = 0
        self.target_port = target_port
        self._silent = False
        self._refusing = False
        self._cut_after: int | None = None
        self._to_lose = 0
        self._held = asyncio.Event()
        self._held.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port: int

    @property
    def url(self) -> str:
        """The URL of Redis behind the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._writers) // 2

    def cut(self) -> None:
        """Reset every connection; new ones are served."""
        for writer in list(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and each new one at once, until `restore`."""
        self._refusing = True
        self.cut()

    def silence(self) -> None:
        """Swallow what comes on every connection, those to come included, until `restore`; these never recover."""
        self._silent = True

    def hold(self) -> None:
        """Let nothing pass, but lose nothing, until `restore`."""
        self._held.clear()

    def restore(self) -> None:
        """Serve new connections, and let go of what was held."""
        self._silent = self._refusing = False
        self._to_lose = 0
        self._held.set()

    def cut_after(self, reply_bytes: int) -> None:
        """Reset the next connection that has received so many more bytes of replies, in the midst of what follows."""
        self._cut_after = reply_bytes

    def lose_replies(self, count: int) -> None:
        """End connections in place of the next `count` replies: their commands were carried out."""
        self._to_lose = count

    @property
    def cut_is_due(self) -> bool:
        """Whether `cut_after` has not happened yet."""
        return self._cut_after is not None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refusing:
            writer.transport.abort()
            return
        try:
            upstream, onward = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, onward}
        dead = asyncio.Event()
        for source, sink, replies in ((reader, onward, False), (upstream, writer, True)):
            pump = asyncio.create_task(self._pump(source, sink, dead, replies=replies), name="proxy")
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, dead: asyncio.Event, *, replies: bool
    ) -> None:
        """Forward until either side ends; then end the other."""
        try:
            with contextlib.suppress(OSError, RuntimeError):  # uvloop's, for a transport that was aborted
                while data := await source.read(_CHUNK):
                    await self._held.wait()
                    if self._silent:
                        dead.set()
                    if dead.is_set():
                        continue
                    if replies and not await self._passes(data, sink):
                        return
                    await self._forward(data, sink, self.slice_bytes if replies else 0)
        finally:
            self._writers.discard(sink)
            sink.transport.abort()

    async def _forward(self, data: bytes, sink: asyncio.StreamWriter, slice_bytes: int) -> None:
        for at in range(0, len(data), slice_bytes or len(data)):
            sink.write(data[at : at + (slice_bytes or len(data))])
            await sink.drain()
            if slice_bytes:
                await asyncio.sleep(0)  # the reader wakes up for this part

    async def _passes(self, data: bytes, sink: asyncio.StreamWriter) -> bool:
        """Treat a chunk of replies; tell whether it is to be forwarded."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self._to_lose:
            self._to_lose -= 1
            return False
        if self._cut_after is None:
            return True
        if len(data) <= self._cut_after:
            self._cut_after -= len(data)
            return True
        sink.write(data[: self._cut_after])
        self._cut_after = None
        with contextlib.suppress(OSError):
            await sink.drain()
        sink.write_eof()  # so that what was written arrives; a reset could overtake it
        return False
