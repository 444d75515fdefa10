"""
The cursor: an event's id, and with it a position in the log.

Text form `<ms>-<n>.<partition>.<epoch>`, for example `1764930000000-0.0.9f3a1c2b`: the id of the stream entry
first, so that an operator can paste it into XRANGE. Opaque for clients. Two cursors compare only within one
partition and one epoch: a log that was lost and begun again has another epoch.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_MAX_N = 2**64 - 1
_TEXT = re.compile(r"(\d{1,16})-(\d{1,20})\.(\d{1,4})\.([A-Za-z0-9]{1,32})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    One position in one partition.

    Attributes:
        ms, n: The two halves of the Redis stream entry id.
        partition: Which stream.
        epoch: Which incarnation of it.
    """

    ms: int
    n: int
    partition: int
    epoch: str

    def __str__(self) -> str:
        return f"{self.ms}-{self.n}.{self.partition}.{self.epoch}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """
        Read the text form.

        Raises:
            ValueError: `text` is not a cursor.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r:.80} is not a cursor")
        ms, n, partition, epoch = match.groups()
        if int(n) > _MAX_N:
            raise ValueError(f"{text!r:.80} is not a cursor: Redis has no such id")
        return cls(int(ms), int(n), int(partition), epoch)


def cursor_text(entry_id: bytes, partition: int, epoch: bytes) -> str:
    """
    Return the text form of a position, of an entry id as Redis writes it.

    Raises:
        ValueError: It is not one.
    """
    ms, _, n = entry_id.partition(b"-")
    if not (ms.isdigit() and n.isdigit()):
        raise ValueError(f"{entry_id!r:.80} is not the id of an entry")
    return f"{entry_id.decode()}.{partition}.{epoch.decode()}"


def new_epoch() -> str:
    """Return a name for a new incarnation of the log: random, because a lost log has lost its count as well."""
    return secrets.token_hex(4)
