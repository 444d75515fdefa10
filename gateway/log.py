"""
The log in memory: this instance's replica of the recent past.

A ring of entries in the order in which this instance read them, with an index by address and, per partition, the
knowledge of what is missing. A resume, a join with `since` and a slow socket that catches up are all served from
here. Pure: no clock, no I/O; frames are not its business.

Sequence numbers count the entries that this instance has read and mean nothing elsewhere. For the world outside
there are cursors (`publisher.cursor`), which `locate` and `cursor_at` translate.

The index holds, per address, the ascending sequence numbers of its entries (a *chain*). It is cut into segments of a
few thousand entries, and a segment is indexed when the first replay looks into it: most never are, and what nobody
here wants costs no more than its place in the ring. A replay is one bisect and one slice per segment and address.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from gateway.entry import (
    Entry,
    EntryId,
    Item,
    Packed,
    are_packed,
    audience_of,
    footprint,
    footprint_of,
    partition_of,
    position_of,
    split_id,
    unpack,
)
from gateway.filters import Sieve
from gateway.outcomes import COLLAPSED, EXPIRED, LOW, Outcomes
from publisher.cursor import Cursor

Chain = list[int]

_CROSS_PARTITION_MARGIN_MS = 5_000
_SEGMENT: Final = 4_096  # indexed in a few ms; and a replay of a whole memory looks into some dozens
_COMPACT_AFTER = 1_024
_GONE: Final[Packed] = (0, b"", "", b"", b"", b"", b"")  # in the place of an entry that is forgotten


@dataclass(slots=True)
class Partition:
    """
    What is known of one stream.

    Attributes:
        epoch: Its incarnation.
        last: Id of the newest entry read.
        floor: Everything after this id, up to `last`, is in memory.
        chain: Ascending sequence numbers of its entries in memory; a range where no other partition's are between.
    """

    epoch: str = ""
    last: EntryId = (0, 0)
    floor: EntryId = (0, 0)
    chain: list[int] | range = range(0)

    def append(self, first: int, last: int) -> None:
        """Add the entries numbered from `first` to `last`."""
        chain = self.chain
        if not chain:
            self.chain = range(first, last + 1)
        elif isinstance(chain, range) and chain[-1] == first - 1:
            self.chain = range(chain[0], last + 1)
        else:
            numbers = list(chain) if isinstance(chain, range) else chain
            numbers += range(first, last + 1)
            self.chain = numbers

    def release(self, count: int) -> None:
        """Forget the first `count` of its entries."""
        if isinstance(self.chain, range):
            self.chain = self.chain[count:]
        else:
            del self.chain[:count]


@dataclass(slots=True)
class _Segment:
    """The index of some consecutive entries: tenant → address → chain, of the entries up to number `until`."""

    until: int
    tenants: dict[str, dict[str, Chain]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A cursor whose sequel is all in memory: replay what follows `after`, without `seen`."""

    after: int
    seen: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Older:
    """A cursor older than memory: per partition, what lies between `start` (exclusive) and the floor is missing."""

    starts: dict[int, EntryId]
    found: Found


@dataclass(frozen=True, slots=True)
class Ahead:
    """A cursor of an instance that has read further than this one: wait for it. `found` is what is here already."""

    found: Found


@dataclass(frozen=True, slots=True)
class Unknown:
    """A cursor of another log; `reason` is what a `resync` tells the client."""

    reason: str


