"""
The sweeper: keeps the time of all sockets with one timer, once a second.

A timer for each would cost more than all else that a quiet connection does. Where the whole process stood still,
because it was frozen or had no processor, that time does not count against the peers: what they have sent meanwhile
has not been read yet, and what they would have answered was not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final, Protocol

import structlog

from gateway.connection import Connection
from gateway.listener import file_problem
from gateway.metrics import Metrics

_log = structlog.get_logger()

CLOSING_TIMEOUT_S: Final = 5.0

_SWEEP_S: Final = 1.0
_LATE_S: Final = 1.0
_PATIENCE_S: Final = 1.0  # with a handshake, while there is no room


class Waited(Protocol):
    """A socket that may be waited for so long and no longer."""

    def abort(self) -> None:
        """End it at once."""


class Sweeper:
    """
    Does what is due.

    Attributes:
        handshaking: Those that are no connection yet, with the time (the loop's seconds) of their end; in its order.
        closing: Those whose peer has to close the TCP connection, with the time of their end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connections: Collection[Connection],
        metrics: Metrics,
        *,
        handshake_timeout_s: float,
    ) -> None:
        self.handshaking: dict[Waited, float] = {}
        self.closing: dict[Waited, float] = {}
        self._loop = loop
        self._connections = connections
        self._metrics = metrics
        self._handshake_timeout_s = handshake_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = 0.0

    def start(self) -> None:
        """Sweep from now on."""
        self._due_at = self._loop.time() + _SWEEP_S
        self._timer = self._loop.call_at(self._due_at, self._sweep)

    def stop(self) -> None:
        """Sweep no more, and wait for nobody any longer. Idempotent."""
        for socket in [*self.closing, *self.handshaking]:
            socket.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def make_room(self, now: float) -> None:
        """
        Give up the handshakes that take long: peers that only hold a socket must not keep out those who would speak.

        Called where there are too many sockets or no files; else each has all of `handshake_timeout_s`.
        """
        begun_before = now + self._handshake_timeout_s - _PATIENCE_S
        for socket in [socket for socket, until in self.handshaking.items() if until < begun_before]:
            socket.abort()

    def _sweep(self) -> None:
        """Do what is due for every socket; one comparison for each connection that has nothing due."""
        now = self._loop.time()
        late_s = now - self._due_at
        self.start()
        if late_s > _LATE_S:
            self._excuse(late_s)
        if (problem := file_problem()) is not None:
            sockets = len(self._connections) + len(self.handshaking) + len(self.closing)
            _log.warning("no_file_to_open", sockets=sockets, error=problem)
            self.make_room(now)
        for connection in [c for c in self._connections if now >= c.due_at]:
            connection.tick(now)
        for reason, waiting in (("handshake", self.handshaking), ("closing", self.closing)):
            for socket in [socket for socket, until in waiting.items() if now >= until]:
                self._metrics.aborted[reason] += 1
                socket.abort()

    def _excuse(self, seconds: float) -> None:
        _log.warning("stood_still", seconds=round(seconds, 1))
        for connection in self._connections:
            connection.excuse(seconds)
        for waiting in (self.handshaking, self.closing):
            for socket in waiting:
                waiting[socket] += seconds
