"""Entries of the log as a consumer decodes them, for tests of what comes behind it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from gateway.decoder import EntryDecoder
from gateway.entry import Entry, Item, RawEntry
from publisher import make_event
from publisher.event import F_EXPIRES

EPOCH = "e1"


class Source:
    """One partition's entries. They share their decoded audiences, as those of one consumer do."""

    def __init__(self, partition: int = 0) -> None:
        self._decoder = EntryDecoder(partition)
        self._ms = 0

    def entry(self, *args: Any, **options: Any) -> Entry:
        """Return an entry; see `raw`."""
        return self.entry_of(self.raw(*args, **options))

    def entry_of(self, raw: RawEntry) -> Entry:
        """Decode one."""
        return self._decoder.decode(*raw)

    def read(self, raw: Sequence[RawEntry], wanted: Mapping[str, Container[str]] | None) -> list[Item]:
        """Decode as the consumer does."""
        return self._decoder.decode_all(raw, wanted)

    def raw(
        self,
        ms: int | None = None,
        data: Any = None,
        *,
        n: int = 0,
        to: str | list[str] = "all",
        text: bytes | None = None,
        expires_at: int | None = None,
        **options: Any,
    ) -> RawEntry:
        """
        Return an entry with the id `<ms>-<n>`, by default the next ms.

        Args:
            text: What stands in the entry in place of `data` as JSON text.
            expires_at: ms since 1970.
        """
        self._ms = self._ms + 1 if ms is None else ms
        fields = list(make_event("e", data, to=to, message_id="m", **options).fields)
        if text is not None:
            fields[11] = text
        if expires_at is not None:
            fields += [F_EXPIRES, b"%d" % expires_at]
        return b"%d-%d" % (self._ms, n), fields
