"""Answers that wait for Redis: the `ack` of what a command publishes, or what its client is told instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.wire.v1 import Reply, ack
from publisher import Event, PublishError, PublishUnavailable, PublishUnknown

if TYPE_CHECKING:
    from gateway.services import Services

RETRY_AFTER_MS = 1_000


def stored(services: Services, event: Event, *, with_id: bool = True) -> asyncio.Future[Reply]:
    """
    Publish; return a future of the ack, which waits until Redis has the event.

    Args:
        with_id: The ack says the event's id.
    """
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def done(outcome: str | PublishError) -> None:
        if reply.done():
            return
        if isinstance(outcome, PublishError):
            services.metrics.redis_errors[type(outcome).__name__] += 1
            reply.set_exception(_refusal(outcome))
        else:
            reply.set_result(ack(id=outcome) if with_id else ack())

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
