"""
The sandbox: a running gateway whose sockets are in memory, so that an input costs microseconds.

Everything else is real: `SocketProtocol` on a `Server` with the options of production, connections, commands, the HTTP
application, Redis. What goes wrong inside shows in the logs, so those are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import structlog

from gateway.server import Server, ServerOptions, SocketProtocol
from gateway.services import Services
from gateway.wiring import Parts, build, server_options
from tests.support.frames import upgrade
from tests.support.gateway import RunningGateway, running_gateway

_DEADLINE_S = 20.0
_MOST_CONNECTIONS = 1_000_000

SETTINGS: dict[str, Any] = {
    "limits__messages_per_s": 1e9,
    "limits__messages_burst": 1e9,
    "http__requests_per_s": 1e9,
    "http__requests_burst": 1e9,
    "http__docs": True,
    "log__memory_entries": 2_000,
    "log__maxlen": 5_000,
    "history__groups": ["g*"],
    "history__max_messages": 100,
}


class Failed(AssertionError):
    """What must hold does not."""


class Watch:
    """Sees what the gateway logs as an error: our own bugs, and poison, which is none."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, _logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        if method in ("error", "exception", "critical") and event.get("event") != "poison_entry":
            self.errors.append(str(structlog.processors.format_exc_info(None, method, dict(event)))[-3_000:])
        raise structlog.DropEvent

    def on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what asyncio has to say."""
        self.errors.append(str(context))

    def check(self) -> None:
        """Fail where something was logged since the last time."""
        if self.errors:
            errors, self.errors = self.errors, []
            raise Failed("; ".join(errors))


class Memory:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True
        self.closing = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It is never full."""

    def get_write_buffer_size(self) -> int:
        """It is never full."""
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say where the peer is."""
        return ("192.0.2.1", 4711) if name == "peername" else default

    def is_closing(self) -> bool:
        """Tell whether it has ended."""
        return self.closing

    def pause_reading(self) -> None:
        """Deliver nothing."""
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        self.reading = True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """The other half stays open, as with TCP."""

    def close(self) -> None:
        """End."""
        self.closing = True

    abort = close


class Peer:
    """The other end of one socket in memory."""

    def __init__(self, server: Server) -> None:
        self.transport = Memory()
        self.protocol = SocketProtocol(server)
        transport: Any = self.transport
        self.protocol.connection_made(transport)

    async def send(self, data: bytes) -> None:
        """Send bytes, once they are read."""
        async with asyncio.timeout(_DEADLINE_S):
            while not self.transport.reading and not self.transport.closing:
                await asyncio.sleep(0.0002)
        if not self.transport.closing:
            self.protocol.data_received(data)

    async def open(self, token: str) -> None:
        """Shake hands."""
        await self.send(upgrade(f"/ws?token={token}"))
        if not self.output.startswith(b"HTTP/1.1 101 "):
            raise Failed(f"no upgrade: {self.output[:300]!r}")
        _, _, behind = self.output.partition(b"\r\n\r\n")
        self.transport.written = [behind]

    @property
    def output(self) -> bytes:
        """Everything that was written."""
        if len(self.transport.written) > 1:
            self.transport.written = [b"".join(self.transport.written)]
        return self.transport.written[0] if self.transport.written else b""

    def leave(self) -> None:
        """Be gone."""
        self.transport.closing = True
        self.protocol.connection_lost(None)


class Sandbox:
    """
    The gateway under test.

    Attributes:
        server: For sockets in memory.
        offline: Another gateway's objects, to which no log comes but what a test delivers.
        http: The HTTP API, gate and all.
    """

    def __init__(self, gateway: RunningGateway, watch: Watch) -> None:
        application = gateway.application
        self.gateway = gateway
        self.watch = watch
        settings, redis = application._settings, application._redis
        self.server = _server(application.parts, server_options(settings, application.parts, list))
        self.offline = build(settings, redis)
        self.offline.services.log.reset(0, "abcdef12", (0, 0))
        self.offline_server = _server(self.offline, server_options(settings, self.offline, list))
        self.http: Any = application._http_server()._server.config.app

    @property
    def services(self) -> Services:
        """Those of the running gateway."""
        return self.gateway.services

    def token(self, user: str = "1", **claims: Any) -> str:
        """Return a token that it accepts."""
        return self.gateway.token(user, ttl_s=80_000, **claims)


def _server(parts: Parts, options: ServerOptions) -> Server:
    """Return a server that does not listen."""
    return Server(parts.services, options)


@contextlib.asynccontextmanager
async def sandbox(redis_url: str, **settings: Any) -> AsyncIterator[Sandbox]:
    """Run the gateway for as long as the context lasts. What it logs is not shown."""
    watch = Watch()
    before = structlog.get_config()
    structlog.configure(
        processors=[watch],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        cache_logger_on_first_use=False,
    )
    try:
        async with running_gateway(redis_url, **{**SETTINGS, **settings}) as gateway:
            asyncio.get_running_loop().set_exception_handler(watch.on_loop_error)
            place = Sandbox(gateway, watch)
            yield place
            await place.offline.services.tasks.cancel()
        watch.check()
    finally:
        structlog.configure(**before)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of every frame that the server wrote; fails at what is no frame."""
    found = []
    at = 0
    while at < len(data):
        first, length = data[at], data[at + 1]
        start = at + {126: 4, 127: 10}.get(length, 2)
        if length > 125:
            length = int.from_bytes(data[at + 2 : start], "big")
        if first & 0xF0 != 0x80 or start + length > len(data):
            raise Failed(f"the server wrote no frame: {data[at : at + 40]!r}")
        found.append((first & 0x0F, data[start : start + length]))
        at = start + length
    return found


def messages(data: bytes) -> tuple[list[dict[str, Any]], int | None]:
    """Return what the server's text frames say, and the code it closed with, if it did."""
    said = []
    for opcode, payload in frames(data):
        if opcode == 8:
            return said, int.from_bytes(payload[:2], "big") if payload else 1005
        if opcode == 1:
            said.append(orjson.loads(payload))
        elif opcode != 10:
            raise Failed(f"the server sent a frame with opcode {opcode}")
    return said, None
