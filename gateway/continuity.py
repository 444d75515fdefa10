"""
Continuity: whether what was read of a stream is all that was ever added to it. Pure.

Redis counts the entries that a stream was ever given (XINFO STREAM, `entries-added`); we count those we read. As soon
as everything up to some id has been read, both counts must agree at that id:

- fewer were read: some were trimmed or deleted before they could be;
- more were read: the log has forgotten some that it had given out, and so is another log.

A look at the stream gives its count together with its last id. While entries are left to read, that pair is kept as a
*mark*, and compared when the reading passes it: so a busy stream is checked as closely as a quiet one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.entry import EntryId, split_id


@dataclass(frozen=True, slots=True)
class StreamState:
    """
    What a look at the stream shows.

    Attributes:
        epoch: The log's incarnation.
        last: Id of the newest entry that it ever had.
        added: How many entries were ever added.
        length: How many there are.
        first, newest: Ids of the oldest and the newest that are there, or None.
        behind_ms: Age of the oldest entry that the reader has not read, by the server's clock; 0 where it has all.
    """

    epoch: str
    last: EntryId
    added: int
    length: int
    first: EntryId | None
    newest: EntryId | None
    behind_ms: int = 0

    @property
    def gone(self) -> int:
        """How many entries were trimmed or deleted."""
        return self.added - self.length

    def has_after(self, position: EntryId) -> bool:
        """Tell whether there are entries after `position`."""
        return self.newest is not None and self.newest > position

    def begins_after(self, position: EntryId) -> bool:
        """Tell whether there are entries, and all of them after `position`."""
        return self.first is not None and self.first > position


class Continuity:
    """
    Compares the two counts.

    Attributes:
        count: How many entries the stream had ever been given when the reader stood where it stands.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mark: tuple[EntryId, int] | None = None

    def restart(self, count: int) -> None:
        """Count on from `count`."""
        self.count = count
        self._mark = None

    def looked(self, state: StreamState, position: EntryId) -> int:
        """
        Take a look into account, made by a reader that has read up to `position`.

        Returns:
            How many entries were gone before they were read; negative where the log has forgotten some that were
            read; 0 where all is well, or cannot be told before more is read.
        """
        if not state.has_after(position):
            self._mark = None
            return state.added - self.count
        if self._mark is None:
            self._mark = (state.last, state.added)
        return state.gone - self.count if state.begins_after(position) else 0

    def took(self, ids: Sequence[bytes]) -> int:
        """Count the next entries, whose ids ascend; return what a mark that they pass shows, as `looked` does."""
        missing = 0
        if self._mark is not None and split_id(ids[-1]) >= self._mark[0]:
            last, added = self._mark
            missing = added - self.count - bisect_right(ids, last, key=split_id)
            self._mark = None
        self.count += len(ids)
        return missing
