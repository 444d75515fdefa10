"""
Fields of a frame's `data`, described as values: what the AsyncAPI document, and forms, are made from.

Describes, and checks nothing: what a command takes is for its function to say. Tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from publisher.address import MAX_NAME_LENGTH

Kind = Literal["string", "integer", "number", "boolean", "array", "object", "any"]

NO_CONTROL_CHARACTERS: Final = r"^[^\u0000-\u001f\u007f]*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """
    One field.

    Attributes:
        name: As it stands in the frame.
        kind: Its JSON type.
        summary: What it is, for people.
        required: Whether it has to be there; in what a server sends: whether it always is.
        nullable: Whether it may be `null`.
        least, most: Of a string its length, of an array or object its count, of a number its value.
        pattern: A regular expression for a string (ECMA 262).
        choices: The only values there are.
        examples: Some of them.
        default: What stands for a field that is missing.
        items: The fields' kind in an array; `fields` says more where they are objects.
        fields: What an object holds.
        values: The JSON Schema of every value of an object whose names are the client's to choose.
    """

    name: str
    kind: Kind
    summary: str
    required: bool = True
    nullable: bool = False
    least: int | None = None
    most: int | None = None
    pattern: str | None = None
    choices: tuple[str | int | bool, ...] = ()
    examples: tuple[Any, ...] = ()
    default: str | int | None = None
    items: Kind | None = None
    fields: tuple[Field, ...] = ()
    values: Mapping[str, Any] | None = None


_LIMITS: Final[dict[str, tuple[str, str]]] = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "object": ("minProperties", "maxProperties"),
}


def name_field(name: str, summary: str, *, required: bool = True) -> Field:
    """Return a field that names a group, user, topic or tag."""
    return Field(
        name=name,
        kind="string",
        summary=summary,
        required=required,
        least=1,
        most=MAX_NAME_LENGTH,
        pattern=NO_CONTROL_CHARACTERS,
    )


def schema_of(field: Field) -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of a field."""
    schema: dict[str, Any] = {} if field.kind == "any" else {"type": field.kind}
    if field.nullable:
        schema["type"] = [field.kind, "null"]
    schema["description"] = field.summary
    least, most = _LIMITS.get(field.kind, ("", ""))
    schema |= {key: limit for key, limit in ((least, field.least), (most, field.most)) if limit is not None}
    if field.pattern is not None:
        schema["pattern"] = field.pattern
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.examples:
        schema["examples"] = list(field.examples)
    if field.default is not None:
        schema["default"] = field.default
    if field.kind == "array":
        items = object_schema(field.fields) if field.fields else {"type": field.items} if field.items else {}
        return {**schema, "items": items}
    if field.values is not None:
        schema["additionalProperties"] = dict(field.values)
    return {**schema, **object_schema(field.fields)} if field.fields else schema


def object_schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return the JSON Schema of an object with these fields, and perhaps others: new ones will come."""
    schema: dict[str, Any] = {"type": "object"}
    if required := [field.name for field in fields if field.required]:
        schema["required"] = required
    return {**schema, "properties": {field.name: schema_of(field) for field in fields}}
