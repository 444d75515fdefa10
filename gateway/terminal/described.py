"""An entry of the log as people and programs read it. Copes with entries that are not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson

from gateway.decoder import EntryDecoder
from gateway.entry import join_id
from gateway.errors import PoisonEntry
from publisher import event as names
from publisher.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Described:
    """
    One entry, read leniently: what is missing is empty, what is no text is shown as far as it is.

    Attributes:
        id: As publishers return it.
        ms: When it was stored, ms since 1970.
        to, exclude: Addresses.
        data: JSON text, or whatever is in its place.
        expires_at: ms since 1970, or None.
        poison: Why no gateway can deliver it; None where they can.
    """

    id: str
    ms: int
    partition: int
    tenant: str
    to: tuple[str, ...]
    exclude: tuple[str, ...]
    event: str
    message_id: str
    kind: str
    data: bytes
    expires_at: int | None
    priority: str
    collapse: str | None
    poison: str | None

    @property
    def is_control(self) -> bool:
        """Whether it is an order to the gateways, not a push."""
        return self.kind == names.KIND_CONTROL.decode()

    def as_json(self) -> dict[str, Any]:
        """Return what it says; `data` as the JSON it is, or as text where it is none."""
        return {
            "id": self.id,
            "time": self.ms,
            "partition": self.partition,
            "tenant": self.tenant,
            "to": self.to,
            "exclude": self.exclude,
            "event": self.event,
            "message_id": self.message_id,
            "kind": self.kind,
            "expires_at": self.expires_at,
            "priority": self.priority,
            "collapse": self.collapse,
            "size": len(self.data),
            "data": _json_or_text(self.data),
        }


def describe(cursor: Cursor, fields: Mapping[bytes, bytes]) -> Described:
    """Return what an entry's fields say."""
    expires = fields.get(names.F_EXPIRES, b"")
    collapse = fields.get(names.F_COLLAPSE)
    return Described(
        id=str(cursor).rstrip("."),
        ms=cursor.ms,
        partition=cursor.partition,
        tenant=_text(fields.get(names.F_TENANT, b"")),
        to=_addresses(fields.get(names.F_TO, b"[]")),
        exclude=_addresses(fields.get(names.F_EXCLUDE, b"[]")),
        event=_text(fields.get(names.F_EVENT, b"")),
        message_id=_text(fields.get(names.F_MESSAGE_ID, b"")),
        kind=_text(fields.get(names.F_KIND, names.KIND_EVENT)),
        data=fields.get(names.F_DATA, b""),
        expires_at=int(expires) if expires.isdigit() and len(expires) < 17 else None,
        priority=_text(fields.get(names.F_PRIORITY, b"normal")),
        collapse=None if collapse is None else _text(collapse),
        poison=_poison(cursor, fields),
    )


def _poison(cursor: Cursor, fields: Mapping[bytes, bytes]) -> str | None:
    """Return what the gateways' own decoder finds wrong with an entry."""
    try:
        EntryDecoder(cursor.partition).decode(join_id((cursor.ms, cursor.n)), [*chain(*fields.items())])
    except PoisonEntry as error:
        return str(error)
    return None


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _addresses(raw: bytes) -> tuple[str, ...]:
    try:
        addresses = orjson.loads(raw)
    except orjson.JSONDecodeError:
        addresses = None
    return tuple(map(str, addresses)) if isinstance(addresses, list) else (_text(raw),)


def _json_or_text(data: bytes) -> Any:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return _text(data)
    return orjson.Fragment(data)
