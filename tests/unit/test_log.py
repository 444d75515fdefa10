"""The log in memory: against a naive one, and its cursors."""

from __future__ import annotations

import sys
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.decoder import EntryDecoder
from gateway.entry import Entry, Item, footprint_of
from gateway.log import Ahead, Found, Log, Older, Unknown, newest_of_each_key
from tests.support.entries import EPOCH, Source

TENANTS = ["default", "acme"]
ADDRESSES = ["all", "user:1", "user:2", "group:a"]
MARGIN_MS = 5_000
ENDLESS = 10**12


def log_of(
    partitions: int = 1, *, retention_ms: int = ENDLESS, max_entries: int = ENDLESS, max_bytes: int = ENDLESS
) -> Log:
    log = Log(partitions=partitions, retention_ms=retention_ms, max_entries=max_entries, max_bytes=max_bytes)
    for number in range(partitions):
        log.reset(number, f"{EPOCH}{number}", (0, 0))
    return log


SEGMENT = 5
"""Entries that share an index, in the model's log."""


def filled(count: int, **limits: int) -> Log:
    """Return a log of one partition with the ids 1-0 to <count>-0."""
    log = log_of(**limits)
    source = Source()
    for _ in range(count):
        log.extend([source.entry()], now_ms=count)
    return log


def id_of(entry: Entry) -> str:
    return f"{entry.id.decode()}.{entry.partition}.{EPOCH}{entry.partition}"


