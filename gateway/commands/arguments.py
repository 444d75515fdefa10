"""
Reading the arguments of a command: each either is what the command needs, or a 400 that names it.

A group that has to be joined, and is not, is a 403.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.errors import CommandError
from gateway.filters import BadFilter, Filter, compiled
from publisher.address import MAX_NAME_LENGTH, is_name
from publisher.cursor import Cursor

if TYPE_CHECKING:
    from gateway.connection import Connection

MAX_CURSOR_LENGTH = 4_096


def mapping(data: Any) -> dict[str, Any]:
    """Return the arguments of a command that takes named ones."""
    if not isinstance(data, dict):
        raise CommandError(400, "data: use an object")
    return data


def name(data: Any, field: str) -> str:
    """Return a name: of a group, a user, a topic or a tag."""
    value = mapping(data).get(field)
    if not isinstance(value, str) or not is_name(value):
        raise CommandError(400, f"{field}: use a string of 1 to {MAX_NAME_LENGTH} characters, no control characters")
    return value


def text(data: Any, field: str, *, longest: int) -> str | None:
    """Return an optional string of printable characters."""
    value = mapping(data).get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise CommandError(400, f"{field}: use a string of 1 to {longest} printable characters")
    return value


def cursor(data: Any, field: str) -> str | None:
    """Return an optional cursor, as text."""
    return text(data, field, longest=MAX_CURSOR_LENGTH)


def count(data: Any, field: str, *, default: int, most: int) -> int:
    """Return an optional number from 1 to `most`."""
    value = mapping(data).get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise CommandError(400, f"{field}: use a whole number from 1 to {most}")
    return value


def joined_group(connection: Connection, data: Any) -> str:
    """Return the name of a group that the connection is in."""
    group_id = mapping(data).get("group_id")
    if not (isinstance(group_id, str) and f"group:{group_id}" in connection.addresses):  # what is joined is a name
        group_id = name(data, "group_id")
        check_joined(connection, group_id)
    return group_id


def check_joined(connection: Connection, group_id: str) -> None:
    """Refuse a connection that is not in a group."""
    if f"group:{group_id}" not in connection.addresses:
        raise CommandError(403, f"join the group {group_id!r:.80} first")


def event_filter(data: Any, field: str) -> Filter | None:
    """Return an optional filter; None where it lets everything pass."""
    given = mapping(data).get(field)
    try:
        return compiled(given) if given is not None else None
    except BadFilter as error:
        raise CommandError(400, f"{field}: {error}") from None


def event_id(data: Any, field: str) -> Cursor:
    """Return the id of an event."""
    given = cursor(data, field)
    try:
        return Cursor.parse(given or "")
    except ValueError:
        raise CommandError(400, f"{field}: use the `id` of an event") from None
