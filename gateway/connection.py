"""
The connection: one client, from its handshake to its end.

A subscriber of the log on one side, a session with commands and replies on the other. It knows no bytes of the
WebSocket protocol and no asyncio transport: those are its `Socket`. Everything in it is synchronous, so that nothing
can come between "note the head of the log" and "register in the hub".
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from gateway import session
from gateway.close_codes import CloseCode
from gateway.entry import Entry
from gateway.errors import CommandError
from gateway.identity import Identity, addresses_of
from gateway.limits import TokenBucket, wait_ms
from gateway.log import Ahead, Found, Older
from gateway.profiles import Profile
from gateway.replies import Outcome, Replies
from gateway.resume import locate, position, resume
from gateway.services import Departure, Services
from gateway.session import Move, State
from gateway.socket import Socket
from gateway.subscriber import Hold, Subscriber, Wire
from gateway.user_limit import replace_oldest
from gateway.wire import v1

if TYPE_CHECKING:
    from gateway.plugin_session import PluginSession

_log = structlog.get_logger()

_TOKEN_EXPIRING_BEFORE_S = 30.0
_NEVER = float("inf")

# Names of the gateway's own frames.
_PROCESS = secrets.token_hex(4)
_frame_numbers = itertools.count(1)


class Connection(Subscriber):
    """
    One client.

    Attributes:
        state: Its session's.
        identity: Who it is, once authenticated.
        profile: What is known of the user beyond the token, from then on and until the end.
        client_id: Names this connection, everywhere.
        opened_at: ms since 1970.
        commands: How many it has sent.
        due_at: When `tick` next has something to do.
        seen_at: When the client's last byte came. Both in the loop's seconds.
        handled: What plug-in handlers have of it; None where there are none, and before it is authenticated.
    """

    __slots__ = (
        "_bucket",
        "_early",
        "_expires_at",
        "_overruns",
        "_ping_at",
        "_replies",
        "_resumed_from",
        "_services",
        "_stall_at",
        "_unsent",
        "_warned",
        "client_id",
        "commands",
        "due_at",
        "handled",
        "identity",
        "opened_at",
        "profile",
        "remote",
        "seen_at",
        "socket",
        "state",
    )

    def __init__(
        self, services: Services, socket: Socket, *, client_id: str, remote: str, wire: Wire, now: float
    ) -> None:
        super().__init__("", wire, socket.write)
        limits = services.limits
        self._services = services
        self.socket = socket
        self.remote = remote
        self.state = State.HANDSHAKE
        self.identity: Identity | None = None
        self.handled: PluginSession | None = None
        self.client_id = client_id
        self.opened_at = services.now_ms()
        self.seen_at = now
        self.commands = 0
        self._replies: Replies | None = None  # while one is waited for
        self._bucket = TokenBucket(limits.messages_per_s, limits.messages_burst, now)
        self._overruns = 0
        self._warned = False
        self._ping_at = now + limits.ping_interval_s
        self._stall_at = _NEVER
        self._unsent = 0
        self._resumed_from: str | None = None  # while entering: the cursor that it came with
        self._early: list[tuple[bytes | None, float]] | None = None  # frames that came while entering
        self.profile: Profile | None = None
        self._expires_at = now + limits.auth_timeout_s  # the wait for `auth`; later, the token
        self.due_at = _NEVER

    # Life.

    def admit(self) -> None:
        """The handshake was accepted without a token: wait for `auth`."""
        self.state = session.move(self.state, Move.ADMITTED)
        self._schedule()

    def authenticated(self, identity: Identity, cursor: str | None, now: float) -> None:
        """Enter with a verified identity; or, being in already, live on until the new token's end."""
        if self.state not in (State.HANDSHAKE, State.WAITING, State.ENTERING, State.ACTIVE):
            return
        known = self.identity
        if known is not None and (known.tenant, known.user_id) != (identity.tenant, identity.user_id):
            self.close(CloseCode.PROTOCOL, "two users on one connection")
            return
        entering = self.state in (State.HANDSHAKE, State.WAITING)
        self.state = session.move(self.state, Move.AUTHENTICATED)
        self.identity = identity
        self._expires_at = now + identity.expires_at - self._services.now_ms() / 1000
        self._warned = False
        self._schedule()
        if entering:
            self.tenant = identity.tenant
            self._resumed_from = cursor
            self._services.members.admit(self)

    def hold_commands(self) -> None:
        """Let what the client sends wait until it is let in."""
        if self._early is None:
            self._early = []

    def enter(self) -> None:
        """The user's profile is there, or cannot be had now: take part, if the handlers agree. Too late, do nothing."""
        plugins = self._services.plugins
        if self.state is not State.ENTERING:
            return
        if plugins is None:
            self.let_in()
        elif self.handled is None:
            self.hold_commands()
            self.handled = plugins.enter(self)

    def let_in(self, addresses: Iterable[str] = (), frames: Iterable[bytes] = ()) -> None:
        """Take part, with what handlers gave it: addresses, and frames behind `welcome`. Too late, do nothing."""
        identity = self.identity
        if self.state is not State.ENTERING or identity is None:
            return
        if self._services.revocations.is_revoked(identity):  # meanwhile: the hub did not know the connection
            self.close(CloseCode.FORBIDDEN, "revoked")
            return
        self.state = session.move(self.state, Move.ENTERED)
        self._enter(identity, self._resumed_from, addresses)
        self._schedule()
        for frame in frames:
            self.write(frame)
        if self._early is not None:
            early, self._early = self._early, None
            for payload, wait_s in early:
                self._carry_out(payload, wait_s)
            self.listen()

    def _enter(self, identity: Identity, cursor: str | None, more: Iterable[str] = ()) -> None:
        services = self._services
        log = services.log
        services.metrics.connections_opened += 1
        where = locate(log, cursor) if cursor is not None else None
        # Nothing is awaited from here on: what is before the head comes from the log, what is after it by the hub.
        after = position(log, where)
        for address in (*addresses_of(identity, self.client_id), *more):
            services.hub.add(self, address, after)
        resumed = isinstance(where, Found | Older | Ahead)
        start = cursor if cursor is not None and resumed else log.cursor_at(log.head)
        services.members.entered(self, after, start)
        self._resumed_from = cursor if resumed else None
        welcome = {
            "client_id": self.client_id,
            "session_id": identity.session_id,
            "user_id": identity.user_id,
            "cursor": start,
            "resumed": resumed,
            "heartbeat_s": services.limits.ping_interval_s,
            "max_message_bytes": services.limits.max_message_bytes,
            **services.members.unread(self),
        }
        self._send(v1.WELCOME, welcome)
        if where is not None:
            resume(services, self, where, cursor or "")
        elif self.lagging:  # its transport was full before it entered
            self.skip_to_head(log)
        _log.debug("connection_opened", **self._facts(), resumed=resumed)
        replace_oldest(services, self, identity.user_id)

    def close(self, code: int, reason: str = "") -> None:
        """Say goodbye, after what was delivered before."""
        if self.state not in session.OPEN:
            return
        self.state = session.move(self.state, Move.CLOSE)
        if self.outbox:
            self.write(b"".join(self.outbox))
            self.outbox.clear()
        self._leave()
        self.socket.close(code, reason)

    def peer_closes(self) -> None:
        """The closing handshake was begun by the peer, or by the WebSocket core upon a violation."""
        if self.state in session.OPEN:
            self.state = session.move(self.state, Move.CLOSE)
            self._leave()

    def going_away(self, reconnect_in_ms: int) -> None:
        """Ask the client to reconnect after a while, and close."""
        if self.state is State.ACTIVE:
            self._send(v1.GOING_AWAY, {"reconnect_in_ms": reconnect_in_ms})
        self.close(CloseCode.RESTART, "the gateway restarts")

    def lost(self, code: int) -> None:
        """The transport is gone; `code` is how it ended (1006: without a goodbye)."""
        self.state = session.move(self.state, Move.LOST)
        self._leave()
        self._services.connections.discard(self)
        self._services.metrics.closed[code] += 1
        if self.handled is not None and self._services.plugins is not None:
            self._services.plugins.lost(self.handled, code)
        if self.identity is not None:
            ended, commands = self._services.ended.get(self.tenant, (0, 0))
            self._services.ended[self.tenant] = (ended + 1, commands + self.commands)
            now_ms = self._services.now_ms()
            ids = (self.tenant, self.identity.user_id, self.client_id)
            resumed = self._resumed_from is not None
            self._services.departed.append(Departure(*ids, self.opened_at, now_ms, code, resumed))
            seconds = round((now_ms - self.opened_at) / 1000, 1)
            _log.info("connection_closed", **self._facts(), code=int(code), commands=self.commands, seconds=seconds)

    def _leave(self) -> None:
        self._services.hub.remove_all(self)
        self._services.members.leave(self)
        self._early = None
        self.lagging = True
        self.held = (Hold(),)  # for ever: nothing is delivered any more
        self.due_at = _NEVER

    def _facts(self) -> dict[str, Any]:
        user_id = self.identity.user_id if self.identity is not None else None
        return {"client": self.client_id, "user": user_id, "tenant": self.tenant, "remote": self.remote}

    # Position in the log.

    def cursor(self) -> str:
        """Return the position up to which the client has been sent everything."""
        if self.awaits_older and self._resumed_from is not None:
            return self._resumed_from
        log = self._services.log
        return log.cursor_at(self.written_up_to(log))

    def go_on(self) -> None:
        """Write what is due from the log, if it is still there."""
        self.catch_up(self._services.log, self._services.now_ms())
        self._close_if_lost()

    def wait(self) -> Hold:
        """Send nothing and take no commands until something older has been fetched; see `backfilled`."""
        self.socket.pause_reading()
        return self.hold(self._services.log)

    def backfilled(self, hold: Hold, older: list[Entry]) -> None:
        """Take what was fetched from the stream, and go on in memory."""
        if self.state is State.ACTIVE:
            self.release(hold, older, self._services.log, self._services.now_ms())
            self._close_if_lost()
            self.listen()

    def resync(self, reason: str, addresses: frozenset[str] | None = None) -> None:
        """
        Tell the client that something is gone, and go on from now.

        Args:
            addresses: Those concerned; all of the connection's where None.
        """
        if self.state is not State.ACTIVE:
            return
        log = self._services.log
        self._services.metrics.resyncs[reason] += 1
        concerned = sorted(self.addresses if addresses is None else addresses)
        self._send(v1.RESYNC, {"reason": reason, "cursor": log.cursor_at(log.head), "addresses": concerned})
        if len(concerned) == len(self.addresses):
            self.skip_to_head(log)
            self.listen()

    def _close_if_lost(self) -> None:
        if self.fell_out:
            self.close(CloseCode.OVERLOADED, "too slow for the log: reconnect with your cursor")

    # Addresses.

    def leave(self, address: str) -> None:
        """Drop an address."""
        self._services.hub.remove(self, address)

    # Commands.

    def receive(self, payload: bytes | None, now: float) -> None:
        """Carry out the command in a frame (None: a binary one, which counts) and answer it, after those before it."""
        wait_s = self._meter(now)
        if wait_s is not None and self._early is None:
            self._carry_out(payload, wait_s)
        elif wait_s is not None and self._early is not None:  # at most what the meter lets through
            self._early.append((payload, wait_s))
            self.socket.pause_reading()  # not before there is one: the end of a quiet client is to be seen

    def _carry_out(self, payload: bytes | None, wait_s: float) -> None:
        """Carry out a command, or refuse it: a binary frame (None), or one that came `wait_s` too early."""
        message_id = None
        try:
            if payload is None:
                raise CommandError(400, "send text frames: this is not a binary protocol")
            command = v1.decode_command(payload)
            message_id = command.message_id
            if wait_s:
                raise CommandError(429, "too many commands", retry_after_ms=wait_ms(wait_s))
            reply = self._function(command.type)(self, message_id, command.data)
        except CommandError as error:
            self._services.metrics.commands["error"] += 1
            self._reply(error, message_id)
            return
        if isinstance(reply, v1.Reply):
            self._reply(reply, message_id)
            return
        if self._replies is None:
            self._replies = Replies(self._send_replies, self._replied)
        self._replies.promise(reply, message_id)
        if self._is_busy():
            self.socket.pause_reading()

    def _reply(self, outcome: Outcome, message_id: str | None) -> None:
        """Answer a command, after those before it."""
        if self._replies is None:
            self._send_replies(((outcome, message_id),))
        else:
            self._replies.give(outcome, message_id)

    def _replied(self) -> None:
        if not self._replies:
            self._replies = None
        self.listen()

    def _function(self, name: str) -> Any:
        if not session.allows(self.state, name):
            raise CommandError(401, "send `auth` first")
        function = self._services.commands.get(name)
        if function is None:
            raise CommandError(404, f"there is no command {name!r:.80}")
        self.commands += 1
        self._services.metrics.commands[name] += 1
        return function

    def _meter(self, now: float) -> float | None:
        """Count a frame; return by how many seconds it came too early, or None where it was the last straw."""
        wait_s = self._bucket.take(now)
        if wait_s:
            self._services.metrics.rate_limited["command"] += 1
        self._overruns = self._overruns + 1 if wait_s else 0
        if self._overruns <= self._services.limits.messages_burst:
            return wait_s
        self.close(CloseCode.RATE, "too many commands")
        return None

    def _send_replies(self, replies: Iterable[tuple[Outcome, str | None]]) -> None:
        """Send replies in one write, or up to one that something has to follow at once."""
        now_ms = self._services.now_ms()
        frames: list[bytes] = []
        for reply, message_id in replies:
            if self.state not in session.OPEN:
                return
            if isinstance(reply, CommandError):
                frames.append(v1.error_frame(reply, message_id=message_id, now_ms=now_ms))
                continue
            frames.append(v1.server_frame(reply.type, reply.data, message_id=message_id, now_ms=now_ms))
            if reply.then is not None:
                self._write_own(b"".join(frames))
                frames.clear()
                reply.then()
        if frames:
            self._write_own(b"".join(frames))

    def _send(self, kind: str, data: Any) -> None:
        """Send a frame of the gateway's own, under a name of its own."""
        message_id = f"{_PROCESS}-{next(_frame_numbers)}"
        self._write_own(v1.server_frame(kind, data, message_id=message_id, now_ms=self._services.now_ms()))

    def _write_own(self, frame: bytes) -> None:
        self._services.log.outcomes.bytes_written += len(frame)
        self.write(frame)

    def _is_busy(self) -> bool:
        return self._replies is not None and len(self._replies) >= self._services.limits.pending_commands

    def listen(self) -> None:
        """Take commands again, unless something is still to be waited for."""
        waits = self.paused or bool(self.held) or self._is_busy() or self._early is not None
        if self.state in session.OPEN and not waits:
            self.socket.resume_reading()

    # Transport and time.

    def transport_paused(self, now: float) -> None:
        """The socket takes nothing more: become a position in the log. The client's commands wait as well."""
        self._services.metrics.slow += 1
        self.pause(self._services.fanout.position)
        self.socket.pause_reading()
        self._unsent = self.socket.unsent()
        self._stall_at = now + self._services.limits.stall_timeout_s
        self._schedule()

    def transport_resumed(self, now: float) -> None:
        """The socket takes data again."""
        self._stall_at = _NEVER
        self.seen_at = now  # nobody listened meanwhile
        if self.state is State.ACTIVE:
            self.resume(self._services.log, self._services.now_ms())
            self._close_if_lost()
        else:
            self.paused = False
        if self.handled is not None:
            self.handled.make_room()
        self.listen()
        self._schedule()

    def tick(self, now: float) -> None:
        """Do what is due; the one timer of all connections calls this from `due_at` on."""
        if self._is_dead(now):
            self.socket.abort()
            return
        if now >= self._expires_at:
            self._expire()
        elif self.state is State.ACTIVE and not self._warned and now >= self._warn_at():
            self._warned = True
            self._send(v1.TOKEN_EXPIRING, {"expires_in_ms": int((self._expires_at - now) * 1000)})
        if now >= self._ping_at and not self.paused and self.state is State.ACTIVE:
            self.socket.ping()
            self._ping_at = now + self._services.limits.ping_interval_s
        self._schedule()

    def excuse(self, seconds: float) -> None:
        """This process stood still for a while, in which the peer could neither be heard nor take anything."""
        self.seen_at += seconds
        self._stall_at += seconds
        if self.state is State.WAITING:
            self._expires_at += seconds
        self._schedule()

    def _is_dead(self, now: float) -> bool:
        """Tell whether the peer has vanished, or takes nothing."""
        if now >= self._stall_at:
            unsent = self.socket.unsent()
            if unsent >= self._unsent:
                self._services.metrics.stalled += 1
                self._services.metrics.aborted["stalled"] += 1
                return True
            self._unsent = unsent  # slow, but steady: wait on
            self._stall_at = now + self._services.limits.stall_timeout_s
        silent = not self.paused and now >= self.seen_at + self._services.limits.heartbeat_timeout_s
        self._services.metrics.aborted["silent"] += silent
        return silent

    def _expire(self) -> None:
        if self.state is State.WAITING:
            self.close(CloseCode.TIMEOUT, "no `auth` frame in time")
        else:
            self.close(CloseCode.UNAUTHENTICATED, "expired")

    def _warn_at(self) -> float:
        return self._expires_at - _TOKEN_EXPIRING_BEFORE_S

    def _schedule(self) -> None:
        if self.state not in session.OPEN:
            self.due_at = _NEVER
            return
        waits_for_warning = self.state is State.ACTIVE and not self._warned
        due_at = min(self._warn_at() if waits_for_warning else self._expires_at, self._stall_at)
        if not self.paused:
            due_at = min(due_at, self._ping_at, self.seen_at + self._services.limits.heartbeat_timeout_s)
        self.due_at = due_at
