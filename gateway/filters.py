"""
Filters: which events of a topic a subscriber wants, by the top-level fields of their `data`.

    {"region": "eu", "status": ["open", "late"]}        region is eu, and status is one of the two

A filter is checked once, when it is given, and becomes a predicate. Filters with the same text are one object, so that
an event is judged once for all who share it. Values are compared as JSON has them: `1` is `1.0`, but neither `"1"` nor
`true`. A field that is missing is no `null`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from publisher import json_text

if TYPE_CHECKING:
    from gateway.entry import Entry
    from gateway.receipts import Receipt

MAX_FIELDS: Final = 16
MAX_VALUES: Final = 100
MAX_BYTES: Final = 16_384

_SCALARS: Final = {str, int, float, bool, type(None)}
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class BadFilter(ValueError):
    """What was given is no filter; the message says what to change."""


class Filter:
    """
    One filter; made by `compiled`, and told from others by identity.

    Attributes:
        text: Its canonical JSON text.
    """

    __slots__ = ("__weakref__", "_conditions", "text")

    def __init__(self, text: bytes, conditions: tuple[tuple[str, frozenset[object]], ...]) -> None:
        self.text = text
        self._conditions = conditions

    def passes(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether all conditions hold."""
        for name, wanted in self._conditions:
            value = fields.get(name, _NOTHING)
            kind = type(value)
            if kind not in _SCALARS or (_TRUTHS[value] if kind is bool else value) not in wanted:
                return False
        return True


# Python's True is 1, JSON's is not: truths are compared by what nothing else equals.
_TRUTHS: Final = {True: object(), False: object()}

_known: WeakValueDictionary[bytes, Filter] = WeakValueDictionary()


def compiled(given: object) -> Filter | None:
    """
    Return the filter that a client gave; None where it has no conditions.

    Raises:
        BadFilter: It is not well-formed, or too large.
    """
    if not isinstance(given, dict):
        raise BadFilter("use an object of fields and their values")
    if len(given) > MAX_FIELDS:
        raise BadFilter(f"use at most {MAX_FIELDS} fields")
    if sum(len(value) if isinstance(value, list) else 1 for value in given.values()) > MAX_VALUES:
        raise BadFilter(f"use at most {MAX_VALUES} values")
    wanted = {name: _values(name, given[name]) for name in sorted(given)}
    if not wanted:
        return None
    text = _canonical(wanted)
    known = _known.get(text)
    if known is None:
        conditions = tuple((name, frozenset(map(_comparable, values))) for name, values in wanted.items())
        known = _known[text] = Filter(text, conditions)
    return known


def _canonical(wanted: dict[str, list[Any]]) -> bytes:
    """Return the text of a filter: sorted, so that the order in which a client names things does not matter."""
    try:
        text = json_text.dumps({name: sorted(values, key=_rank) for name, values in wanted.items()})
    except ValueError:  # a lone surrogate
        raise BadFilter("use text that is Unicode") from None
    if len(text) > MAX_BYTES:
        raise BadFilter(f"use at most {MAX_BYTES} bytes")
    return text


def _values(name: str, given: object) -> list[Any]:
    """Return the values that a field may have."""
    values = given if isinstance(given, list) else [given]
    if not values:
        raise BadFilter(f"{name!r:.80} has no value")
    for value in values:
        if type(value) not in _SCALARS or (isinstance(value, float) and not isfinite(value)):
            raise BadFilter(f"{name!r:.80}: use a string, a number, a truth value or null, or a list of them")
    return list({_comparable(value): value for value in values}.values())


def _comparable(value: Any) -> object:
    return _TRUTHS[value] if type(value) is bool else value


def _rank(value: Any) -> tuple[str, str]:
    return type(value).__name__, str(value)


class Sieve:
    """
    Judges entries by filters, and parses the `data` of an entry at most once while they ask about it.

    Only the last entry is remembered: parsed data of a whole log would take more memory than the log.
    """

    __slots__ = ("_entry", "_fields")

    def __init__(self) -> None:
        self._entry: Entry | Receipt | None = None
        self._fields = _NOTHING

    def passes(self, entry: Entry | Receipt, wanted: Filter) -> bool:
        """Tell whether `wanted` lets an entry pass; what is no JSON object passes none."""
        if entry is not self._entry:
            self._fields = _fields_of(entry.data)
            self._entry = entry
        return wanted.passes(self._fields)


def _fields_of(data: bytes) -> Mapping[str, Any]:
    try:
        fields = json_text.loads(data)
    except ValueError:  # poison: `wire` reports it, should anybody want it
        return _NOTHING
    return fields if isinstance(fields, dict) else _NOTHING
