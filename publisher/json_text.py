"""
JSON text that survives the trip: what is read is what is written.

orjson does the work. Three things it does not keep are taken care of here: integers beyond 64 bits (it reads
them as floats, and refuses to write them), nesting (it reads 1,024 levels but writes 254), and the numbers
that JSON has no text for (it writes NaN and infinities as null).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

MAX_DEPTH = 64

# What stands before a number, digits, and the rest: a table and a search are faster than a pattern.
_SHAPES = bytes(0x30 if 0x30 <= code <= 0x39 else 0x3A if code in b":,[- \t\r\n" else 0x78 for code in range(256))
_LONG_INTEGER = b":" + b"0" * 19
# Possessive, so that a long string costs neither backtracking points nor memory.
_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{\]}]', re.DOTALL)


class TooDeep(ValueError):
    """It may be JSON, but is nested more than `MAX_DEPTH` levels deep."""


def loads(text: bytes) -> Any:
    """
    Parse JSON text, integers of any size included.

    Raises:
        TooDeep: It is nested more than `MAX_DEPTH` levels deep.
        ValueError: It is not JSON (RFC 8259), or not UTF-8.
    """
    if depth_over(text, MAX_DEPTH):
        raise TooDeep(f"nested more than {MAX_DEPTH} levels deep")
    value = orjson.loads(text)
    shapes = text.translate(_SHAPES)
    # In a string it does no harm, but costs a second parse.
    if _LONG_INTEGER in shapes or shapes.startswith(_LONG_INTEGER[1:]):
        return json.loads(text)
    return value


def dumps(value: Any) -> bytes:
    """
    Serialise a value as compact JSON text in UTF-8.

    Raises:
        ValueError: It cannot be written as JSON, is nested more than `MAX_DEPTH` levels deep, or holds a lone
            surrogate, NaN or an infinity.
    """
    try:
        text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, RecursionError) as error:
        text = _dumps_big_integers(value, error)
    if depth_over(text, MAX_DEPTH):
        raise TooDeep(f"nested more than {MAX_DEPTH} levels deep")
    if b"null" in text and _holds_no_number(value):
        raise ValueError("JSON has no NaN and no infinity: use null")
    return text


def _holds_no_number(value: Any) -> bool:
    """Tell whether there is a NaN or an infinity anywhere in `value`, which has been written, so it has an end."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return True
        elif isinstance(item, dict):
            todo += item.keys()
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif is_dataclass(item):
            todo += (getattr(item, field.name) for field in fields(item))
    return False


def _dumps_big_integers(value: Any, first: Exception) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError(str(first)) from None


def depth_over(text: bytes, limit: int) -> bool:
    """Tell whether JSON text nests more than `limit` arrays and objects."""
    if text.count(b"[") + text.count(b"{") <= limit:  # the common case costs two memchr scans
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = text[match.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif first in b"]}":
            depth -= 1
    return False
