"""Commands by which clients write to each other: `send_message`, `typing`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway.commands import arguments, rights
from gateway.commands.stored import stored
from gateway.errors import CommandError
from gateway.identity import Identity
from gateway.policy import Action
from gateway.recalls import NEW_MESSAGE
from gateway.replies import Promise
from gateway.wire.v1 import Reply, ack
from publisher import Event, PublishError, make_event
from publisher.event import KIND_EPHEMERAL

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services

__all__ = ["NEW_MESSAGE", "TYPING", "commands"]

TYPING = "typing"

_MAX_TYPE_LENGTH = 64
_TYPING_LASTS_S = 5.0


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def send_message(connection: Connection, message_id: str | None, data: Any) -> Reply | Promise:
        return _send_message(services, connection, message_id, data)

    def typing(connection: Connection, _message_id: str | None, data: Any) -> Reply | Promise:
        return _typing(services, connection, data)

    return {"send_message": send_message, "typing": typing}


def _send_message(services: Services, connection: Connection, message_id: str | None, data: Any) -> Promise:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else send
    if "content" not in arguments.mapping(data):
        raise CommandError(400, "content: is missing")
    if ("group_id" in data) == ("to" in data):
        raise CommandError(400, "name either group_id or to")
    to, target = _audience(services, connection, identity, data)
    chat = services.chat
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
            exclude=() if chat.echo else f"client:{connection.client_id}",  # it has the ack
            history="group_id" in target and chat.history.keeps(target["group_id"]),
            tenant=identity.tenant,
            message_id=message_id,
            traceparent="",  # it comes from a client: there is no span here
            max_event_bytes=services.limits.max_event_bytes,
        )
    except PublishError as error:
        raise CommandError(413, str(error)) from None
    # A client that saw no ack sends again under the same message_id: stored once, acked twice.
    return stored(services, event.under(_key(event)) if message_id is not None else event)


def _typing(services: Services, connection: Connection, data: Any) -> Reply | Promise:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else type
    group_id = arguments.joined_group(connection, data)
    _check_may_send(services, connection, group_id)
    # Clients say it at every key. Once a second is what anybody can see; the rest costs a look-up here.
    who = (identity.tenant, identity.user_id, group_id)
    if not services.chat.typing.passes(who, asyncio.get_running_loop().time()):
        return ack()
    event = make_event(
        TYPING,
        {"group_id": group_id, "user_id": identity.user_id},
        to=f"group:{group_id}",
        exclude=f"user:{identity.user_id}",
        tenant=identity.tenant,
        expires_in=_TYPING_LASTS_S,
        priority="low",
        kind=KIND_EPHEMERAL,
    )
    return stored(services, event, with_id=False)


def _audience(
    services: Services, connection: Connection, identity: Identity, data: Mapping[str, Any]
) -> tuple[str | list[str], dict[str, str]]:
    """Return whom a message goes to, and the field that says so to its receivers."""
    if "group_id" in data:
        group_id = arguments.joined_group(connection, data)
        _check_may_send(services, connection, group_id)
        return f"group:{group_id}", {"group_id": group_id}
    user_id = arguments.name(data, "to")
    if not services.policy.allows(identity, Action.SEND_TO_USER, user_id):
        raise CommandError(403, f"the policy does not let you send to the user {user_id!r:.80}")
    return [f"user:{user_id}", f"user:{identity.user_id}"], {"to": user_id}


def _check_may_send(services: Services, connection: Connection, group_id: str) -> None:
    rights.check(services, connection, Action.SEND_TO_GROUP, group_id, "send to the group")


def _key(event: Event) -> str:
    """
    Return the idempotency key of a user's message.

    Of what it says and to whom as well, not of its message_id alone: clients that number their messages from 1 on
    every connection are common, and must not lose one that only has the number of another.
    """
    parts = b"\n".join((event.message_id.encode(), event.audience, event.data))  # the data names the sender
    return "msg:" + blake2b(parts, digest_size=16).hexdigest()
