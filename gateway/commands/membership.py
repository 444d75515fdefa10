"""
Commands that change what a connection receives: `join_group`, `subscribe`, `add_tag` and their opposites.

They are one operation on the hub, under three names, each asked of the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway import joining
from gateway.commands import arguments, rights
from gateway.policy import Action
from gateway.wire.v1 import Reply, ack

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.services import CommandFunction, Services


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""
    return {
        "join_group": _joining(services, "group", "group_id", Action.JOIN_GROUP),
        "leave_group": _leaving("group", "group_id"),
        "subscribe": _joining(services, "topic", "topic", Action.SUBSCRIBE, filtered=True),
        "unsubscribe": _leaving("topic", "topic"),
        "add_tag": _joining(services, "tag", "tag", Action.ADD_TAG),
        "remove_tag": _leaving("tag", "tag"),
    }


def _joining(services: Services, kind: str, field: str, action: Action, *, filtered: bool = False) -> CommandFunction:
    def join(connection: Connection, _message_id: str | None, data: Any) -> Reply:
        name = arguments.name(data, field)
        since = arguments.cursor(data, "since")
        wanted = arguments.event_filter(data, "filter") if filtered else None
        address = f"{kind}:{name}"
        member_since = rights.check(services, connection, action, name, action.value)
        return joining.join(services, connection, address, since=since, wanted=wanted, member_since=member_since)

    return join


def _leaving(kind: str, field: str) -> CommandFunction:
    def leave(connection: Connection, _message_id: str | None, data: Any) -> Reply:
        connection.leave(f"{kind}:{arguments.name(data, field)}")
        return ack()

    return leave
