"""`get_history`: what a group has been written before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from gateway.commands import arguments
from gateway.commands.stored import RETRY_AFTER_MS
from gateway.errors import CommandError
from gateway.history import DEFAULT_LIMIT, MAX_LIMIT, Page
from gateway.replies import Promise
from gateway.store.connection import REDIS_ERRORS
from gateway.wire.v1 import ACK, Reply

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.entry import EntryId
    from gateway.services import CommandFunction, Services


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def get_history(connection: Connection, _message_id: str | None, data: Any) -> Reply | Promise:
        return _get_history(services, connection, data)

    return {"get_history": get_history}


def _get_history(services: Services, connection: Connection, data: Any) -> Reply | Promise:
    group_id = arguments.joined_group(connection, data)
    limit = arguments.count(data, "limit", default=DEFAULT_LIMIT, most=MAX_LIMIT)
    before = _before(services, group_id, data)
    if not services.chat.history.keeps(group_id):
        return _answer(Page())
    return Promise.of(services.tasks.start("history", _read(services, connection, group_id, before, limit)))


def _before(services: Services, group_id: str, data: Any) -> EntryId | None:
    text = arguments.cursor(data, "before")
    if text is None:
        return None
    try:
        return services.chat.history.position(group_id, text)
    except ValueError:
        raise CommandError(400, "before: use the id of a message of this group") from None


async def _read(services: Services, connection: Connection, group_id: str, before: EntryId | None, limit: int) -> Reply:
    try:
        page = await services.chat.history.page(connection.tenant, group_id, before=before, limit=limit)
    except REDIS_ERRORS:
        raise CommandError(503, "the history cannot be read now", retry_after_ms=RETRY_AFTER_MS) from None
    arguments.check_joined(connection, group_id)  # still: it may have been removed meanwhile
    return _answer(page)


def _answer(page: Page) -> Reply:
    return Reply(ACK, orjson.Fragment(page.json(success=True)))
