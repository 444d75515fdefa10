"""Reading the arguments of a command: each either is what the command needs, or a 400 that names it."""

from __future__ import annotations

from typing import Any

from gateway.errors import CommandError
from publisher.address import MAX_NAME_LENGTH, is_name

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
