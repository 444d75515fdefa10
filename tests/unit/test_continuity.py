"""What the counts of a stream and of its reader say about each other."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.continuity import Continuity, StreamState, Suspicion
from gateway.entry import EntryId, join_id

ORIGIN: EntryId = (0, 0)


class Stream:
    """A stream as Redis keeps its books."""

    def __init__(self) -> None:
        self.ids: list[EntryId] = []
        self.last = ORIGIN
        self.added = 0

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.last = (self.last[0] + 1, 0)
            self.ids.append(self.last)
            self.added += 1

    def state(self) -> StreamState:
        return StreamState(
            epoch="e",
            last=self.last,
            added=self.added,
            length=len(self.ids),
            first=self.ids[0] if self.ids else None,
            newest=self.ids[-1] if self.ids else None,
        )


class Reader:
    """A reader of it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.continuity = Continuity()
        self.position = ORIGIN

    def look(self) -> int:
        return self.continuity.looked(self.stream.state(), self.position)

    def read(self, count: int = 10_000) -> int:
        ids = [each for each in self.stream.ids if each > self.position][:count]
        if not ids:
            return 0
        self.position = ids[-1]
        return self.continuity.took([join_id(each) for each in ids])


def _caught_up(count: int = 10) -> tuple[Stream, Reader]:
    stream = Stream()
    stream.add(count)
    reader = Reader(stream)
    assert reader.read() == 0
    assert reader.look() == 0
    return stream, reader


def test_nothing_is_missing_after_everything_was_read() -> None:
    stream, reader = _caught_up()
    stream.add(5)
    assert (reader.look(), reader.read(3), reader.read(), reader.look()) == (0, 0, 0, 0)


def test_what_was_trimmed_after_it_was_read_is_not_missing() -> None:
    stream, reader = _caught_up()
    stream.add(3)
    del stream.ids[:7]
    assert (reader.look(), reader.read(), reader.look()) == (0, 0, 0)
    stream.ids.clear()
    assert reader.look() == 0


def test_entries_trimmed_unread_are_missing_at_the_first_look() -> None:
    stream, reader = _caught_up()
    stream.add(5)
    del stream.ids[:12]
    assert reader.look() == 2


def test_entries_are_missing_where_nothing_is_left_to_read() -> None:
    stream, reader = _caught_up()
    stream.add(5)
    stream.ids.clear()
    assert reader.look() == 5


def test_a_hole_that_was_read_across_shows_as_soon_as_its_end_was_read() -> None:
    stream, reader = _caught_up()
    stream.add(5)
    del stream.ids[11:13]
    assert reader.look() == 0
    assert reader.read(2) == 0
    assert reader.read(1) == 2


def test_a_mark_in_the_midst_of_a_read_counts_what_is_before_it() -> None:
    stream, reader = _caught_up()
    stream.add(5)
    del stream.ids[12]
    reader.look()
    stream.add(5)
    assert reader.read() == 1


def test_a_mark_whose_entry_is_gone_is_passed_by_the_next() -> None:
    stream, reader = _caught_up()
    stream.add(2)
    reader.look()
    del stream.ids[-1]
    stream.add(1)
    assert reader.read() == 1


def test_a_log_that_has_forgotten_entries_shows_fewer_than_were_read() -> None:
    stream, reader = _caught_up()
    del stream.ids[-3:]
    stream.added -= 3
    assert reader.look() == -3
    stream.add(1)
    assert reader.look() == 0  # there is something to read first
    assert reader.read() == -3


class TestVerified:
    """A look after a read, before its entries are counted."""

    @staticmethod
    def verified(stream: Stream, reader: Reader, ids: list[EntryId]) -> int | None:
        return reader.continuity.verified(stream.state(), reader.position, [join_id(each) for each in ids])

    def test_nothing_is_missing(self) -> None:
        stream, reader = _caught_up()
        stream.add(5)
        assert self.verified(stream, reader, stream.ids[10:]) == 0
        assert self.verified(stream, reader, stream.ids[10:12]) == 0

    def test_what_was_trimmed_before_them_is_missing(self) -> None:
        stream, reader = _caught_up()
        stream.add(5)
        del stream.ids[:12]
        assert self.verified(stream, reader, stream.ids) == 2
        assert self.verified(stream, reader, stream.ids[:1]) == 2

    def test_what_was_deleted_among_them_is_missing_where_they_are_the_last(self) -> None:
        stream, reader = _caught_up()
        stream.add(5)
        del stream.ids[11]
        assert self.verified(stream, reader, stream.ids[10:]) == 1

    def test_what_was_trimmed_after_the_reading_is_not(self) -> None:
        stream, reader = _caught_up()
        stream.add(5)
        read = stream.ids[10:13]
        del stream.ids[:12]
        assert self.verified(stream, reader, read) == 0
        del stream.ids[:1]
        assert self.verified(stream, reader, read) == 0

    def test_where_more_was_trimmed_than_them_it_may_have_been_before_or_after(self) -> None:
        stream, reader = _caught_up()
        stream.add(5)
        read = stream.ids[10:13]
        del stream.ids[:14]
        assert self.verified(stream, reader, read) is None
        stream.ids.clear()
        assert self.verified(stream, reader, read) is None

    @given(
        added=st.integers(1, 20),
        before=st.integers(0, 20),
        count=st.integers(1, 20),
        more=st.integers(0, 3),
        after=st.integers(0, 40),
    )
    def test_no_trim_is_taken_for_one_before_them_that_was_not(
        self, added: int, before: int, count: int, more: int, after: int
    ) -> None:
        stream, reader = _caught_up()
        stream.add(added)
        unread = stream.ids[10:]
        hole = unread[:before]
        del stream.ids[: 10 + before]
        read = stream.ids[:count]
        if not read:
            return
        stream.add(more)
        gone_since, stream.ids = stream.ids[:after], stream.ids[after:]
        found = self.verified(stream, reader, read)
        behind = [each for each in gone_since if each > read[-1]]
        assert found == (None if behind else len(hole)) or (found is None and hole and read[-1] in gone_since)

    def test_a_log_that_has_forgotten_entries_is_not_judged_here(self) -> None:
        stream, reader = _caught_up()
        stream.add(1)
        stream.added -= 3
        assert self.verified(stream, reader, stream.ids[-1:]) == 0


