"""
The server: TCP connections in, WebSocket sessions out.

An asyncio.Protocol around the Sans-I/O core of `websockets`, because a task and streams for each connection cost
three times the memory and a third of the accepts per second. No task and no timer per connection: one sweep a second
serves them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import random
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State as WireState

from gateway import handshake, session
from gateway.admission import Admission, Refusal
from gateway.close_codes import CloseCode
from gateway.connection import Connection
from gateway.core import Core
from gateway.entrance import Visit
from gateway.errors import AuthError, KeyUnknown
from gateway.frames import is_utf8
from gateway.handshake import Credentials
from gateway.identity import Identity
from gateway.listener import listening_socket
from gateway.services import Services
from gateway.subscriber import Wire
from gateway.sweeper import CLOSING_TIMEOUT_S, Sweeper
from gateway.tls import Certificate, TlsSocket

_log = structlog.get_logger()

_HIGH_WATER_BYTES = 16 * 1024
_DRAIN_STEP_S = 0.02
_DRAIN_AT_ONCE = 64
_REFUSED_TIMEOUT_S = 2.0  # to send the request that is refused
_INVALID_DATA = 1007
_PING_FRAME = b"\x89\x00"

# What the core would log is in our own lines; the peer's mistakes are not errors of ours.
_core_logger = logging.getLogger("gateway.websockets")
_core_logger.addHandler(logging.NullHandler())
_core_logger.propagate = False
_core_logger.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """
    How the server treats its peers.

    Attributes:
        max_connections: Beyond this, handshakes are answered with 503.
        origins: Pages that may connect besides those of our own host.
        text_wire, deflate_wire: Wire formats; the second is None where compression is off.
        unready: Returns what keeps the gateway from being ready; nothing when it is.
        admission: Who may come in from where.
        certificate: For `wss://`; None: the peers speak plain TCP.
    """

    max_connections: int
    origins: frozenset[str]
    text_wire: Wire
    deflate_wire: Wire | None
    unready: Callable[[], list[str]]
    admission: Admission
    certificate: Certificate | None = None


class Server:
    """Accepts sockets."""

    def __init__(self, services: Services, options: ServerOptions) -> None:
        self.services = services
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.sweeper = Sweeper(
            *(self.loop, services.connections, services.metrics),
            handshake_timeout_s=services.limits.handshake_timeout_s,
        )
        self.leaving = False  # nobody is let in any more
        self.sockets = 0
        self.empty = asyncio.Event()  # whether there are none
        self.empty.set()
        self._server: asyncio.Server | None = None
        self.extensions = (
            [ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)]
            if options.deflate_wire is not None
            else None
        )

    async def start(self, host: str, port: int, *, backlog: int, reuse_port: bool) -> int:
        """Listen; return the port, which the kernel chooses where `port` is 0."""
        listener = listening_socket(
            host, port, reuse_port=reuse_port, user_timeout_s=self.services.limits.heartbeat_timeout_s
        )
        self._server = await self.loop.create_server(self._accept, sock=listener, backlog=backlog)
        self.sweeper.start()
        return cast(int, listener.getsockname()[1])

    def _accept(self) -> asyncio.Protocol:
        protocol, certificate = SocketProtocol(self), self.options.certificate
        return protocol if certificate is None else TlsSocket(protocol, certificate.context, self._on_tls_failure)

    def _on_tls_failure(self) -> None:
        self.services.metrics.handshakes_refused["tls"] += 1

    async def stop(self, drain_s: float) -> None:
        """Accept nothing more; send the clients away evenly over `drain_s`; then close what is left. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.leaving = True  # also to those whose handshake is under way: nobody would send them away
        connections = list(self.services.connections)
        began = self.loop.time()
        for number, connection in enumerate(connections):
            early_s = began + number * drain_s / len(connections) - self.loop.time()
            if early_s > _DRAIN_STEP_S or number % _DRAIN_AT_ONCE == _DRAIN_AT_ONCE - 1:
                await asyncio.sleep(max(0.0, early_s))
            connection.going_away(int(random.uniform(0, max(drain_s, 1.0)) * 1000))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.empty.wait(), CLOSING_TIMEOUT_S)
        self.sweeper.stop()


