"""Commands by which clients say what they have read: `mark_read`, of notifications and of messages in a group."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from gateway.commands import arguments
from gateway.errors import CommandError
from gateway.identity import Identity
from gateway.replies import Promise
from gateway.store.connection import REDIS_ERRORS
from gateway.store.inbox import MAX_ID_LENGTH, Inbox
from gateway.wire.v1 import Reply, ack
from publisher import Event, PublishError, PublishUnavailable, make_event

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services

MESSAGE_READ: Final = "message_read"
MAX_IDS: Final = 1_000

_MAX_MESSAGE_ID_LENGTH: Final = 256
_RETRY_AFTER_MS: Final = 1_000
_GROUP_FORM: Final = frozenset({"group_id", "message_id"})
_FORMS: Final = ("notification_ids", "all")


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def mark_read(connection: Connection, _message_id: str | None, data: Any) -> Promise:
        return _mark_read(services, connection, data)

    return {"mark_read": mark_read}


def _mark_read(services: Services, connection: Connection, data: Any) -> Promise:
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else ask
    named = arguments.mapping(data).keys()
    forms = [form for form in _FORMS if form in named] + (["group"] if named & _GROUP_FORM else [])
    if len(forms) != 1:
        raise CommandError(400, "give either notification_ids, or all: true, or group_id and message_id")
    if forms == ["group"]:
        event = _message_read(connection, identity, data)
        return Promise.of(services.tasks.start("mark_read", _published(services, event)))
    ids = None if forms == ["all"] else _ids(data["notification_ids"])
    if ids is None and data["all"] is not True:
        raise CommandError(400, "all: use true, or give notification_ids")
    if services.inbox is None:
        raise CommandError(404, "notifications are not kept here")
    return Promise.of(services.tasks.start("mark_read", _marked(services.inbox, identity, ids)))


def _ids(value: Any) -> list[str]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_IDS:
        raise CommandError(400, f"notification_ids: use a list of 1 to {MAX_IDS} ids")
    for one in value:
        if not isinstance(one, str) or not 0 < len(one) <= MAX_ID_LENGTH or not one.isprintable():
            raise CommandError(400, "notification_ids: use the `id` of each notification, a string")
    return list(dict.fromkeys(value))


async def _marked(inbox: Inbox, identity: Identity, ids: list[str] | None) -> Reply:
    try:
        if ids is None:
            marked = await inbox.mark_all_read(identity.tenant, identity.user_id)
        else:
            marked = await inbox.mark_read(identity.tenant, identity.user_id, ids)
    except REDIS_ERRORS:
        raise CommandError(503, "the inbox cannot be reached now", retry_after_ms=_RETRY_AFTER_MS) from None
    return ack(unread_count=marked.unread)


def _message_read(connection: Connection, identity: Identity, data: Mapping[str, Any]) -> Event:
    group_id = arguments.name(data, "group_id")
    message_id = arguments.text(data, "message_id", longest=_MAX_MESSAGE_ID_LENGTH)
    if message_id is None:
        raise CommandError(400, "message_id: is missing")
    address = f"group:{group_id}"
    if address not in connection.addresses:
        raise CommandError(403, f"join the group {group_id!r:.80} first")
    facts = {"group_id": group_id, "user_id": identity.user_id, "message_id": message_id}
    exclude = f"client:{connection.client_id}"  # it has the ack
    event = make_event(MESSAGE_READ, facts, to=address, exclude=exclude, tenant=identity.tenant)
    # Scrolling up and down, clients say it again and again; the group need not hear it each time.
    said = "\n".join(facts.values()).encode()  # no name holds a line break
    return event.under("read:" + blake2b(said, digest_size=16).hexdigest())


async def _published(services: Services, event: Event) -> Reply:
    try:
        return ack(id=await services.publisher.submit(event))
    except PublishError as error:
        retry_after_ms = error.retry_after_ms if isinstance(error, PublishUnavailable) else _RETRY_AFTER_MS
        raise CommandError(503, "it cannot be told to the group now", retry_after_ms=retry_after_ms) from None