class TestSuspicion:
    """A read after which something may be missing."""

    WAIT_S = 0.4

    def after(
        self, *, pause_s: float = 0.0, took_s: float = 0.001, age_ms: float | None = 1.0, full: bool = False
    ) -> bool:
        self.now += pause_s
        self.suspicion.asked(self.now)
        self.now += took_s
        return self.suspicion.answered(self.now, self.WAIT_S, age_ms, full=full)

    def setup_method(self) -> None:
        self.now = 100.0
        self.suspicion = Suspicion()
        assert self.after()  # the first one
        assert not self.after()

    def test_reads_that_follow_each_other_are_not_suspicious(self) -> None:
        assert not any(self.after(took_s=took_s) for took_s in (0.001, 0.3, 0.4))

    def test_one_that_begins_late_is(self) -> None:
        assert self.after(pause_s=0.1)
        assert not self.after()

    def test_one_after_a_wait_that_ended_late_is(self) -> None:
        assert not self.after(took_s=self.WAIT_S, age_ms=None)
        assert not self.after()
        assert not self.after(took_s=self.WAIT_S + 0.1, age_ms=None)
        assert not self.after(age_ms=None)
        assert self.after()

    def test_one_after_a_reply_that_was_seen_late_is(self) -> None:
        assert not self.after(age_ms=100.0)
        assert self.after()

    def test_clocks_that_differ_are_no_reason(self) -> None:
        for skew_ms in (-5_000.0, 60.0):
            for _ in range(6_000):
                self.after(age_ms=skew_ms)
            assert not self.after(age_ms=skew_ms)
            assert not self.after(age_ms=skew_ms + 100)
            assert self.after(age_ms=skew_ms)

    def test_a_backlog_is_unless_much_that_was_read_is_still_there(self) -> None:
        assert self.after(full=True)
        self.suspicion.looked(self.now, 99, 10)
        assert self.after(full=True)
        self.suspicion.looked(self.now, 100, 10)
        assert not self.after(full=True)
        assert self.after(full=True, took_s=0.02)

    def test_what_is_late_stays_suspicious_until_it_is_verified(self) -> None:
        self.suspicion.looked(self.now + 0.15, 100, 10)
        assert not self.after(pause_s=0.1)
        assert not self.after()
        assert self.after(took_s=0.1)
        assert not self.after()


def test_what_is_not_settled_shows_again() -> None:
    stream, reader = _caught_up()
    stream.add(2)
    del stream.ids[-2]
    reader.look()
    assert reader.read() == 1
    assert reader.look() == 1
    reader.continuity.restart(stream.added)
    assert reader.look() == 0


class Histories(RuleBasedStateMachine):
    """Whatever happens to a stream: a gap is told if and only if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = Stream()
        self.reader = Reader(self.stream)
        self.had: set[EntryId] = set()
        self.missed = 0
        self.told = 0

    def _lost(self, ids: list[EntryId]) -> None:
        self.missed += sum(each > self.reader.position for each in ids)

    def _settle(self, missing: int) -> None:
        """Do as the consumer does after a gap, or after none."""
        if not missing:
            return
        assert missing > 0
        self.told += missing
        self.reader.continuity.restart(self.reader.continuity.count + missing)

    @rule(count=st.integers(1, 5))
    def add(self, count: int) -> None:
        self.stream.add(count)

    @rule(count=st.integers(1, 8))
    def trim(self, count: int) -> None:
        self._lost(self.stream.ids[:count])
        del self.stream.ids[:count]

    @precondition(lambda self: self.stream.ids)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.stream.ids) - 1))
        self._lost([self.stream.ids[at]])
        del self.stream.ids[at]

    @rule(count=st.integers(1, 6))
    def read(self, count: int) -> None:
        self._settle(self.reader.read(count))

    @rule(count=st.integers(1, 6), added=st.integers(0, 3), trimmed=st.integers(0, 8))
    def read_and_verify(self, count: int, added: int, trimmed: int) -> None:
        """The stream is trimmed between the reading and the look."""
        read = [each for each in self.stream.ids if each > self.reader.position][:count]
        if not read:
            return
        self.stream.add(added)
        gone, self.stream.ids = self.stream.ids[:trimmed], self.stream.ids[trimmed:]
        ids = [join_id(each) for each in read]
        missing = self.reader.continuity.verified(self.stream.state(), self.reader.position, ids)
        if missing is None:
            self._lost(gone)
            self._settle(self.reader.look())
            return
        self._lost([each for each in gone if each not in read])
        self._settle(missing)
        self.reader.position = read[-1]
        self._settle(self.reader.continuity.took(ids))

    @rule()
    def look(self) -> None:
        self._settle(self.reader.look())

    @rule()
    def catch_up(self) -> None:
        self._settle(self.reader.read())
        self._settle(self.reader.look())
        assert self.told == self.missed

    @invariant()
    def nothing_is_told_that_is_not_missed(self) -> None:
        assert self.told <= self.missed
        assert all(a < b for a, b in pairwise(self.stream.ids))


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
