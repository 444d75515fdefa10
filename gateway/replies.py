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


class Promise:
    """
    A reply that is still to come.

    What a future is, without a turn of the loop between its outcome and who waits for it.

    Attributes:
        outcome: The reply, or the error that is one; None while it is to come.
    """

    __slots__ = ("_then", "outcome")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._then: Callable[[Outcome], None] | None = None

    @classmethod
    def of(cls, task: asyncio.Future[Reply]) -> Promise:
        """Return the promise of what a task will return, or raise."""
        promise = cls()
        task.add_done_callback(lambda done: promise.keep(_outcome(done)))
        return promise

    def keep(self, outcome: Outcome) -> None:
        """Give the outcome, once."""
        if self.outcome is None:
            self.outcome = outcome
            if self._then is not None:
                self._then(outcome)

    def fail(self, error: BaseException) -> None:
        """Give an error: what is not for the client is logged, and is a 503."""
        self.keep(_refusal(error))

    def abandon(self) -> None:
        """There will be no reply."""
        self.keep(_GOING_AWAY)

    def when_kept(self, then: Callable[[Outcome], None]) -> None:
        """Let `then` be called with the outcome when it is there: now, if it is."""
        self._then = then
        if self.outcome is not None:
            then(self.outcome)

    async def wait(self) -> Reply:
        """Return the reply. Raises the error that it is."""
        there = asyncio.get_running_loop().create_future()
        self.when_kept(lambda outcome: None if there.done() else there.set_result(outcome))
        outcome: Outcome = await there
        if isinstance(outcome, CommandError):
            raise outcome
        return outcome


class Replies:
    """
    A queue of answers, empty most of the time.

    Args:
        send: Called with outcomes and their commands' `message_id`, in order, as many as are known at once.
        settled: Called after a promise that was kept has let something be sent.
    """

    __slots__ = ("_due", "_pending", "_send", "_settled")

    def __init__(
        self, send: Callable[[Sequence[tuple[Outcome, str | None]]], None], settled: Callable[[], None]
    ) -> None:
        self._send = send
        self._settled = settled
        # Seldom long, and an empty list takes less than an empty deque.
        self._pending: list[tuple[Promise | Outcome, str | None]] = []
        self._due = False

    def __len__(self) -> int:
        """How many commands are not answered yet."""
        return len(self._pending)

    def give(self, outcome: Outcome, message_id: str | None) -> None:
        """Answer a command whose outcome is known."""
        if self._pending:
            self._pending.append((outcome, message_id))
        else:
            self._send([(outcome, message_id)])

    def promise(self, promise: Promise, message_id: str | None) -> None:
        """Answer a command once its outcome is known."""
        self._pending.append((promise, message_id))
        promise.when_kept(self._kept)

    def _kept(self, _outcome: Outcome) -> None:
        """Answer soon: what was published together is answered together, in one write."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._answer)

    def _answer(self) -> None:
        """Answer as far as everything is known."""
        self._due = False
        known = self._known()
        if not known:
            return
        while known:
            try:
                self._send(known)  # what is given meanwhile comes behind
            finally:
                del self._pending[: len(known)]
            known = self._known()
        self._settled()

    def _known(self) -> list[tuple[Outcome, str | None]]:
        known: list[tuple[Outcome, str | None]] = []
        for outcome, message_id in self._pending:
            if isinstance(outcome, Promise):
                if outcome.outcome is None:
                    break
                known.append((outcome.outcome, message_id))
            else:
                known.append((outcome, message_id))
        return known


def _outcome(task: asyncio.Future[Reply]) -> Outcome:
    if task.cancelled():
        return _GOING_AWAY
    error = task.exception()
    return task.result() if error is None else _refusal(error)


def _refusal(error: BaseException) -> CommandError:
    if isinstance(error, CommandError):
        return error
    _log.error("command_failed", exc_info=error)
    return CommandError(503, "the command failed", retry_after_ms=1000)


_GOING_AWAY = CommandError(503, "the gateway is going away", retry_after_ms=1000)
