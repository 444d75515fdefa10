"""
What can be typed into `gateway connect`: shortcuts for the usual commands, or a frame as JSON. Pure.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

HELP: Final = """\
/join GROUP      join a group               /leave GROUP     leave it
/sub TOPIC       subscribe to a topic       /unsub TOPIC     end that
/tag TAG         give yourself a tag        /untag TAG       drop it
/send GROUP …    write to a group           /to USER …       write to a user
/ping            is it alive?               /info            about this connection
/echo …          have something sent back   /quit            end (Ctrl-D does too)
{"type": …}      any frame, as JSON; … is text, or JSON if it is an object, a list or a "string" """


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame to send."""

    type: str
    message_id: str
    data: Any

    def encode(self) -> str:
        """Return its text; not by orjson, which refuses some of what can be typed."""
        return json.dumps({"type": self.type, "message_id": self.message_id, "data": self.data}, separators=(",", ":"))


class Misunderstood(ValueError):
    """What was typed is neither; the message says what to type instead."""


def _named(kind: str, field: str) -> Callable[[str], tuple[str, Any]]:
    def make(name: str) -> tuple[str, Any]:
        return kind, {field: name}

    return make


def _addressed(field: str) -> Callable[[str], tuple[str, Any]]:
    def make(text: str) -> tuple[str, Any]:
        name, _, content = text.partition(" ")
        if not content.strip():
            raise Misunderstood("there is nothing to send: a name, a blank, and the message")
        return "send_message", {field: name, "content": _content(content.strip())}

    return make


_WITH_ARGUMENT: Final[dict[str, Callable[[str], tuple[str, Any]]]] = {
    "join": _named("join_group", "group_id"),
    "leave": _named("leave_group", "group_id"),
    "sub": _named("subscribe", "topic"),
    "unsub": _named("unsubscribe", "topic"),
    "tag": _named("add_tag", "tag"),
    "untag": _named("remove_tag", "tag"),
    "send": _addressed("group_id"),
    "to": _addressed("to"),
    "echo": lambda text: ("echo", _content(text)),
}
_ALONE: Final = {"ping": "ping", "info": "get_client_info"}


def understand(typed: str) -> Frame:
    """
    Return the frame that a line stands for.

    Under a random id: the gateway drops a message that comes again under one it knows.

    Raises:
        Misunderstood: It stands for none.
    """
    message_id = secrets.token_hex(6)
    if typed.startswith("{"):
        return _raw(typed, message_id)
    if not typed.startswith("/"):
        raise Misunderstood("type a frame as JSON, or a shortcut: /help lists them")
    word, _, rest = typed[1:].partition(" ")
    rest = rest.strip()
    if word in _ALONE:
        return Frame(_ALONE[word], message_id, {})
    if word not in _WITH_ARGUMENT:
        raise Misunderstood(f"there is no /{word}: /help lists what there is")
    if not rest:
        raise Misunderstood(f"/{word} needs a name: /help shows which")
    return Frame(*_frame_parts(_WITH_ARGUMENT[word](rest), message_id))


def _frame_parts(made: tuple[str, Any], message_id: str) -> tuple[str, str, Any]:
    kind, data = made
    return kind, message_id, data


def _raw(typed: str, message_id: str) -> Frame:
    try:
        frame = json.loads(typed)
    except (ValueError, RecursionError) as error:
        raise Misunderstood(f"this is not JSON: {error}") from None
    kind = frame.get("type")
    if not isinstance(kind, str):
        raise Misunderstood('a frame needs a "type"')
    return Frame(kind, str(frame.get("message_id") or message_id), frame.get("data", {}))


def _content(text: str) -> Any:
    """Return JSON where the text clearly is some, else the text."""
    if text[0] not in '{["':
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