class Log:
    """
    The ring of recent entries.

    Attributes:
        head: Sequence number of the newest entry; 0 while there is none.
        base: Sequence number of the oldest entry in memory; `head + 1` while there is none.
        partitions: One state per stream.
        outcomes: What became of the entries.
        sieve: Judges them by filters.
    """

    def __init__(self, *, partitions: int, retention_ms: int, max_entries: int, max_bytes: int) -> None:
        self.head = 0
        self.base = 1
        self.partitions = [Partition() for _ in range(partitions)]
        self.outcomes = Outcomes()
        self.sieve = Sieve()
        self._retention_ms = retention_ms
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: list[Item] = []  # packed until somebody wants them
        self._offset = 1  # sequence number of self._entries[0]
        self._segments: dict[int, _Segment] = {}  # by number, those that somebody has looked into
        self._optional: set[int] = set()  # those with options, which a replay must look at one by one
        self._asked: object = None  # what `locate` was asked last, and of which state
        self._answer: Found | Older | Ahead | Unknown

    def __len__(self) -> int:
        return self.head - self.base + 1

    @property
    def size_bytes(self) -> int:
        """Memory that the entries take, roughly."""
        return self._bytes

    def entry(self, seq: int) -> Entry:
        """Return an entry in memory (`base` ≤ seq ≤ `head`)."""
        item = self._entries[seq - self._offset]
        if isinstance(item, tuple):
            item = self._entries[seq - self._offset] = unpack(item)
            item.seq = seq
        return item

    def _position(self, seq: int) -> EntryId:
        """Return the id of an entry in memory, which need not be unpacked for that."""
        return position_of(self._entries[seq - self._offset])

    # What the consumer does.

    def extend(self, entries: Sequence[Item], now_ms: int) -> bool:
        """
        Append entries of one partition, in ascending order of id, and let go of what is too old or too much.

        Returns:
            Whether any of them is decoded: whether somebody may want it.
        """
        if not entries:
            return False
        partition = self.partitions[partition_of(entries[0])]
        decoded = not are_packed(entries)
        if decoded:
            self._number(entries, partition.epoch)
        last = self.head + len(entries)
        partition.append(self.head + 1, last)
        partition.last = position_of(entries[-1])
        self._entries.extend(entries)
        self.head = last
        self._bytes += footprint_of(entries)
        self._evict(now_ms)
        return decoded

    def _number(self, entries: Sequence[Item], epoch: str) -> None:
        """Give those that are decoded their place, and note what their options ask for."""
        for seq, entry in enumerate(entries, self.head + 1):
            if isinstance(entry, tuple):
                continue
            entry.seq = seq
            if entry.options is not None:
                if entry.options.kept:
                    self._optional.add(seq)
                if entry.options.receipt:
                    self.outcomes.receipts.begin(entry, epoch)

    def reset(self, partition: int, epoch: str, floor: EntryId) -> None:
        """
        Begin anew: what was known of this partition belongs to another log, or has a hole.

        Every entry goes, those of other partitions too: sequence numbers cannot have gaps. Their floors rise.
        """
        self._release(self.head + 1)
        self._segments.clear()
        for state in self.partitions:
            state.floor = state.last
        self.partitions[partition].epoch = epoch
        self.partitions[partition].floor = self.partitions[partition].last = floor

    def _evict(self, now_ms: int) -> None:
        """Let go of the oldest entries while there are too many, too much, or too old ones."""
        first = max(self.base, self.head + 1 - self._max_entries)
        taken = self._bytes
        if taken > self._max_bytes:
            first = self.base
            while first < self.head and (self.head - first >= self._max_entries or taken > self._max_bytes):
                taken -= footprint_of((self._entries[first - self._offset],))
                first += 1
        # By the log's own clock where it lags behind ours, so that a warm start keeps what the stream had kept.
        horizon = min(position_of(self._entries[-1])[0], now_ms) - self._retention_ms
        while first < self.head and self._position(first)[0] < horizon:
            first += 1
        if first > self.base:
            self._release(first)

    def _release(self, first: int) -> None:
        """Forget every entry before `first`."""
        released = self._entries[self.base - self._offset : first - self._offset]
        for entry in released:
            if not isinstance(entry, tuple) and entry.options is not None:
                self._optional.discard(entry.seq)
        for partition in self.partitions:
            count = bisect_left(partition.chain, first)
            if count:
                partition.floor = self._position(partition.chain[count - 1])
                partition.release(count)
        for number in range(self.base // _SEGMENT, first // _SEGMENT):
            self._segments.pop(number, None)
        self._entries[self.base - self._offset : first - self._offset] = [_GONE] * len(released)
        self.base = first
        self._bytes -= footprint_of(released)
        stale = first - self._offset
        if stale > _COMPACT_AFTER or first > self.head:
            del self._entries[:stale]
            self._offset = first

    # What a replay does.

    def due(self, tenant: str, addresses: Mapping[str, int], after: int) -> list[int]:
        """
        Return the ascending sequence numbers, beyond `after`, of the entries that `addresses` select.

        Args:
            addresses: Address → sequence number up to which its entries are not meant for the caller.
        """
        start = max(after, self.base - 1, min(addresses.values(), default=self.head))
        found = []
        for number in range((start + 1) // _SEGMENT, self.head // _SEGMENT + 1):
            index = self._segment(number).get(tenant)
            if index is None:
                continue
            for address, since in addresses.items():
                chain = index.get(address)
                if chain and chain[-1] > start and chain[-1] > since:
                    found.append(chain[bisect_right(chain, max(start, since)) :])
        if len(found) == 1:
            return found[0]
        return sorted(set().union(*found))

    def _segment(self, number: int) -> dict[str, dict[str, Chain]]:
        """Return the index of a segment, tenant → address → chain, made or completed now."""
        segment = self._segments.get(number)
        if segment is None:
            segment = self._segments[number] = _Segment(max(self.base, number * _SEGMENT) - 1)
        last = min(self.head, (number + 1) * _SEGMENT - 1)
        if segment.until < last:
            self._index(segment, last)
        return segment.tenants

    def _index(self, segment: _Segment, last: int) -> None:
        """Add what a segment lacks, up to number `last`."""
        tenants = segment.tenants
        # What it lacked may be gone: an index below 0 would count from the end.
        first = max(segment.until + 1, self.base)
        seq = first - 1
        for entry in self._entries[first - self._offset : last + 1 - self._offset]:
            seq += 1
            if not isinstance(entry, tuple) and entry.options is not None and not entry.options.kept:
                continue
            tenant, to = audience_of(entry)
            index = tenants.get(tenant)
            if index is None:
                index = tenants[tenant] = {}
            for address in to:
                if address in index:
                    index[address].append(seq)
                else:
                    index[address] = [seq]
        segment.until = last

    def admissible(
        self,
        seqs: Iterable[int],
        addresses: Mapping[str, int],
        now_ms: int,
        *,
        lagging: bool,
        wants: Callable[[Entry], bool] | None = None,
    ) -> list[Entry]:
        """
        Return the entries of `seqs` in order, without those that this receiver must not or need not see.

        Dropped: excluded ones, expired ones, `low` ones while `lagging`, and those that it does not want.
        """
        optional = self._optional
        admitted = []
        for seq in seqs:
            entry = self.entry(seq)
            if seq in optional:
                options = entry.options
                assert options is not None  # noqa: S101 - that is what `_optional` means
                if (lagging and options.low) or options.expired(now_ms) or entry.excludes(addresses):
                    continue
            if wants is None or wants(entry):
                admitted.append(entry)
        return admitted

    def refusal(self, seq: int, addresses: Mapping[str, int], now_ms: int, *, lagging: bool) -> str | None:
        """Return why `admissible` drops an entry although it is for the holder of `addresses`; None: it is not."""
        entry = self.entry(seq)
        options = entry.options
        if options is None or entry.excludes(addresses):
            return None
        if options.expired(now_ms):
            return EXPIRED
        if lagging and options.low:
            return LOW
        return COLLAPSED if options.collapse is not None else None

    def collapsed(
        self,
        seqs: list[int],
        addresses: Mapping[str, int],
        now_ms: int,
        wants: Callable[[Entry], bool] | None = None,
    ) -> list[int]:
        """Return `seqs` with only the newest admissible entry of each collapse key; the list itself if it has none."""
        if not self._optional or self._optional.isdisjoint(seqs):
            return seqs
        kept = []
        newest: set[bytes] = set()
        for seq in reversed(seqs):
            options = self.entry(seq).options
            if options is not None and options.collapse is not None:
                if options.collapse in newest or not self.admissible(
                    (seq,), addresses, now_ms, lagging=False, wants=wants
                ):
                    continue
                newest.add(options.collapse)
            kept.append(seq)
        kept.reverse()
        return kept

    def newest_first(self, tenant: str, address: str) -> Iterator[Entry]:
        """Yield the entries of an address, the newest first."""
        for number in range(self.head // _SEGMENT, self.base // _SEGMENT - 1, -1):
            for seq in reversed(self._segment(number).get(tenant, {}).get(address, ())):
                if seq < self.base:
                    return
                yield self.entry(seq)

    def redact(self, entry: Entry, data: bytes) -> None:
        """Replace the data of an entry in memory, and let nobody have it any more."""
        self._bytes -= footprint(0, 0, len(entry.data)) - footprint(0, 0, len(data))
        entry.data = data
        entry.frame = entry.deflated = b""

    # Cursors.

    def cursor_at(self, seq: int) -> str:
        """Return the cursor of a client that has everything up to `seq`: one part per partition, joined by commas."""
        positions = enumerate(zip(self.positions_at(seq), self.partitions, strict=True))
        return ",".join([_cursor_text(ms, n, number, state.epoch) for number, ((ms, n), state) in positions])

    def positions_at(self, seq: int) -> list[EntryId]:
        """Return, per partition, the id of the last entry up to `seq`; before memory, that of where memory begins."""
        if seq >= self.head:
            return [partition.last for partition in self.partitions]
        positions = []
        for partition in self.partitions:
            at = bisect_right(partition.chain, seq)
            positions.append(self._position(partition.chain[at - 1]) if at else partition.floor)
        return positions

    def sequence_of(self, partition: int, entry_id: EntryId) -> int | None:
        """Return the number of the last entry up to an id: 0 where that is before memory, None where it is to come."""
        state = self.partitions[partition]
        if entry_id <= state.floor:
            return 0
        if entry_id > state.last:
            return None
        at = bisect_right(state.chain, entry_id, key=self._position)
        return state.chain[at - 1] if at else 0

    def locate(self, text: str) -> Found | Older | Ahead | Unknown:
        """
        Find where a cursor stands.

        A cursor with parts for all partitions is exact. The id of one push names one partition only: the others are
        then replayed from its time less a margin, so that nothing is missed; clients drop what they have by id.

        Raises:
            ValueError: `text` is not a cursor.
        """
        asked = (text, self.head, [(p.epoch, p.floor, p.last) for p in self.partitions])
        if asked != self._asked:  # in a storm, many clients in a row bring the same
            self._asked, self._answer = asked, self._locate(text)
        return self._answer

    def _locate(self, text: str) -> Found | Older | Ahead | Unknown:
        cursors = _parts(text)
        for number, cursor in cursors.items():
            if number >= len(self.partitions):
                return Unknown("unknown_cursor")
            if cursor.epoch != self.partitions[number].epoch:
                return Unknown("epoch")
        return self.locate_positions(self.positions(text))

    def positions(self, text: str) -> list[EntryId]:
        """Return, per partition, the id after which a client with this cursor goes on."""
        cursors = _parts(text)
        oldest_ms = min(cursor.ms for cursor in cursors.values())
        margin = (max(0, oldest_ms - _CROSS_PARTITION_MARGIN_MS), 0)
        return [
            (cursors[number].ms, cursors[number].n) if number in cursors else min(margin, partition.last)
            for number, partition in enumerate(self.partitions)
        ]

    def locate_positions(self, positions: list[EntryId]) -> Found | Older | Ahead:
        """Find where a client stands that has, of each partition, everything up to one id."""
        older = {
            number: at
            for number, (at, state) in enumerate(zip(positions, self.partitions, strict=True))
            if at < state.floor
        }
        firsts = []  # per partition, the index in its chain of the first entry not yet seen
        for at, state in zip(positions, self.partitions, strict=True):
            firsts.append(bisect_right(state.chain, at, key=self._position))
        unseen = [
            state.chain[first] for first, state in zip(firsts, self.partitions, strict=True) if first < len(state.chain)
        ]
        after = min(unseen, default=self.head + 1) - 1
        seen = frozenset(
            seq
            for first, state in zip(firsts, self.partitions, strict=True)
            for seq in state.chain[bisect_right(state.chain, after) : first]
        )
        found = Found(after, seen)
        if any(at > state.last for at, state in zip(positions, self.partitions, strict=True)):
            return Ahead(found)
        return Older(older, found) if older else found

    def find(self, entry_id: bytes, partition: int) -> Entry | None:
        """Return the entry with this stream id, if it is in memory."""
        chain = self.partitions[partition].chain
        at = bisect_left(chain, split_id(entry_id), key=self._position)
        if at < len(chain) and self.entry(chain[at]).id == entry_id:
            return self.entry(chain[at])
        return None


@lru_cache(maxsize=256)
def _cursor_text(ms: int, n: int, partition: int, epoch: str) -> str:
    """Write one part of a cursor. Cached: in a storm all are given the same."""
    return str(Cursor(ms, n, partition, epoch))


def _parts(cursor: str) -> dict[int, Cursor]:
    return {part.partition: part for part in map(Cursor.parse, cursor.split(","))}


def newest_of_each_key(entries: list[Entry]) -> list[Entry]:
    """Return `entries` with only the last of each collapse key; for entries that are not in memory."""
    newest = {e.options.collapse: e for e in entries if e.options is not None and e.options.collapse is not None}
    return [e for e in entries if e.options is None or e.options.collapse is None or newest[e.options.collapse] is e]
