"""
What was promised, and what came: the check that every scenario ends with.

A producer numbers its events. What the publisher answered stands in the `Ledger`, what a client received in a `Record`;
`judge` compares the two. An event that was acknowledged has reached each client once and in order, or lies in a range
that a `resync` named to that client. Pure: no socket, no clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Final

from publisher.cursor import Cursor

UNSENT: Final = 0
OK: Final = 1
FAILED: Final = 2
UNKNOWN: Final = 3

SOON_S: Final = 3.0


class Ledger:
    """
    One producer's events, numbered from 1, and their fate.

    Attributes:
        name: The producer's.
        sent_at: When each was handed to the publisher, in seconds of the caller's clock.
    """

    def __init__(self, name: int = 0) -> None:
        self.name = name
        self.sent_at = array("d", [0.0])
        self._fates = bytearray([UNSENT])
        self._ids: dict[int, str] = {}

    @property
    def last(self) -> int:
        """The newest event's number; 0 when there is none."""
        return len(self._fates) - 1

    def send(self, now: float) -> int:
        """Note that the next event is about to be published; return its number."""
        self.sent_at.append(now)
        self._fates.append(UNKNOWN)  # until there is an answer, nobody knows
        return self.last

    def settle(self, number: int, fate: int, event_id: str | None = None) -> None:
        """Note what became of an event."""
        self._fates[number] = fate
        if event_id is not None:
            self._ids[number] = event_id

    def fate(self, number: int) -> int:
        """Return what is known of an event."""
        return self._fates[number] if 0 < number < len(self._fates) else UNSENT

    def id_of(self, number: int) -> Cursor:
        """Return the id of an event that was acknowledged."""
        return Cursor.parse(self._ids[number])

    def last_acknowledged(self) -> int:
        """Return the number of the newest acknowledged event, or 0."""
        return self._fates.rfind(OK) if OK in self._fates else 0

    def count(self, fate: int) -> int:
        """Return how many events met this fate."""
        return self._fates.count(fate)

    def acknowledged(self) -> dict[int, str]:
        """Return the ids of all acknowledged events by their number."""
        return {number: name for number, name in self._ids.items() if self._fates[number] == OK}


@dataclass(slots=True)
class Gap:
    """A `resync`: the number of the last event before it, and the cursor from which on nothing is missing."""

    after: int
    cursor: str
    reason: str


@dataclass(slots=True)
class Record:
    """
    What one client had of one producer, as runs of numbers without a hole.

    Attributes:
        joined: The cursor of its first `welcome`: what is older is not its own.
        start, last: The newest run; `start` is 0 before the first event.
        runs: Those before it.
        gaps: The `resync` frames between them.
        repeated: Events that came again under their old id, which a client drops.
        doubled: Events that came again under another id.
        misplaced: Numbers that came after a later one.
    """

    joined: str = ""
    start: int = 0
    last: int = 0
    runs: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    repeated: int = 0
    doubled: int = 0
    misplaced: list[int] = field(default_factory=list)

    def take(self, number: int, *, is_first_id: bool) -> None:
        """Note an event; `is_first_id` tells whether it came under the id that this number was first seen with."""
        if number == self.last + 1 and self.start:
            self.last = number
        elif number > self.last:
            if self.start:
                self.runs.append((self.start, self.last))
            self.start = self.last = number
        elif not self.has(number):
            self.misplaced.append(number)
        elif is_first_id:
            self.repeated += 1
        else:
            self.doubled += 1

    def resync(self, cursor: str, reason: str) -> None:
        """Note that the server said something is missing."""
        self.gaps.append(Gap(self.last, cursor, reason))

    def has(self, number: int) -> bool:
        """Tell whether an event has come."""
        return any(first <= number <= last for first, last in self.all_runs())

    def all_runs(self) -> list[tuple[int, int]]:
        """Return every run, the newest last."""
        return [*self.runs, (self.start, self.last)] if self.start else []

    def holes(self, until: int) -> Iterable[tuple[int, int]]:
        """Yield the numbers that did not come, as (after, before): between 0 and `until` + 1, both excluded."""
        after = 0
        for first, last in self.all_runs():
            if first > after + 1:
                yield after, first
            after = last
        if after < until:
            yield after, until + 1


@dataclass(slots=True)
class Tally:
    """
    What a check has found, summed over all clients.

    Attributes:
        delivered: Events that came, each counted once a client.
        lost: Acknowledged events that a client never had, and was told nothing of.
        signalled: Acknowledged events that a client never had, in a range that a `resync` named.
        misplaced: Acknowledged events that came after a later one.
        doubled, repeated: See `Record`.
        phantom: Events that came although their publishing had failed for certain.
        resyncs: `resync` frames.
    """

    delivered: int = 0
    lost: int = 0
    signalled: int = 0
    misplaced: int = 0
    doubled: int = 0
    repeated: int = 0
    phantom: int = 0
    resyncs: int = 0

    def __iadd__(self, other: Tally) -> Tally:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self


def judge(record: Record, ledger: Ledger) -> Tally:
    """Compare what a client had with what was promised."""
    tally = Tally(doubled=record.doubled, repeated=record.repeated, resyncs=len(record.gaps))
    # What nobody was promised may come late: a request can outlive the patience of who sent it.
    late = {number for number in record.misplaced if ledger.fate(number) == OK}
    tally.misplaced = len(late)
    for first, last in record.all_runs():
        tally.delivered += last - first + 1
        tally.phantom += sum(ledger.fate(number) in (FAILED, UNSENT) for number in range(first, last + 1))
    for after, before in record.holes(ledger.last):
        named = [Cursor.parse(gap.cursor) for gap in record.gaps if _in_time(gap, ledger, after, before)]
        for number in range(after + 1, before):
            if ledger.fate(number) != OK or number in late or not _is_due(record, ledger, number, after):
                continue
            if any(_covers(cursor, ledger.id_of(number)) for cursor in named):
                tally.signalled += 1
            else:
                tally.lost += 1
    return tally


def judge_all(records: Iterable[Record], ledger: Ledger) -> Tally:
    """Compare what each of many clients had with what was promised."""
    total = Tally()
    for record in records:
        total += judge(record, ledger)
    return total


def _is_due(record: Record, ledger: Ledger, number: int, after: int) -> bool:
    """Tell whether an event came after the client did."""
    if after or not record.joined:
        return True
    joined, event = Cursor.parse(record.joined), ledger.id_of(number)
    return joined.epoch != event.epoch or (event.ms, event.n) > (joined.ms, joined.n)


def _in_time(gap: Gap, ledger: Ledger, after: int, before: int) -> bool:
    """
    Tell whether a `resync` came in the hole, or soon behind it.

    A trimmed entry is noticed by the count, which is looked at after what was left has been delivered.
    """
    if gap.after == after:
        return True
    return gap.after >= before and ledger.sent_at[gap.after] - ledger.sent_at[before] <= SOON_S


def _covers(resync: Cursor, event: Cursor) -> bool:
    """Tell whether an event lies before the cursor of a `resync`: in an older log, or at an older place."""
    return resync.epoch != event.epoch or (event.ms, event.n) <= (resync.ms, resync.n)
