"""The console's forms, made from the description of the commands: what each field is filled in with."""

from __future__ import annotations

from typing import Any, Final

from gateway.commands.description import COMMANDS, CommandDescription
from gateway.fields import Field

_EXAMPLES: Final = {"group_id": "chat-1", "topic": "orders", "tag": "vip", "user_id": "42", "content": '"Hello!"'}
_KINDS: Final = {"array": "names", "integer": "number", "number": "number", "boolean": "flag", "string": "text"}
_FAMILIES: Final = {
    "Groups": ("join_group", "leave_group", "send_message", "typing", "recall_message", "get_history", "get_presence"),
    "Inbox": ("mark_read",),
    "Topics and tags": ("subscribe", "unsubscribe", "add_tag", "remove_tag"),
}
_REST: Final = "Connection"


def forms() -> list[dict[str, Any]]:
    """Return a form for each command: those of a family together, in the family's order, then the rest."""
    order = {name: (family, place) for family, names in _FAMILIES.items() for place, name in enumerate(names)}
    families = [*_FAMILIES, _REST]
    described = [(order.get(command.name, (_REST, place)), command) for place, command in enumerate(COMMANDS)]
    described.sort(key=lambda one: (families.index(one[0][0]), one[0][1]))
    return [_form(command, family) for (family, _), command in described]


def _form(command: CommandDescription, family: str) -> dict[str, Any]:
    whole = command.takes == "anything"
    anything = Field(name="data", kind="any", summary="Anything JSON can hold.", required=False, examples=('{"a": 1}',))
    return {
        "type": command.name,
        "family": family,
        "about": command.summary,
        "fields": [_row(field) for field in ((anything,) if whole else command.fields)],
        "one_of": [" + ".join(form) for form in command.forms],
        "whole": whole,
    }


def _row(field: Field) -> dict[str, Any]:
    kind = "secret" if field.name == "token" else _KINDS.get(field.kind, "json")
    needed = field.required
    example = field.examples[0] if field.examples else _EXAMPLES.get(field.name, "")
    shown = needed or field.name in ("group_id", "data")
    return {
        "name": field.name,
        "kind": kind,
        "about": field.summary,
        "needed": needed,
        "example": example if shown else "",
    }
