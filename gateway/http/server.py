"""
The HTTP server: uvicorn in the gateway's own loop, started and stopped by `app`.

Two things of uvicorn are not wanted there: its signal handlers, for the process has its own, and its logs, for access
logs keep what they should not. One thing is added: a connection that sends no request is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from gateway.tls import Certificate, TlsSocket

_SILENT_FOR_S: Final = 10.0
_SWEEP_S: Final = 1.0
_KEEP_ALIVE_S: Final = 75
_MAX_HEADER_BYTES: Final = 32 * 1024
_STOP_WITHIN_S: Final = 5

for _name in ("uvicorn.error", "uvicorn.access"):
    _logger = logging.getLogger(_name)
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False
    _logger.setLevel(logging.CRITICAL)

Run = Callable[[str, Coroutine[Any, Any, None]], object]


class HttpServer:
    """
    Serves one ASGI application.

    Args:
        max_connections: Requests on further ones are answered with 503.
        certificate: None: plain TCP.
    """

    def __init__(
        self, app: ASGIApp, *, max_connections: int, backlog: int, certificate: Certificate | None = None
    ) -> None:
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                loop="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=max_connections + 1,  # it counts the one that asks among them
                backlog=backlog,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_STOP_WITHIN_S,
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            ),
            certificate,
        )

    async def start(self, listener: socket.socket, run: Run) -> int:
        """
        Serve on a bound socket; return its port.

        Args:
            run: Starts a task whose failure is the process's.
        """
        port: int = listener.getsockname()[1]
        run("http", self._server.serve([listener]))
        await self._server.listening.wait()
        return port

    async def stop(self) -> None:
        """Accept nothing more, and let requests end. Idempotent."""
        await self._server.stop()


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, as a guest in our process."""

    def __init__(self, config: uvicorn.Config, certificate: Certificate | None) -> None:
        super().__init__(config)
        if certificate is not None:
            _speak_tls(config, certificate)
        self.listening = asyncio.Event()
        self._leave = asyncio.Event()
        self._left = asyncio.Event()
        self._silent: dict[Any, tuple[Any, float]] = {}  # connection → its last request, and since when it waits

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self._left.set()
            self.listening.set()

    async def stop(self) -> None:
        self.should_exit = True
        self._leave.set()
        if self.listening.is_set():
            await self._left.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            self._abort_silent(asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._leave.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def _abort_silent(self, now: float) -> None:
        """End connections on which the head of a request does not come; uvicorn times only those that send nothing."""
        waiting: dict[Any, tuple[Any, float]] = {}
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                continue
            last, since = self._silent.get(connection, (cycle, now))
            since = since if last is cycle else now
            if now - since > _SILENT_FOR_S + (_KEEP_ALIVE_S if cycle is not None else 0):
                connection.transport.abort()
            else:
                waiting[connection] = (cycle, since)
        self._silent = waiting


def _speak_tls(config: uvicorn.Config, certificate: Certificate) -> None:
    """
    Put TLS before uvicorn's protocol, with the certificate that is valid when a peer connects.

    Not uvicorn's own: its context is made once, and a peer that never ends its handshake is no connection to it.
    """
    config.load()
    plain: Any = config.http_protocol_class

    def protocol(**options: Any) -> TlsSocket:
        return TlsSocket(plain(**options), certificate.context, _ignore)

    config.http_protocol_class = protocol  # type: ignore[assignment]


def _ignore() -> None:
    """A TLS handshake failed: the peer's affair."""
