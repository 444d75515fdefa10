"""Commands by which clients write to each other: `send_message`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway.commands import arguments
from gateway.errors import CommandError
from gateway.identity import Identity
from gateway.policy import Action
from gateway.wire.v1 import Reply, ack
from publisher import Event, PublishError, PublishUnavailable, PublishUnknown, make_event
from publisher.event import F_DATA, F_TO

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services

NEW_MESSAGE = "new_message"

_MAX_TYPE_LENGTH = 64
_RETRY_AFTER_MS = 1_000


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def send_message(connection: Connection, message_id: str | None, data: Any) -> Reply | asyncio.Future[Reply]:
        return _send_message(services, connection, message_id, data)

    return {"send_message": send_message}


def _send_message(
    services: Services, connection: Connection, message_id: str | None, data: Any
) -> asyncio.Future[Reply]:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else send
    if "content" not in arguments.mapping(data):
        raise CommandError(400, "content: is missing")
    if ("group_id" in data) == ("to" in data):
        raise CommandError(400, "name either group_id or to")
    to, target = _audience(services, connection, identity, data)
    message = {
        "from": identity.user_id,
        **({"from_name": identity.name} if identity.name is not None else {}),
        **target,
        "msg_type": arguments.text(data, "msg_type", longest=_MAX_TYPE_LENGTH) or "text",
        "content": data["content"],
    }
    try:
        event = make_event(
            NEW_MESSAGE,
            message,
            to=to,
            exclude=f"client:{connection.client_id}",  # it has the ack
            tenant=identity.tenant,
            message_id=message_id,
            max_event_bytes=services.limits.max_event_bytes,
        )
    except PublishError as error:
        raise CommandError(413, str(error)) from None
    # A client that saw no ack sends again under the same message_id: stored once, acked twice.
    return _stored(services, replace(event, key=_key(event)) if message_id is not None else event)


def _audience(
    services: Services, connection: Connection, identity: Identity, data: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """Return whom a message goes to, and the field that says so to its receivers."""
    if "group_id" in data:
        group_id = arguments.name(data, "group_id")
        address = f"group:{group_id}"
        if address not in connection.addresses:
            raise CommandError(403, f"join the group {group_id!r:.80} first")
        if not services.policy.allows(identity, Action.SEND_TO_GROUP, group_id):
            raise CommandError(403, f"the policy does not let you send to the group {group_id!r:.80}")
        return [address], {"group_id": group_id}
    user_id = arguments.name(data, "to")
    if not services.policy.allows(identity, Action.SEND_TO_USER, user_id):
        raise CommandError(403, f"the policy does not let you send to the user {user_id!r:.80}")
    return [f"user:{user_id}", f"user:{identity.user_id}"], {"to": user_id}


def _key(event: Event) -> str:
    """
    Return the idempotency key of a user's message.

    Of what it says and to whom as well, not of its message_id alone: clients that number their messages from 1 on
    every connection are common, and must not lose one that only has the number of another.
    """
    fields = dict(zip(event.fields[::2], event.fields[1::2], strict=True))
    parts = b"\n".join((event.message_id.encode(), fields[F_TO], fields[F_DATA]))  # the data names the sender
    return "msg:" + blake2b(parts, digest_size=16).hexdigest()


def _stored(services: Services, event: Event) -> asyncio.Future[Reply]:
    """Publish; return a future of the ack, which waits until Redis has the event."""
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    def done(published: asyncio.Future[str]) -> None:
        if reply.done():
            return
        if published.cancelled():
            reply.set_exception(CommandError(503, "the gateway is going away", retry_after_ms=_RETRY_AFTER_MS))
        elif (error := published.exception()) is not None:
            reply.set_exception(_refusal(error))
        else:
            reply.set_result(ack(id=published.result()))

    try:
        services.publisher.submit(event).add_done_callback(done)
    except PublishError as error:
        raise _refusal(error) from None
    return reply


def _refusal(error: BaseException) -> CommandError:
    """Return what a client is told of a failed publish. Nothing internal: the log has it."""
    if isinstance(error, PublishUnavailable):
        return CommandError(503, "messages cannot be stored now", retry_after_ms=error.retry_after_ms)
    if isinstance(error, PublishUnknown):
        return CommandError(
            503,
            "it is not known whether the message was stored: send it again under the same message_id",
            retry_after_ms=_RETRY_AFTER_MS,
        )
    return CommandError(503, "the message could not be stored", retry_after_ms=_RETRY_AFTER_MS)
