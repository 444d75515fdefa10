"""
The session of one connection, as its handlers have it, and the work that they have to do for it.

Calls for one connection are made one after another, in the order of its commands; a task runs while there are any.
What `on_connect` sends and joins waits until the connection is let in, and so do commands that came meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Unpack

import structlog

from gateway.close_codes import CloseCode
from gateway.errors import CommandError
from gateway.handlers import Refuse, SessionClosed
from gateway.joining import join
from gateway.session import State
from gateway.wire import v1
from publisher.address import is_address
from publisher.event import MAX_NAME_LENGTH, EventOptions

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.identity import Identity
    from gateway.services import Services, Tasks

_log = structlog.get_logger()

Job = Callable[[], Awaitable[None]]

_KINDS: Final = ("group", "tag", "topic")
_MAX_REASON_BYTES: Final = 123  # RFC 6455, section 5.5: a control frame holds 125 bytes, two of them the code


class PluginSession:
    """
    See `handlers.Session`.

    Attributes:
        state: The handlers' own.
        greeted: How many handlers have let the connection in: those that are to hear of its end.
    """

    __slots__ = (
        "_addresses",
        "_connection",
        "_frames",
        "_identity",
        "_jobs",
        "_room",
        "_services",
        "_tasks",
        "_works",
        "greeted",
        "state",
    )

    def __init__(self, services: Services, tasks: Tasks, connection: Connection, identity: Identity) -> None:
        self._services = services
        self._tasks = tasks
        self._connection = connection
        self._identity = identity
        self._jobs: deque[Job] = deque()
        self._works = False
        self._room: asyncio.Future[None] | None = None
        self._addresses: list[str] = []
        self._frames: list[bytes] = []
        self.greeted = 0
        self.state: dict[str, Any] = {}

    # What a handler sees.

    @property
    def client_id(self) -> str:
        """See `handlers.Session`, as for all that follow."""
        return self._connection.client_id

    @property
    def user_id(self) -> str:
        """The token's `sub`."""
        return self._identity.user_id

    @property
    def tenant(self) -> str:
        """The token's tenant."""
        return self._identity.tenant

    @property
    def name(self) -> str | None:
        """The token's `name`."""
        return self._identity.name

    @property
    def scopes(self) -> frozenset[str]:
        """The token's scopes: the newest token's."""
        return (self._connection.identity or self._identity).scopes

    @property
    def remote(self) -> str:
        """The peer's address."""
        return self._connection.remote

    @property
    def connected_at(self) -> int:
        """When it connected."""
        return self._connection.opened_at

    @property
    def groups(self) -> tuple[str, ...]:
        """Its groups."""
        return self._names("group")

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return self._names("tag")

    @property
    def topics(self) -> tuple[str, ...]:
        """Its topics."""
        return self._names("topic")

    async def send(self, type: str, data: Any = None) -> None:
        """Send this client a frame."""
        if not isinstance(type, str) or not 0 < len(type) <= MAX_NAME_LENGTH or not type.isprintable():
            raise ValueError(f"type: use 1 to {MAX_NAME_LENGTH} printable characters")
        if type in v1.OWN_FRAMES:
            raise ValueError(f"type: {type!r} is a frame of the gateway's own")
        now_ms = self._services.now_ms()
        frame = v1.server_frame(type, data, message_id=secrets.token_hex(8), now_ms=now_ms)
        if len(frame) > self._services.limits.max_event_bytes:
            raise ValueError(f"data: the frame has {len(frame)} bytes: publish a reference to the data instead")
        await asyncio.sleep(0)  # a handler that sends without end is to be seen by its deadline, and stalls nobody
        while self._connection.paused and self._is_open():
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)  # shared by all that wait: a deadline ends one of them
        self._check_open()
        if self._connection.state is State.ACTIVE:
            self._connection.write(frame)
        elif sum(map(len, self._frames)) + len(frame) <= self._services.limits.max_event_bytes:
            self._frames.append(frame)
        else:
            raise ValueError("data: on_connect has sent too much")

    async def join(self, address: str) -> None:
        """Add a group, tag or topic."""
        _check_address(address)
        self._check_open()
        if self._connection.state is not State.ACTIVE:
            if address not in self._addresses:
                self._addresses.append(address)
            return
        try:
            join(self._services, self._connection, address)
        except CommandError as error:
            raise Refuse(error.message, code=error.code) from None

    async def leave(self, address: str) -> None:
        """Drop a group, tag or topic."""
        _check_address(address)
        self._check_open()
        if address in self._addresses:
            self._addresses.remove(address)
        self._connection.leave(address)

    async def publish(self, event: str, data: Any, *, to: str | Iterable[str], **options: Unpack[EventOptions]) -> str:
        """Publish an event, in the session's tenant unless the handler names another."""
        options.setdefault("tenant", self.tenant)
        return await self._services.publisher.publish(event, data, to=to, **options)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""
        if type(code) is not int or not (code == 1000 or 4000 <= code <= 4999):
            raise ValueError(f"code is {code!r:.20}: use 1000, or 4000 to 4999")
        self._connection.close(code, fitting(reason))

    # What the connection tells.

    def make_room(self) -> None:
        """The socket takes data again, or never will: whoever waits in `send` is to look."""
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    # What `plugins` does with it.

    @property
    def busy(self) -> bool:
        """Whether something is done for the connection: what comes now has to wait for that."""
        return self._works

    def enqueue(self, job: Job) -> None:
        """Do a job after those before it."""
        self._jobs.append(job)
        if not self._works:
            self._works = True
            self._tasks.start("handlers", self._work())

    async def _work(self) -> None:
        try:
            while self._jobs:
                await self._do(self._jobs.popleft())
        finally:
            self._works = False

    async def _do(self, job: Job) -> None:
        try:
            await job()
        except Exception:  # a bug of ours: the jobs behind it are still to be done
            _log.exception("connection_failed")
            self._connection.close(CloseCode.INTERNAL_ERROR, "")

    def let_in(self) -> None:
        """Every handler has agreed: let the connection in, with what they gave it, then do what waited for it."""
        addresses, self._addresses = self._addresses, []
        frames, self._frames = self._frames, []
        self._connection.seen_at = asyncio.get_running_loop().time()  # nobody listened meanwhile
        self._connection.let_in(addresses, frames)

    def _names(self, kind: str) -> tuple[str, ...]:
        prefix = f"{kind}:"
        addresses: set[str] = {*self._connection.addresses, *self._addresses}
        if self._connection.state is State.ENTERING:
            addresses.update(prefix + name for name in getattr(self._identity, f"{kind}s"))
        return tuple(sorted(a.removeprefix(prefix) for a in addresses if a.startswith(prefix)))

    def _is_open(self) -> bool:
        return self._connection.state in (State.ENTERING, State.ACTIVE)

    def _check_open(self) -> None:
        if not self._is_open():
            raise SessionClosed(f"client {self.client_id} has gone")


def fitting(reason: str) -> str:
    """Return as much of a reason as a close frame holds."""
    return str(reason).encode(errors="replace")[:_MAX_REASON_BYTES].decode(errors="ignore")


def _check_address(address: str) -> None:
    if not isinstance(address, str) or not is_address(address) or address.partition(":")[0] not in _KINDS:
        raise ValueError(f"{address!r:.80} is not `group:…`, `tag:…` or `topic:…`")
