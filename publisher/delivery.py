"""
Delivery: from commands to ids or errors, with retries, and without I/O.

`delivery` says what to do next, a pause or an exchange, and the asyncio and the blocking publisher do it. An
exchange is one pipeline: it hands out the commands, and is told of every reply in order, or that there is
none.

Exactly once: a request that had no answer is sent again only under an idempotency key (`CommandBuilder` makes
one wherever there are retries, but for events that may be there twice). When all tries are used up, a request
that was ever left without an answer is `PublishUnknown`, and any other `PublishUnavailable`: nothing of it was
stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from publisher.command import Command
from publisher.cursor import new_epoch
from publisher.errors import PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown
from publisher.failure import Failure, describe, failure_before_sending, failure_of
from publisher.options import Options, pause_s
from publisher.script import Script

_MAX_ROUNDS = 3  # a script cache that is flushed again between our rounds


class Request:
    """
    One command on its way, and what became of it.

    Attributes:
        command: What to send.
        deadline: Give up at this time (monotonic seconds).
        outcome: The event's id or the error, once settled.
        unanswered: How many times it was sent without an answer until now: if any, it may have been stored.
    """

    __slots__ = ("command", "deadline", "outcome", "problem", "unanswered")

    def __init__(self, command: Command, deadline: float) -> None:
        self.command = command
        self.deadline = deadline
        self.outcome: str | PublishError | None = None
        self.problem: BaseException | None = None
        self.unanswered = 0

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to do."""
        return self.outcome is not None

    def settle(self, outcome: str | PublishError) -> None:
        """Set the outcome, once."""
        self.outcome = outcome

    def give_up(self) -> None:
        """Settle as a failure: the tries or the time are used up."""
        problem = describe(self.problem) if self.problem else "no answer in time"
        if self.unanswered:
            self.settle(
                PublishUnknown(
                    f"Redis did not answer ({problem}): the event may be stored or not; "
                    "publish it again under the same key",
                    key=self.command.key,
                )
            )
        else:
            self.settle(PublishUnavailable(f"Redis cannot take events now ({problem}); nothing was stored"))

    def refuse(self, error: BaseException) -> None:
        """Settle as refused for good."""
        self.problem = error
        if self.unanswered:
            self.give_up()
        else:
            self.settle(PublishError(f"Redis refused the event: {describe(error)}"))


class Exchange:
    """
    One pipeline: commands out, replies in.

    As long as there is something `unsent`, send `commands`, then say `answered` or `failed` once for each, in order. At
    any time `lost` instead, when no more replies will come, or, before the first of them, `not_sent`.

    Attributes:
        deadline: The pipeline has to end at this time (monotonic seconds).
    """

    def __init__(self, requests: Sequence[Request], deadline: float) -> None:
        self.deadline = deadline
        self._next: list[Request] = list(requests)
        self._sent: deque[Request] = deque()
        self._redirected: list[Request] = []
        self._rounds = 0
        self._with_source = False

    @property
    def unsent(self) -> bool:
        """Whether there is something to send now."""
        return bool(self._next)

    @property
    def slot_key(self) -> bytes:
        """A key by which a cluster finds the node for what is unsent."""
        return self._next[0].command.keys[0]

    def commands(self) -> list[bytes]:
        """Return the commands to send now, in order. From here on they count as sent."""
        requests, self._next = self._next, []
        self._rounds += 1
        epoch = new_epoch().encode()
        shown: set[Script] = set()
        wires: list[bytes] = []
        for request in requests:
            script = request.command.script
            # The first EVAL makes the script known to the EVALSHA that follow: one trip, where SCRIPT LOAD
            # needs two.
            with_source = self._with_source and script not in shown
            shown.add(script)
            wires.append(request.command.wire(epoch, with_source=with_source))
            request.unanswered += 1
        self._sent.extend(requests)
        return wires

    def answered(self, reply: Any) -> None:
        """Take the reply to the oldest command without one."""
        request = self._sent.popleft()
        request.unanswered -= 1
        try:
            request.settle(request.command.read(reply))
        except ValueError as error:
            request.unanswered += 1
            request.refuse(error)

    def failed(self, error: BaseException) -> None:
        """Take the error that answers the oldest command without a reply: it was not executed."""
        request = self._sent.popleft()
        request.unanswered -= 1
        request.problem = error
        failure = failure_of(error)
        if failure is Failure.NO_SCRIPT and self._rounds < _MAX_ROUNDS:
            self._with_source = True
            self._next.append(request)
        elif failure is Failure.REDIRECT:
            self._redirected.append(request)
        elif failure is Failure.PERMANENT:
            request.refuse(error)

    def redirect(self) -> bool:
        """Make the commands that belong to another node the next to send; tell whether there are any."""
        self._next, self._redirected = self._redirected, []
        self._rounds = 0
        return bool(self._next)

    def not_sent(self, error: BaseException) -> None:
        """Note that there was no connection: nothing of `commands` has left."""
        for request in self._next:
            request.problem = error
            if failure_before_sending(error) is Failure.PERMANENT:
                request.refuse(error)
        self._next = []

    def lost(self, error: BaseException) -> None:
        """Note that the connection broke: there will be no more replies."""
        for request in (*self._sent, *self._next):
            request.problem = error
        self._sent.clear()
        self._next = []


def delivery(requests: Sequence[Request], options: Options, now: Callable[[], float]) -> Iterator[Exchange | float]:
    """
    Deliver requests of one partition: yield what to do, a pause in seconds or an exchange to run.

    When it ends every request is settled.
    """
    unsettled = list(requests)
    for attempt in range(options.retries + 1):
        if attempt:
            unsettled = [request for request in unsettled if not request.settled]
            if not unsettled:
                return
            yield pause_s(attempt)
        begun = now()
        in_time = [request for request in unsettled if request.deadline > begun and not request.settled]
        if not in_time:
            break
        latest = max([request.deadline for request in in_time])
        yield Exchange(in_time, min(begun + options.attempt_timeout_s, latest))
    for request in unsettled:
        if not request.settled:
            request.give_up()


def unknown_order(error: PublishUnknown) -> PublishUnknown:
    """Return what to raise where it is not known whether an order arrived, such as a kick: it takes no key."""
    return PublishUnknown(
        "Redis did not answer: it may be done or not; call it again as it was, which does no harm", key=error.key
    )


def ids_of(results: list[str | PublishError]) -> list[str]:
    """
    Return the ids, if there are no errors among them.

    Raises:
        PublishError: All failed, and all with the same kind of error, unknown ones under one key: the first.
        PublishIncomplete: Some failed, or for different reasons, or each has a key of its own to be repeated under.
    """
    errors = [result for result in results if isinstance(result, PublishError)]
    if not errors:
        return [result for result in results if isinstance(result, str)]
    causes = {(type(error), error.key if isinstance(error, PublishUnknown) else None) for error in errors}
    if len(errors) == len(results) and len(causes) == 1:
        raise errors[0]
    raise PublishIncomplete(results)
