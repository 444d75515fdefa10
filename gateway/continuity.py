"""
Continuity: whether what was read of a stream is all that was ever added to it. Pure.

Redis counts the entries that a stream was ever given (XINFO STREAM, `entries-added`); we count those we read. As soon
as everything up to some id has been read, both counts must agree at that id:

- fewer were read: some were trimmed or deleted before they could be;
- more were read: the log has forgotten some that it had given out, and so is another log.

A look at the stream gives its count together with its last id. While entries are left to read, that pair is kept as a
*mark*, and compared when the reading passes it: so a busy stream is checked as closely as a quiet one.

What a read brings must not be delivered before it is known that nothing is missing before it: who had it, and left,
would go on behind the hole and never be told. But a look at every read would cost more than the read. Entries that come
while a read waits at the server are its reply; only between two reads can some come and be gone again, and that takes
long, or is much. `Suspicion` tells.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.entry import EntryId, split_id

_PROMPT_S: Final = 0.05
_ASSURED_S: Final = 0.02
_ASSURED_READS: Final = 10
_SKEW_RISES_BY_MS: Final = 1.0


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

    def verified(self, state: StreamState, position: EntryId, ids: Sequence[bytes]) -> int | None:
        """
        Return how many entries were gone between `position` and the next ones read, `ids`, which are not counted yet.

        None: some were, before `ids` or after them, which nobody can tell: those are gone as well since they were read.

        Args:
            state: As a look shows it that was taken after the reading.
        """
        newest = split_id(ids[-1])
        if state.last <= newest:
            return max(0, state.added - self.count - len(ids))
        if state.first is None or state.first > newest:
            return None if state.gone > self.count + len(ids) else 0
        if not state.begins_after(position):
            return 0
        return max(0, state.gone - self.count - bisect_left(ids, state.first, key=split_id))

    def took(self, ids: Sequence[bytes]) -> int:
        """Count the next entries, whose ids ascend; return what a mark that they pass shows, as `looked` does."""
        missing = 0
        if self._mark is not None and split_id(ids[-1]) >= self._mark[0]:
            last, added = self._mark
            missing = added - self.count - bisect_right(ids, last, key=split_id)
            self._mark = None
        self.count += len(ids)
        return missing


class Suspicion:
    """
    Whether entries may have been trimmed that were never read. Times in seconds, of one clock that never runs back.

    Suspicious is a read that comes late after the one before it, which includes that the process stood still, and one
    that brings as much as it may: there is a backlog. It is not if a look was taken just before, by which so much
    that has been read is still there that nothing can trim it all, and what follows, in that time.
    """

    def __init__(self) -> None:
        self._late = True
        self._asked_at = 0.0
        self._answered_at = float("-inf")
        self._skew_ms = 0.0  # how far our clock is ahead of the server's, at most
        self._assured_until = float("-inf")

    def asked(self, now: float) -> None:
        """A read begins."""
        self._late = self._late or now - self._answered_at > _PROMPT_S
        self._asked_at = now

    def answered(self, now: float, waited_s: float, age_ms: float | None, *, full: bool) -> bool:
        """
        A read has ended; tell whether what it brought is to be verified before it is delivered.

        Args:
            waited_s: How long it waits at the server where there is nothing to read.
            age_ms: Of the newest entry that it brought, by our clock; None: it brought none.
            full: It brought as many as it may.
        """
        suspicious = age_ms is not None and (self._late or full) and now >= self._assured_until
        self._answered_at = now
        if age_ms is None:
            self._late = self._late or now - self._asked_at > waited_s + _PROMPT_S
        else:
            self._skew_ms = min(self._skew_ms + _SKEW_RISES_BY_MS, age_ms)
            self._late = (self._late and not suspicious) or age_ms - self._skew_ms > _PROMPT_S * 1000
        return suspicious

    def looked(self, now: float, still_there: int, most: int) -> None:
        """A look shows how many entries that were read are still there; a read brings `most` at most."""
        self._assured_until = now + _ASSURED_S if still_there >= _ASSURED_READS * most else float("-inf")
