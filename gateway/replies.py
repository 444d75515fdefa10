"""
The replies of one connection, in the order of its commands.

Most commands are answered on the spot. One that waits for Redis keeps its place, and those behind it wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.errors import CommandError
from gateway.wire.v1 import Reply

_log = structlog.get_logger()

Outcome = Reply | CommandError


class Replies:
    """
    A queue of answers, empty most of the time.

    Args:
        send: Called with each outcome and its command's `message_id`, in order.
    """

    __slots__ = ("_pending", "_send")

    def __init__(self, send: Callable[[Outcome, str | None], None]) -> None:
        self._send = send
        self._pending: list[_Slot] = []  # seldom long, and an empty list takes a tenth of an empty deque

    def __len__(self) -> int:
        """How many commands are not answered yet."""
        return len(self._pending)

    def give(self, outcome: Outcome, message_id: str | None) -> None:
        """Answer a command whose outcome is known."""
        if self._pending:
            self._pending.append(_Slot(message_id, outcome))
        else:
            self._send(outcome, message_id)

    def promise(self, future: asyncio.Future[Reply], message_id: str | None, then: Callable[[], None]) -> None:
        """Answer a command once its outcome is known; call `then` after that."""
        slot = _Slot(message_id, None)
        self._pending.append(slot)

        def settle(done: asyncio.Future[Reply]) -> None:
            slot.outcome = _outcome(done)
            while self._pending and (outcome := self._pending[0].outcome) is not None:
                self._send(outcome, self._pending.pop(0).message_id)
            then()

        future.add_done_callback(settle)


class _Slot:
    """A command's place."""

    __slots__ = ("message_id", "outcome")

    def __init__(self, message_id: str | None, outcome: Outcome | None) -> None:
        self.message_id = message_id
        self.outcome = outcome


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
