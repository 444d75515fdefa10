"""What connections and commands work with: wired once, in `app`, and shared by all of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from gateway.auth import Authenticator
from gateway.errors import GatewayError
from gateway.fanout import Fanout
from gateway.hub import Hub
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.policy import Policy
from gateway.revocations import Revocations
from gateway.store.inbox import Inbox
from publisher import Publisher

if TYPE_CHECKING:
    from gateway.backfill import Backfill
    from gateway.chat import Chat
    from gateway.connection import Connection
    from gateway.members import Members
    from gateway.plugins import Plugins
    from gateway.replies import Promise
    from gateway.store.online import Online
    from gateway.wire.v1 import Reply

_DEPARTED = 5_000
_CANCEL_AGAIN_S = 0.05

_log = structlog.get_logger()

CommandFunction = Callable[["Connection", str | None, Any], "Reply | Promise"]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one connection; see the settings of the same names."""

    max_message_bytes: int
    max_event_bytes: int
    messages_per_s: float
    messages_burst: float
    addresses: int
    pending_commands: int
    handshake_timeout_s: float
    auth_timeout_s: float
    stall_timeout_s: float
    ping_interval_s: float
    heartbeat_timeout_s: float
    connections_per_user: int = 0
    replace_oldest: bool = False


@dataclass(frozen=True, slots=True)
class Departure:
    """
    A connection that has ended. Times in ms since 1970.

    Attributes:
        resumed: It had come with a cursor, and so may have had what is older than itself.
    """

    tenant: str
    user_id: str
    client_id: str
    opened_at: int
    closed_at: int
    code: int
    resumed: bool


class Tasks:
    """Owns the few tasks that outlive a call: each is named, kept until it ends, and cancelled at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine. A `GatewayError` that it raises is an outcome; anything else is a bug, and is logged."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, GatewayError):
            _log.error("task_failed", task=task.get_name(), exc_info=error)

    async def ended(self, within_s: float) -> bool:
        """Wait until nothing runs any more, or the time is over; tell which."""
        deadline = time.monotonic() + within_s
        while self._tasks and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return not self._tasks

    async def cancel(self) -> None:
        """Cancel whatever still runs, and wait for its end."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Again until it works: asyncio.wait_for, with which redis-py sends, can lose a cancellation
            # before Python 3.12 (https://github.com/python/cpython/issues/86296).
            await asyncio.wait(self._tasks, timeout=_CANCEL_AGAIN_S)


@dataclass(slots=True)
class Services:
    """
    The collaborators of every connection.

    Attributes:
        commands: Command name → its function.
        connections: Every connection of this instance that has not been lost.
        departed: The last ones that were, for `gateway explain`.
        inbox: The inboxes; None where notifications are not kept.
        ended: Tenant → how many of its connections have ended, and how many commands they sent.
        plugins: Runs the handlers; None where there are none.
        online: Knows who is online; None where that is off.
        members: The users' profiles and durable groups; set once, by `wiring`, as it works with all the rest.
    """

    instance_id: str
    log: Log
    hub: Hub
    fanout: Fanout
    policy: Policy
    authenticator: Authenticator
    revocations: Revocations
    publisher: Publisher
    metrics: Metrics
    limits: ConnectionLimits
    tasks: Tasks
    backfill: Backfill
    chat: Chat
    commands: Mapping[str, CommandFunction] = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)
    departed: deque[Departure] = field(default_factory=lambda: deque(maxlen=_DEPARTED))
    inbox: Inbox | None = None
    ended: dict[str, tuple[int, int]] = field(default_factory=dict)
    plugins: Plugins | None = None
    online: Online | None = None
    members: Members = field(init=False)

    @staticmethod
    def now_ms() -> int:
        """Return the wall clock in ms since 1970."""
        return int(time.time() * 1000)