def said(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def replayed(log: Log, found: Found) -> list[int]:
    return [seq for seq in range(found.after + 1, log.head + 1) if seq not in found.seen]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3, unique=True),
        st.sampled_from([0, 0, 100]),
        st.sampled_from([{}, {}, {"priority": "low"}, {"kind": b"control"}, {"kind": b"ephemeral"}]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
BACK = st.integers(0, 40)
HELD = st.dictionaries(st.sampled_from(ADDRESSES), BACK, min_size=1, max_size=3)


class LogBehaves(RuleBasedStateMachine):
    """
    The log against a list.

    Ids of a partition lag behind the clock by less than the margin, so that what is read after an entry is never
    older than that entry by more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.small = mock.patch.multiple("gateway.log", _COMPACT_AFTER=3, _SEGMENT=SEGMENT)
        self.small.start()
        self.now_ms = 100_000
        self.kept: list[Entry] = []
        self.head = 0

    @initialize(
        partitions=st.integers(1, 3),
        max_entries=st.sampled_from([5, 20, 1000]),
        max_bytes=st.sampled_from([3_000, ENDLESS]),
        retention_ms=st.sampled_from([1_000, 20_000, ENDLESS]),
    )
    def begin(self, partitions: int, max_entries: int, max_bytes: int, retention_ms: int) -> None:
        self.limits = (retention_ms, max_entries, max_bytes)
        self.log = log_of(partitions, retention_ms=retention_ms, max_entries=max_entries, max_bytes=max_bytes)
        self.sources = [Source(number) for number in range(partitions)]
        self.last = [(0, 0)] * partitions
        self.floor = [(0, 0)] * partitions

    @rule(number=st.integers(0, 2), lag_ms=st.sampled_from([0, 1_000, MARGIN_MS - 1]), events=EVENTS)
    def extend(
        self, number: int, lag_ms: int, events: list[tuple[str, list[str], int, dict[str, object], bool]]
    ) -> None:
        number %= len(self.sources)
        batch = []
        items: list[Item] = []
        for tenant, to, size, options, packs in events:
            last_ms, last_n = self.last[number]
            ms = max(self.now_ms - lag_ms, last_ms)
            n = last_n + 1 if ms == last_ms else 0
            raw = self.sources[number].raw(ms, "x" * size, n=n, to=to, tenant=tenant, **options)
            batch.append(self.sources[number].entry_of(raw))
            batch[-1].seq = self.head + len(batch)
            items += EntryDecoder(number).decode_all([raw], {} if packs else None)
            self.last[number] = (ms, n)
        self.log.extend(items, self.now_ms)
        self.kept += batch
        self.head += len(batch)
        self.evict()

    def evict(self) -> None:
        retention_ms, max_entries, max_bytes = self.limits
        horizon = min(self.kept[-1].position[0], self.now_ms) - retention_ms
        while len(self.kept) > 1 and (
            len(self.kept) > max_entries or footprint_of(self.kept) > max_bytes or self.kept[0].position[0] < horizon
        ):
            self.forget_oldest()

    def forget_oldest(self) -> None:
        oldest = self.kept.pop(0)
        self.floor[oldest.partition] = oldest.position

    @rule(ms=st.integers(0, 10_000))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(number=st.integers(0, 2))
    def reset(self, number: int) -> None:
        number %= len(self.sources)
        while self.kept:
            self.forget_oldest()
        self.log.reset(number, f"{EPOCH}{number}", self.last[number])
        self.floor = list(self.last)

    @rule(tenant=st.sampled_from([*TENANTS, "nobody"]), back=HELD, after_back=BACK)
    def due(self, tenant: str, back: dict[str, int], after_back: int) -> None:
        held = {address: max(0, self.head - count) for address, count in back.items()}
        after = max(0, self.head - after_back)
        due = [
            entry.seq
            for entry in self.kept
            if entry.tenant == tenant
            and not (entry.options is not None and not entry.options.kept)
            and entry.seq > after
            and any(address in held and held[address] < entry.seq for address in entry.to)
        ]
        assert self.log.due(tenant, held, after) == due

    @precondition(lambda self: self.kept)
    @rule(index=st.integers(0, 60))
    def find(self, index: int) -> None:
        entry = self.kept[index % len(self.kept)]
        found = self.log.find(entry.id, entry.partition)
        assert found is not None
        assert said(found) == said(entry)
        assert self.log.find(entry.id, entry.partition) is found

    @precondition(lambda self: self.kept)
    @rule(index=st.integers(0, 60))
    def entry(self, index: int) -> None:
        entry = self.kept[index % len(self.kept)]
        assert said(self.log.entry(entry.seq)) == said(entry)
        assert self.log.entry(entry.seq) is self.log.entry(entry.seq)

    @rule(back=BACK)
    def admissible(self, back: int) -> None:
        kept = [entry for entry in self.kept if entry.seq > self.head - back and entry.options is None]
        admitted = self.log.admissible([entry.seq for entry in kept], {}, self.now_ms, lagging=True)
        assert list(map(said, admitted)) == list(map(said, kept))

    @rule(offset=st.integers(0, 60))
    def cursor_round_trips(self, offset: int) -> None:
        seq = self.log.base - 1 + offset % (len(self.log) + 1)
        where = self.log.locate(self.log.cursor_at(seq))
        assert isinstance(where, Found)
        assert replayed(self.log, where) == [entry.seq for entry in self.kept if entry.seq > seq]

    @precondition(lambda self: self.kept)
    @rule(index=st.integers(0, 60))
    def id_of_one_push_loses_nothing(self, index: int) -> None:
        entry = self.kept[index % len(self.kept)]
        where = self.log.locate(id_of(entry))
        assert isinstance(where, Found | Older)
        starts = where.starts if isinstance(where, Older) else {}
        assert entry.partition not in starts
        found = where.found if isinstance(where, Older) else where
        following = {e.seq for e in self.kept if e.seq > entry.seq}
        assert following <= set(replayed(self.log, found))
        assert {number for number in starts if starts[number] >= self.floor[number]} == set()

    @invariant()
    def entries_are_those_of_the_model(self) -> None:
        if hasattr(self, "log"):
            log = self.log
            assert (log.head, log.base, len(log)) == (self.head, self.head - len(self.kept) + 1, len(self.kept))
            assert [entry.seq for entry in self.kept] == list(range(log.base, log.head + 1))
            assert log.size_bytes == footprint_of(self.kept)

    @invariant()
    def partitions_are_those_of_the_model(self) -> None:
        if hasattr(self, "log"):
            for number, state in enumerate(self.log.partitions):
                assert (state.last, state.floor) == (self.last[number], self.floor[number])
                assert list(state.chain) == [entry.seq for entry in self.kept if entry.partition == number]

    @invariant()
    def the_index_keeps_nothing_that_is_gone(self) -> None:
        if hasattr(self, "log"):
            segments = self.log._segments
            assert all(number >= self.log.base // SEGMENT for number in segments)
            assert self.log._optional <= {entry.seq for entry in self.kept}
            assert len(self.log._entries) <= len(self.kept) + 4

    def teardown(self) -> None:
        self.small.stop()


TestLogBehaves = LogBehaves.TestCase


# Letting go


def test_reset_leaves_nothing_in_the_index() -> None:
    log = filled(50)
    log.due("default", {"all": 0}, 0)
    log.reset(0, "e2", (9, 9))
    assert (log._segments, log._optional, log._entries, log.size_bytes, len(log)) == ({}, set(), [], 0, 0)
    assert list(log.partitions[0].chain) == []


def test_sequence_numbers_go_on_after_a_reset() -> None:
    log = filled(3)
    log.reset(0, "e2", (9, 9))
    log.extend([Source().entry(10)], now_ms=10)
    assert (log.base, log.head) == (4, 4)


def test_a_segment_that_is_gone_leaves_the_index() -> None:
    log = filled(5_000, max_entries=100)
    for _ in range(3):
        log.due("default", {"all": 0}, 0)
    assert len(log._segments) == 1
    assert log.due("default", {"all": 0}, 0) == list(range(4_901, 5_001))


def test_what_nobody_asks_for_is_not_indexed() -> None:
    log = filled(5_000)
    assert log._segments == {}
    assert log.due("default", {"all": 4_990}, 0) == list(range(4_991, 5_001))
    assert set(log._segments) == {1}


def test_the_ring_is_compacted() -> None:
    assert len(filled(5_000, max_entries=100)._entries) <= 100 + 1_025


def test_newest_entry_is_kept_however_large() -> None:
    log = log_of(max_bytes=10)
    log.extend([Source().entry(data="x" * 1000)], now_ms=1)
    assert len(log) == 1


def test_time_is_the_logs_own_where_it_lags_behind_the_clock() -> None:
    assert len(filled(10, retention_ms=5)) == 6
    log = log_of(retention_ms=5)
    source = Source()
    log.extend([source.entry(ms) for ms in range(1, 11)], now_ms=1_000_000)
    assert len(log) == 6


def test_id_of_the_future_does_not_empty_the_log() -> None:
    log = log_of(retention_ms=5)
    source = Source()
    log.extend([source.entry(10), source.entry(1_000_000)], now_ms=12)
    assert len(log) == 2


@pytest.mark.parametrize(
    ("held", "after", "due"),
    [
        ({"all": 0}, 0, [1, 2, 3]),
        ({"all": 2}, 0, [3]),
        ({"all": 0}, 2, [3]),
        ({"all": 3}, 0, []),
        ({"user:1": 0}, 0, []),
        ({}, 0, []),
    ],
)
def test_due_is_what_comes_after_both(held: dict[str, int], after: int, due: list[int]) -> None:
    assert filled(3).due("default", held, after) == due


def test_reset_forgets_no_position_that_was_read() -> None:
    log = log_of(2)
    log.partitions[1].last = (9, 0)  # the consumer skipped what it could not decode
    log.reset(0, "e2", (0, 0))
    assert log.partitions[1].floor == (9, 0)


# Cursors


def test_cursor_at_the_head_is_found_there() -> None:
    log = filled(3)
    assert log.cursor_at(log.head) == "3-0.0.e10"
    assert log.locate("3-0.0.e10") == Found(3)


def test_cursor_between_two_entries_is_found_between_them() -> None:
    assert filled(3).locate("1-7.0.e10") == Found(1)


def test_cursor_of_an_empty_log_is_found() -> None:
    log = log_of(2)
    assert log.locate(log.cursor_at(0)) == Found(0)


def test_cursor_older_than_memory_says_from_where() -> None:
    log = filled(10, max_entries=3)
    assert log.locate("4-0.0.e10") == Older({0: (4, 0)}, Found(7))


def test_cursor_at_the_floor_is_not_older() -> None:
    assert filled(10, max_entries=3).locate("7-0.0.e10") == Found(7)


def test_cursor_of_an_instance_that_has_read_further_is_ahead() -> None:
    assert filled(3).locate("3-1.0.e10") == Ahead(Found(3))


def test_cursor_that_is_ahead_in_one_partition_misses_nothing_of_the_others() -> None:
    log = log_of(2)
    log.extend([Source(0).entry(1)], now_ms=1)
    log.extend([Source(1).entry(1)], now_ms=1)
    assert log.locate("5-0.0.e10,0-0.1.e11") == Ahead(Found(1))


def test_position_past_poison_is_kept() -> None:
    log = filled(3)
    log.partitions[0].last = (9, 0)  # the consumer skipped what it could not decode
    assert log.locate("9-0.0.e10") == Found(3)
    assert log.cursor_at(3) == "9-0.0.e10"


def test_the_same_cursor_is_looked_for_again_when_anything_has_changed() -> None:
    source, log = Source(), log_of(max_entries=3)
    found = []

    def ask() -> None:
        found.append([log.locate("2-0.0.e10"), log.locate("2-0.0.e10")])

    ask()
    for now_ms in range(1, 6):
        log.extend([source.entry()], now_ms=now_ms)
        ask()
    log.reset(0, "e10", (9, 0))
    ask()
    log.reset(0, "e2", (9, 0))
    ask()
    assert [first for first, _ in found] == [
        *(Ahead(Found(0)), Ahead(Found(1)), Found(2), Found(2), Found(2), Found(2)),
        *(Older({0: (2, 0)}, Found(5)), Unknown("epoch")),
    ]
    assert [again for _, again in found] == [first for first, _ in found]


def test_the_same_cursor_is_no_longer_ahead_when_the_log_was_read_past_it() -> None:
    log = filled(3)
    assert log.locate("7-0.0.e10") == Ahead(Found(3))
    log.partitions[0].last = (9, 0)  # the consumer skipped what it could not decode
    assert log.locate("7-0.0.e10") == Found(3)


def test_the_same_cursor_stands_elsewhere_after_a_reset_to_where_the_log_was_before() -> None:
    log = log_of()
    assert log.locate("0-0.0.e10") == Found(0)
    log.extend([Source().entry()], now_ms=1)
    log.reset(0, "e10", (0, 0))
    assert log.locate("0-0.0.e10") == Found(1)


def test_a_reset_of_another_partition_changes_where_the_same_cursor_stands() -> None:
    log = log_of(2)
    log.partitions[1].last = (9, 0)  # of what the consumer skipped
    cursor = "0-0.0.e10,5-0.1.e11"
    assert log.locate(cursor) == Found(0)
    log.reset(0, "e10", (0, 0))
    assert log.locate(cursor) == Older({1: (5, 0)}, Found(0))


@pytest.mark.parametrize("cursor", ["1-0.0.e2", "1-0.0.e10,1-0.1.e2", "1-0.0.e11"])
def test_cursor_of_another_epoch_is_unknown(cursor: str) -> None:
    assert log_of(2).locate(cursor) == Unknown("epoch")


def test_cursor_of_before_a_reset_is_unknown_after_it() -> None:
    log = filled(3)
    cursor = log.cursor_at(3)
    log.reset(0, "e2", (3, 0))
    assert log.locate(cursor) == Unknown("epoch")


def test_cursor_of_a_partition_that_is_not_there_is_unknown() -> None:
    assert log_of(2).locate("1-0.2.e12") == Unknown("unknown_cursor")


@pytest.mark.parametrize(
    "text", ["", ",", "1-0", "1-0.0.e10,", "x", "-1-0.0.e10", "1-0.0.e10 ", "1-0.0.", "\u0661-0.0.e10"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        log_of().locate(text)


def test_reset_of_one_partition_keeps_cursors_of_the_others() -> None:
    log = log_of(2)
    log.extend([Source(1).entry(5)], now_ms=5)
    log.reset(0, "e2", (0, 0))
    assert log.locate("0-0.0.e2,5-0.1.e11") == Found(1)
    assert log.locate("0-0.0.e2,4-0.1.e11") == Older({1: (4, 0)}, Found(1))


@pytest.mark.parametrize(("lag_ms", "replayed_too"), [(MARGIN_MS - 1, True), (MARGIN_MS, False)])
def test_id_of_one_push_replays_the_other_partitions_from_the_margin_on(lag_ms: int, replayed_too: bool) -> None:
    log = log_of(2)
    pushed = Source(0).entry(10_000)
    log.extend([pushed], now_ms=10_000)
    log.extend([Source(1).entry(10_000 - lag_ms)], now_ms=10_000)
    where = log.locate(id_of(pushed))
    assert isinstance(where, Found)
    assert (2 in replayed(log, where)) is replayed_too


def test_vector_cursor_tells_apart_what_was_seen_of_each_partition() -> None:
    log = log_of(2)
    zero, one = Source(0), Source(1)
    log.extend([zero.entry(1), zero.entry(2)], now_ms=2)
    log.extend([one.entry(1), one.entry(2)], now_ms=2)
    where = log.locate("1-0.0.e10,1-0.1.e11")
    assert where == Found(1, frozenset({3}))


# Finding


@pytest.mark.parametrize(("entry_id", "found"), [(b"2-0", True), (b"2-1", False), (b"9-0", False), (b"0-0", False)])
def test_entry_is_found_by_its_id(entry_id: bytes, found: bool) -> None:
    assert (filled(3).find(entry_id, 0) is not None) is found


def test_evicted_entry_is_not_found() -> None:
    assert filled(10, max_entries=3).find(b"7-0", 0) is None


# Who may see what


def one_entry(**options: object) -> Log:
    log = log_of()
    log.extend([Source().entry(1, **options)], now_ms=1)
    return log


@pytest.mark.parametrize(
    ("options", "now_ms", "lagging", "admitted"),
    [
        ({}, 9, True, True),
        ({"exclude": "user:1"}, 9, False, False),
        ({"exclude": "user:2"}, 9, False, True),
        ({"expires_at": 9}, 8, False, True),
        ({"expires_at": 9}, 9, False, False),
        ({"priority": "low"}, 9, False, True),
        ({"priority": "low"}, 9, True, False),
        ({"collapse": "k"}, 9, True, True),
    ],
)
def test_admission(options: dict[str, object], now_ms: int, lagging: bool, admitted: bool) -> None:
    log = one_entry(**options)
    assert bool(log.admissible([1], {"all": 0, "user:1": 0}, now_ms, lagging=lagging)) is admitted


def test_admitted_entries_keep_their_order() -> None:
    log = filled(5)
    log.extend([Source().entry(6, priority="low")], now_ms=6)
    assert [e.seq for e in log.admissible([1, 4, 6], {"all": 0}, 6, lagging=True)] == [1, 4]


def test_order_is_never_due() -> None:
    assert one_entry(kind=b"control").due("default", {"all": 0}, 0) == []


# Collapse


def collapsing(*specs: dict[str, object]) -> Log:
    log = log_of()
    source = Source()
    log.extend([source.entry(**spec) for spec in specs], now_ms=1)
    return log


K1, K2 = {"collapse": "k1"}, {"collapse": "k2"}


@pytest.mark.parametrize(
    ("specs", "kept"),
    [
        ([{}, {}], [1, 2]),
        ([K1, {}, K1], [2, 3]),
        ([K1, K2, K1, K2], [3, 4]),
        ([K1, {**K1, "exclude": "user:1"}], [1]),
        ([K1, {**K1, "expires_at": 5}], [1]),
        ([{**K1, "expires_at": 5}, K1], [2]),
    ],
)
def test_only_the_newest_admissible_entry_of_a_key_is_kept(specs: list[dict[str, object]], kept: list[int]) -> None:
    log = collapsing(*specs)
    seqs = log.collapsed(list(range(1, len(specs) + 1)), {"all": 0, "user:1": 0}, now_ms=5)
    assert [entry.seq for entry in log.admissible(seqs, {"all": 0, "user:1": 0}, 5, lagging=False)] == kept


def test_newest_of_each_key_works_on_entries_that_are_not_in_memory() -> None:
    source = Source()
    entries = [source.entry(**spec) for spec in (K1, {}, K2, K1)]
    assert newest_of_each_key(entries) == entries[1:]


@pytest.mark.parametrize("released", [0, 3, 8])
def test_the_entries_of_an_address_come_newest_first(released: int) -> None:
    with mock.patch("gateway.log._SEGMENT", SEGMENT):
        log = log_of(max_entries=20 - released)
        source = Source()
        for number in range(20):
            to = "group:a" if number % 3 else "group:b"
            log.extend([source.entry(to=to, tenant="default" if number % 2 else "acme")], now_ms=number)
        wanted = [seq for seq in range(20, released, -1) if (seq - 1) % 3 and (seq - 1) % 2]
        assert [entry.seq for entry in log.newest_first("default", "group:a")] == wanted
        assert list(log.newest_first("nobody", "group:a")) == list(log.newest_first("acme", "user:1")) == []


def test_an_empty_log_has_nothing_of_an_address() -> None:
    assert list(log_of().newest_first("default", "all")) == []
    log = filled(3)
    log.reset(0, "e2", (5, 0))
    assert list(log.newest_first("default", "all")) == []


def test_what_is_forgotten_takes_no_memory_from_then_on() -> None:
    log = log_of(max_entries=2)
    source = Source()
    old = source.entry()
    log.extend([old, source.entry()], 0)
    held = sys.getrefcount(old)
    log.extend([source.entry()], 0)
    assert sys.getrefcount(old) == held - 1


def test_what_left_memory_between_two_looks_is_not_taken_from_the_other_end() -> None:
    log = log_of(max_entries=5)
    source = Source()
    log.extend([source.entry() for _ in range(5)], 0)
    assert log.due("default", {"all": 0}, 0) == [1, 2, 3, 4, 5]
    with mock.patch("gateway.log._COMPACT_AFTER", 0):
        log.extend([source.entry() for _ in range(3)], 0)
        log.extend([source.entry() for _ in range(5)], 0)
    assert log.due("default", {"all": 0}, 0) == [9, 10, 11, 12, 13]


# Where an id stands


def test_sequence_of_an_id_is_that_of_the_last_entry_up_to_it() -> None:
    log = Log(partitions=2, retention_ms=10**12, max_entries=3, max_bytes=10**12)
    for partition in (0, 1):
        log.reset(partition, EPOCH, (0, 0))
    for partition, ms in ((0, 10), (1, 15), (0, 20), (0, 30)):
        log.extend([Source(partition).entry(ms)], 0)
    # Memory holds 2 to 4: of partition 0 the ids 20 and 30.
    assert [log.sequence_of(0, (ms, 0)) for ms in (0, 10, 15, 20, 29, 30)] == [0, 0, 0, 3, 3, 4]
    assert log.sequence_of(0, (30, 1)) is None
    assert [log.sequence_of(1, (ms, 0)) for ms in (14, 15)] == [0, 2]
    assert log.sequence_of(1, (16, 0)) is None
