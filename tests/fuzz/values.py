"""Hostile values: what JSON can hold and no one expects."""

from __future__ import annotations

import json
import random
from typing import Any

NAMES = (
    "1",
    "2",
    "g1",
    "g2",
    "t1",
    "vip",
    "all",
    "user:1",
    "*",
    "",
    " ",
    "a" * 256,
    "a" * 257,
    "a\n",
    "\u202e",
    "é",
    "😀",
)
FIELDS = (
    "group_id", "topic", "tag", "to", "content", "msg_type", "message_id", "since", "cursor", "token", "user_id",
    "user_ids", "before", "limit", "filter", "notification_ids", "all", "data", "type", "echo", "exclude", "event",
)  # fmt: skip

_SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, 0.0, -0.0, 1e308, 5e-324, 1.5,
    "", "\u0000", "\u007f", "\ufeff", "0", "null", "{}", "[]", "../..", "%00", "{{7*7}}", "\u2028", "x" * 5_000,
    "1764930000000-0.0.abcdef12", "0-0.0.0", "9999999999999999-99999999999999999999.9999.z",
)  # fmt: skip


def value(chance: random.Random, depth: int = 3) -> Any:
    """Return any value."""
    kind = chance.randrange(6 if depth else 3)
    if kind < 2:
        return chance.choice(_SCALARS)
    if kind == 2:
        return chance.choice(NAMES)
    if kind == 3:
        return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == 4:
        return {chance.choice(FIELDS + NAMES): value(chance, depth - 1) for _ in range(chance.randrange(4))}
    nested: Any = chance.choice(_SCALARS)
    for _ in range(chance.choice((2, 60, 63, 64, 65, 70, 300))):
        nested = [nested] if chance.random() < 0.8 else {"a": nested}
    return nested


def text(item: Any, chance: random.Random) -> bytes:
    """Return a value as JSON, now and then as JSON that is none."""
    if chance.random() < 0.02:
        return chance.choice(
            (b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,}', b'"\\ud800"', b"\xff", b"[" * 2_000, b"1 2")
        )
    return json.dumps(item, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