class SocketProtocol(asyncio.Protocol):
    """One TCP connection: an HTTP request, then perhaps a WebSocket. The `Socket` of its `Connection`."""

    __slots__ = (
        "_binary",
        "_connection",
        "_core",
        "_deaf",
        "_fragments",
        "_response",
        "_server",
        "_transport",
        "_visit",
        "write",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._core = Core(
            extensions=server.extensions,
            max_size=server.services.limits.max_message_bytes,
            logger=_core_logger,
        )
        self._connection: Connection | None = None
        self._fragments: list[bytes] | None = None
        self._binary = False
        self._deaf = False  # not reading
        self._response = b""  # of the handshake, while it waits to leave with the first frame
        self._transport: Any = None
        self._visit: Visit
        self.write: Callable[[bytes], None]

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected."""
        self._transport = transport
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        server = self._server
        server.sockets += 1
        server.empty.clear()
        now = server.loop.time()
        if server.sockets > server.options.max_connections:
            server.sweeper.make_room(now)
        server.sweeper.handshaking[self] = now + server.services.limits.handshake_timeout_s
        self._visit = Visit(server.services, server.options.admission, transport.get_extra_info("peername"), now)
        refusal = self._visit.refusal
        if refusal is not None:
            server.sweeper.handshaking[self] = now + _REFUSED_TIMEOUT_S
            if refusal.at_once or server.options.certificate is not None:
                self.abort()  # an answer would cost a socket, or a TLS handshake

    def data_received(self, data: bytes) -> None:
        """Bytes have come: any byte is a sign of life."""
        if self._connection is not None:
            self._connection.seen_at = self._server.loop.time()
        try:
            texts, rest = self._core.take_texts(data)
            for text in texts:
                self._on_message(text)
            if rest:
                self._feed(rest)
        except Exception:  # a bug of ours must not take the others' connections with it
            _log.exception("connection_failed")
            self.close(CloseCode.INTERNAL_ERROR, "")

    def _feed(self, data: bytes) -> None:
        """Let the core make of it what it is."""
        self._core.receive_data(data)
        if self._core.state is WireState.OPEN:
            self._flush()  # pongs do not wait for the replies; a close frame does: commands may have come before it
        for event in self._core.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
            elif isinstance(event, Request):
                self._on_request(event)
                handshake.forget(event)
        self._flush()

    def eof_received(self) -> bool:
        """The peer sends nothing more; asyncio closes the transport."""
        self._core.receive_eof()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """The transport is gone."""
        server = self._server
        server.sockets -= 1
        if not server.sockets:
            server.empty.set()
        server.sweeper.handshaking.pop(self, None)
        server.sweeper.closing.pop(self, None)
        self._visit.leave()
        self._core.receive_eof()
        if self._connection is not None:
            self._connection.lost(self._core.ended_with)
        # What holds each other would wait for the garbage collector, and a storm's would keep it busy for long.
        self._connection = None
        self._core.release()

    def pause_writing(self) -> None:
        """The peer is slower than we are."""
        if self._connection is not None:
            self._connection.transport_paused(self._server.loop.time())

    def resume_writing(self) -> None:
        """The peer has taken what was written."""
        if self._connection is not None:
            self._connection.transport_resumed(self._server.loop.time())

    # What the connection calls.

    def close(self, code: int, reason: str) -> None:
        """See `connection.Socket`."""
        if self._core.state is WireState.OPEN:
            self._core.send_close(code, reason)
            self._flush()
            self._end_soon()
            self.resume_reading()  # a busy or slow client's answer is to be heard
        elif self._core.state is WireState.CONNECTING:
            self.abort()

    def ping(self) -> None:
        """See `connection.Socket`."""
        if self._core.state is WireState.OPEN:
            self.write(_PING_FRAME)

    def abort(self) -> None:
        """See `connection.Socket`."""
        self._transport.abort()

    def pause_reading(self) -> None:
        """See `connection.Socket`."""
        self._deaf = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `connection.Socket`."""
        if self._deaf and not self._transport.is_closing():
            self._deaf = False
            self._transport.resume_reading()

    def unsent(self) -> int:
        """See `connection.Socket`; the kernel's share by SIOCOUTQ (tcp(7))."""
        queued: int = self._transport.get_write_buffer_size()
        try:
            answer = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
        except (OSError, ValueError):
            return queued
        return queued + cast(int, struct.unpack("i", answer)[0])

    # Frames.

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._binary = frame.opcode is Opcode.BINARY
            if frame.fin:
                self._on_message(bytes(frame.data), binary=self._binary)
            else:
                self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload = b"".join(self._fragments)
                self._fragments = None
                self._on_message(payload, binary=self._binary)

    def _on_message(self, payload: bytes, *, binary: bool = False) -> None:
        connection = self._connection
        if connection is None or connection.state not in session.OPEN:
            return
        if binary:
            connection.receive(None, self._server.loop.time())
        elif is_utf8(payload):
            connection.receive(payload, self._server.loop.time())
        else:
            self.close(_INVALID_DATA, "a text frame is not UTF-8")

    def _flush(self) -> None:
        """Send what the core wants sent: pongs, close frames, HTTP responses, and the end of the stream."""
        for data in self._core.data_to_send():
            if data:
                self.write(data)
            else:
                self._end_soon()
                if self._transport.can_write_eof() and not self._transport.is_closing():
                    with contextlib.suppress(OSError):  # asyncio's own loop lets a peer that has gone be heard of here
                        self._transport.write_eof()
        if self._core.state is not WireState.OPEN and self._connection is not None:
            self._connection.peer_closes()

    def _end_soon(self) -> None:
        """The peer is to close the TCP connection; the sweep does not wait for it for ever."""
        server = self._server
        server.sweeper.handshaking.pop(self, None)
        server.sweeper.closing.setdefault(self, server.loop.time() + CLOSING_TIMEOUT_S)

    # The handshake.

    def _on_request(self, request: Request) -> None:
        if self._core.eof_sent:  # by what came behind it, which the core takes for frames: there is no answering
            self.abort()
            return
        path, query = handshake.split_path(request.path)
        if getattr(request, "method", "GET") != "GET":  # before 16.0, websockets refuses them itself
            self._respond(HTTPStatus.METHOD_NOT_ALLOWED, None, ("Allow", "GET"))
        elif path == handshake.HEALTH_PATH:
            self._respond(HTTPStatus.OK, {"status": "ok", "instance": self._server.services.instance_id})
        elif path == handshake.READY_PATH:
            unready = self._server.options.unready()
            status = HTTPStatus.SERVICE_UNAVAILABLE if unready else HTTPStatus.OK
            self._respond(status, {"ready": not unready, "reasons": unready})
        elif path != handshake.WEBSOCKET_PATH:
            self._respond(HTTPStatus.NOT_FOUND, {"error": "not found"})
        else:
            full = self._server.sockets > self._server.options.max_connections
            refusal = self._visit.requested(request.headers, self._server.loop.time(), full=full)
            if refusal is not None:
                self._turn_away(refusal)
            else:
                self._upgrade(request, query)

    def _turn_away(self, refusal: Refusal) -> None:
        wait_s = refusal.retry_after_s
        headers = [] if wait_s is None else [("Retry-After", str(wait_s))]
        self._respond(refusal.status, {"error": refusal.message, "reason": refusal.reason}, *headers)

    def _upgrade(self, request: Request, query: str) -> None:
        response = handshake.accept(self._core, request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._core.send_response(response)
            return
        if not handshake.origin_allowed(request.headers, self._server.options.origins):
            self._respond(HTTPStatus.FORBIDDEN, {"error": "this origin may not connect"})
            return
        credentials = handshake.credentials(query, request.headers)
        if credentials.token is None:
            self._open(response, None, credentials)
            return
        services = self._server.services
        try:
            identity = services.authenticator.verify(credentials.token, time.time())
        except KeyUnknown:
            self.pause_reading()
            services.tasks.start("handshake", self._upgrade_after_refresh(response, credentials))
        except AuthError as error:
            self._refuse(error)
        else:
            self._open(response, identity, credentials)

    async def _upgrade_after_refresh(self, response: Response, credentials: Credentials) -> None:
        """Fetch the keys again: the provider may have a new one."""
        assert credentials.token is not None  # noqa: S101 - else nobody calls this
        try:
            identity = await self._server.services.authenticator.authenticate(credentials.token, time.time())
        except AuthError as error:
            self._refuse(error)
        else:
            self._open(response, identity, credentials)
        self._flush()
        if self._connection is not None:
            self._connection.listen()  # unless there is something else to wait for
        else:
            self.resume_reading()

    def _open(self, response: Response, identity: Identity | None, credentials: Credentials) -> None:
        server = self._server
        if self._transport.is_closing():
            return
        if identity is not None and server.services.revocations.is_revoked(identity):
            self._refuse(AuthError("revoked"))
            return
        refusal = self._visit.opening(identity, leaving=server.leaving)
        if refusal is not None:
            self._turn_away(refusal)
            return
        now = server.loop.time()
        self._core.data_to_send()  # pongs to pings that did not wait for the response, which has to come first
        self._core.send_response(response)
        self._response = b"".join(self._core.data_to_send())
        self.write = self._write_response
        server.sweeper.handshaking.pop(self, None)
        connection = self._connection = Connection(
            server.services,
            self,
            client_id=self._core.id.hex[16:],  # random as it is, and made already
            remote=self._visit.address.text,
            wire=self._wire(),
            now=now,
        )
        server.services.connections.add(connection)
        if identity is None:
            connection.admit()
        else:
            connection.authenticated(identity, credentials.cursor, now)
        if self._response:
            self._write_response(b"")

    def _write_response(self, frames: bytes) -> None:
        """Send the handshake's response and the first frames in one write: a system call less on each side."""
        response, self._response = self._response, b""
        self.write = self._transport.write
        if self._connection is not None:
            self._connection.write = self.write
        self.write(response + frames)

    def _wire(self) -> Wire:
        """
        Return the wire format that was negotiated.

        A client may ask for a smaller window than the shared frames are made with. It is then sent plain frames,
        which RFC 7692, section 6, allows at any time.
        """
        options = self._server.options
        for extension in self._core.extensions:
            if isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits == 15:
                return options.deflate_wire or options.text_wire
        return options.text_wire

    def _refuse(self, error: AuthError) -> None:
        self._server.services.metrics.auth_failures[error.reason] += 1
        self._respond(
            HTTPStatus.UNAUTHORIZED,
            {"error": str(error), "reason": error.reason},
            ("WWW-Authenticate", 'Bearer error="invalid_token"'),  # RFC 6750, section 3
        )

    def _respond(self, status: HTTPStatus, body: dict[str, Any] | None, *headers: tuple[str, str]) -> None:
        """Answer with JSON, or without a body, instead of an upgrade, and end the connection."""
        self._core.send_response(handshake.answer(status, body, headers))
