"""
Request bodies: JSON whose payloads stay the bytes that came.

`data` must reach the client unchanged, and to parse it and write it again would change it: integers beyond 64 bits,
`1.10`, `1e2`, repeated names. So the named members stay `Verbatim`; only what surrounds
them is parsed. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

import orjson

from publisher import json_text

MAX_DEPTH: Final = json_text.MAX_DEPTH + 3  # the data of an event in the list of a batch

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_VALUES: Final = json.JSONDecoder()
# Finds where a value ends. Its numbers are not converted, so their length costs nothing.
_SPANS: Final = json.JSONDecoder(parse_int=str, parse_float=str)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """JSON text as it came."""

    text: str


def parse(body: bytes, *, verbatim: Collection[str], lists: Collection[str] = ()) -> Any:
    """
    Parse a body; in its object, and in the objects of the members in `lists`, those in `verbatim` stay text.

    Raises:
        ValueError: It is not JSON (RFC 8259) in UTF-8, is nested too deep, or repeats a name outside of such text.
    """
    if json_text.depth_over(body, MAX_DEPTH):
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    orjson.loads(body)  # stricter than json, and what follows relies on it: one value, no NaN, no lone surrogates
    return _Scan(body.decode(), verbatim, lists).value(0)


class _Scan:
    """A walk over text that is known to be JSON."""

    def __init__(self, text: str, verbatim: Collection[str], lists: Collection[str]) -> None:
        self._text = text
        self._verbatim = verbatim
        self._lists = lists
        self._at = 0

    def value(self, at: int) -> Any:
        """Return the value at `at`, and stand behind it."""
        self._at = at
        if self._next() == "{":
            return self._object()
        return self._plain()

    def _object(self) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self._more("}"):
            name, self._at = scanstring(self._text, self._at + 1, True)
            if name in members:
                raise ValueError(f"{name[:100]!r} stands there twice")
            self._next()
            self._at += 1  # the colon
            members[name] = self._member(name)
        return members

    def _member(self, name: str) -> Any:
        first = self._next()
        if name in self._verbatim:
            start = self._at
            _, self._at = _SPANS.raw_decode(self._text, start)
            return Verbatim(self._text[start : self._at])
        if name in self._lists and first == "[":
            return self._list()
        return self._plain()

    def _list(self) -> list[Any]:
        elements = []
        while self._more("]"):
            elements.append(self.value(self._at))
        return elements

    def _plain(self) -> Any:
        value, self._at = _VALUES.raw_decode(self._text, self._at)
        return value

    def _more(self, end: str) -> bool:
        """Step over an opening bracket or a comma; tell whether an item follows, and stand at it, or behind `end`."""
        if self._next() != end:
            self._at += 1
            if self._next() != end:
                return True
        self._at += 1
        return False

    def _next(self) -> str:
        """Step over white space; return the character there."""
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        return self._text[self._at]
