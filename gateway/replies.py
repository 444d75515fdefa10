"""
The replies of one connection, in the order of its commands.

Most commands are answered on the spot. One that waits for Redis keeps its place, and those behind it wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from gateway.errors import CommandError
from gateway.wire.v1 import Reply

_log = structlog.get_logger()

Outcome = Reply | CommandError


class Replies:
    """
    A queue of answers, empty most of the time.

    Args:
        send: Called with outcomes and their commands' `message_id`, in order, as many as are known at once.
        settled: Called after each promise that was kept, with what could be sent by then.
    """

    __slots__ = ("_pending", "_send", "_settled")

    def __init__(
        self, send: Callable[[Sequence[tuple[Outcome, str | None]]], None], settled: Callable[[], None]
    ) -> None:
        self._send = send
        self._settled = settled
        # Seldom long, and an empty list takes a tenth of an empty deque.
        self._pending: list[tuple[asyncio.Future[Reply] | Outcome, str | None]] = []

    def __len__(self) -> int:
        """How many commands are not answered yet."""
        return len(self._pending)

    def give(self, outcome: Outcome, message_id: str | None) -> None:
        """Answer a command whose outcome is known."""
        if self._pending:
            self._pending.append((outcome, message_id))
        else:
            self._send([(outcome, message_id)])

    def promise(self, future: asyncio.Future[Reply], message_id: str | None) -> None:
        """Answer a command once its outcome is known."""
        self._pending.append((future, message_id))
        future.add_done_callback(self._kept)

    def _kept(self, _future: asyncio.Future[Reply]) -> None:
        """Answer as far as everything is known: what was published together is answered together, in one write."""
        while known := self._known():
            try:
                self._send(known)  # what is given meanwhile comes behind
            finally:
                del self._pending[: len(known)]
        self._settled()

    def _known(self) -> list[tuple[Outcome, str | None]]:
        known: list[tuple[Outcome, str | None]] = []
        for outcome, message_id in self._pending:
            if isinstance(outcome, asyncio.Future):
                if not outcome.done():
                    break
                outcome = _outcome(outcome)
            known.append((outcome, message_id))
        return known


def _outcome(future: asyncio.Future[Reply]) -> Outcome:
    if future.cancelled():
        return CommandError(503, "the gateway is going away", retry_after_ms=1000)
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, CommandError):
        return error
    _log.error("command_failed", exc_info=error)
    return CommandError(503, "the command failed", retry_after_ms=1000)
