"""
Recalls: which messages their authors took back, and that a replay no longer shows what was in them.

A recall is a state entry: clients get it as a push, and every instance obeys it here, at its place in the log. The
message's own entry stays, for sequence numbers have no gaps, but its content goes: who was away gets the recall only.
Pure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

import orjson

from gateway.entry import Entry, join_id
from gateway.log import Log
from publisher import json_text
from publisher.cursor import Cursor
from publisher.event import KIND_STATE

NEW_MESSAGE: Final = "new_message"
MESSAGE_RECALLED: Final = "message_recalled"

_NEW_MESSAGE: Final = NEW_MESSAGE.encode()
_MESSAGE_RECALLED: Final = MESSAGE_RECALLED.encode()


def author_of(data: bytes) -> str | None:
    """Return who wrote a message, given its data. The gateway says it of a client's; a service may leave it out."""
    try:
        message = json_text.loads(data)
    except ValueError:
        return None
    author = message.get("from") if isinstance(message, dict) else None
    return author if isinstance(author, str) else None


def is_message(entry: Entry, tenant: str, address: str) -> bool:
    """Tell whether an entry is a message to a group of a tenant."""
    return entry.event == _NEW_MESSAGE and entry.tenant == tenant and address in entry.to


class Recalls:
    """
    The recalls of the retention window.

    Args:
        remember_ms: For how long: what is older is in no log any more.
        most: Beyond it the oldest are forgotten.
    """

    def __init__(self, log: Log, *, remember_ms: int, most: int = 100_000) -> None:
        self._log = log
        self._remember_ms = remember_ms
        self._most = most
        self._recalled: dict[str, int] = {}  # a message's id → when, in the order of the log

    def __len__(self) -> int:
        return len(self._recalled)

    def __contains__(self, event_id: object) -> bool:
        """Tell whether the message with this id (a cursor) was recalled."""
        return event_id in self._recalled

    def obey(self, order: Entry, data: dict[str, Any]) -> None:
        """
        Take the content of a recalled message out of memory.

        Raises:
            LookupError, ValueError: The order is not one.
        """
        event_id, address = str(data["id"]), f"group:{data['group_id']}"
        cursor = Cursor.parse(event_id)
        partition = self._log.partitions[cursor.partition]
        if address not in order.to:
            raise ValueError("it is not for the group that it names")
        self._remember(event_id, order.position[0])
        if cursor.epoch != partition.epoch:
            return
        entry = self._log.find(join_id((cursor.ms, cursor.n)), cursor.partition)
        if entry is not None and is_message(entry, order.tenant, address):
            # The author stays, so that a second recall can be told from somebody else's.
            self._log.redact(entry, orjson.dumps({"from": author_of(entry.data)}))

    def review(self, entries: Iterable[Entry]) -> None:
        """Obey the recalls among entries that this instance did not follow: at its start."""
        for entry in entries:
            if entry.options is not None and entry.options.kind == KIND_STATE and entry.event == _MESSAGE_RECALLED:
                with contextlib.suppress(LookupError, ValueError, TypeError):  # poison, which changes nothing
                    self.obey(entry, orjson.loads(entry.data))

    def _remember(self, event_id: str, at_ms: int) -> None:
        recalled = self._recalled
        recalled.setdefault(event_id, at_ms)
        while recalled:
            oldest = next(iter(recalled))
            if recalled[oldest] > at_ms - self._remember_ms and len(recalled) <= self._most:
                break
            del recalled[oldest]
