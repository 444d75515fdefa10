"""Answers that wait for Redis: the `ack` of what a command publishes, or what its client is told instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.replies import Promise
from gateway.wire.v1 import ack
from publisher import Event, PublishError, PublishUnavailable, PublishUnknown

if TYPE_CHECKING:
    from gateway.services import Services

RETRY_AFTER_MS = 1_000


def stored(services: Services, event: Event, *, with_id: bool = True) -> Promise:
    """
    Publish; return the promise of an ack, which waits until Redis has the event.

    Args:
        with_id: The ack says the event's id.
    """
    reply = Promise()

    def done(outcome: str | PublishError) -> None:
        if isinstance(outcome, PublishError):
            services.metrics.redis_errors[type(outcome).__name__] += 1
            reply.keep(_refusal(outcome))
        else:
            reply.keep(ack(id=outcome) if with_id else ack())

    try:
        services.publisher.post(event, done)
    except PublishError as error:
        services.metrics.redis_errors[type(error).__name__] += 1
        raise _refusal(error) from None
    return reply


def _refusal(error: PublishError) -> CommandError:
    """Return what a client is told of a failed publish. Nothing internal: the log has it."""
    if isinstance(error, PublishUnavailable):
        return CommandError(503, "messages cannot be stored now", retry_after_ms=error.retry_after_ms)
    if isinstance(error, PublishUnknown):
        return CommandError(
            503,
            "it is not known whether the message was stored: send it again under the same message_id",
            retry_after_ms=RETRY_AFTER_MS,
        )
    return CommandError(503, "the message could not be stored", retry_after_ms=RETRY_AFTER_MS)
