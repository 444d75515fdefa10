"""
An entry of the log as the gateway holds it: routing fields decoded, payload as the bytes that came.

Knows nothing of Redis connections, sockets or frames: `decoder` makes entries, and the two frame slots are filled by
`wire`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from publisher import event as fields_of

EntryId = tuple[int, int]
"""The two halves of a Redis stream entry id; ordered as Redis orders them."""

RawEntry = tuple[bytes, list[bytes]]
"""An entry as Redis sends it: its id, and its fields and values alternating."""

_NEVER_REPLAYED = {fields_of.KIND_CONTROL, fields_of.KIND_EPHEMERAL}

# Measured: the objects of an entry; and, per address, its string, its chain and its slots.
_OVERHEAD = 330
_OVERHEAD_PER_ADDRESS = 170


@dataclass(frozen=True, slots=True)
class Options:
    """
    What an entry carries beyond the required fields; most entries have none.

    Attributes:
        exclude: Addresses whose connections do not receive it.
        kind: One of the publisher's `KIND_` constants.
        expires_at: ms since 1970, or None.
        low: Among the first that a lagging socket goes without.
        collapse: A lagging socket receives only the newest of this key.
        receipt: Its publisher wants to know what becomes of it.
        trace: The `traceparent` of the trace that it belongs to, or None.
    """

    exclude: tuple[str, ...]
    kind: bytes
    expires_at: int | None
    low: bool
    collapse: bytes | None
    receipt: bool = False
    trace: bytes | None = None

    @property
    def control(self) -> bool:
        """It is an order to the gateways, not a push."""
        return self.kind == fields_of.KIND_CONTROL

    @property
    def kept(self) -> bool:
        """Whether a replay may show it."""
        return self.kind not in _NEVER_REPLAYED

    def expired(self, now_ms: int) -> bool:
        """Tell whether nobody should receive it any more."""
        return self.expires_at is not None and self.expires_at <= now_ms


class Entry:
    """
    One event.

    Attributes:
        seq: Its place in this instance's log, set by `Log`. Consecutive.
        id: The stream entry id as Redis wrote it.
        partition: The stream it came from.
        tenant, to: Whom it addresses.
        event, message_id, data: The payload, not yet checked: `wire` does when it makes a frame.
        options: The rest, or None.
        frame: The finished WebSocket frame; None until somebody wants it, empty when nobody may have it, because its
            payload is poison or was recalled.
        deflated: The same, compressed.
    """

    __slots__ = (
        "data",
        "deflated",
        "event",
        "frame",
        "id",
        "message_id",
        "options",
        "partition",
        "seq",
        "tenant",
        "to",
    )

    def __init__(
        self,
        entry_id: bytes,
        partition: int,
        tenant: str,
        to: tuple[str, ...],
        event: bytes,
        message_id: bytes,
        data: bytes,
        options: Options | None,
    ) -> None:
        self.seq = 0
        self.id = entry_id
        self.partition = partition
        self.tenant = tenant
        self.to = to
        self.event = event
        self.message_id = message_id
        self.data = data
        self.options = options
        self.frame: bytes | None = None
        self.deflated: bytes | None = None

    @property
    def position(self) -> EntryId:
        """The id as two integers."""
        return split_id(self.id)

    def excludes(self, addresses: Mapping[str, int]) -> bool:
        """Tell whether one of `addresses` is excluded."""
        return self.options is not None and any(address in addresses for address in self.options.exclude)


Packed = tuple[int, bytes, str, bytes, bytes, bytes, bytes]
"""
An entry for one address that nobody here had when it came: checked, but not decoded. Its partition, id, tenant,
audience, event, message id and data. A bare tuple, because this is most of what an instance of many reads: it is made
faster than an `Entry`, takes less, and the garbage collector looks at it once.
"""

_DATA: Final[Any] = itemgetter(6)

Item = Entry | Packed


def unpack(packed: Packed) -> Entry:
    """Decode the rest."""
    partition, entry_id, tenant, to, event, message_id, data = packed
    return Entry(entry_id, partition, tenant, (one_address(to),), event, message_id, data, None)


def one_address(raw: bytes) -> str:
    """Return the address in a packed entry's audience."""
    return raw[2:-2].decode("ascii")


def audience_of(item: Item) -> tuple[str, tuple[str, ...]]:
    """Return tenant and addresses."""
    return (item[2], (one_address(item[3]),)) if isinstance(item, tuple) else (item.tenant, item.to)


def partition_of(item: Item) -> int:
    """Return the stream it came from."""
    return item[0] if isinstance(item, tuple) else item.partition


def position_of(item: Item) -> EntryId:
    """Return its id as two integers."""
    return split_id(item[1] if isinstance(item, tuple) else item.id)


def are_packed(items: Sequence[Item]) -> bool:
    """Tell whether all items are packed, and so wanted by nobody, without a look at each one."""
    return set(map(type, items)) == {tuple}


def footprint_of(items: Sequence[Item]) -> int:
    """Return how many bytes of memory items take, roughly, their frames included."""
    if are_packed(items):
        return footprint(len(items), len(items), sum(map(len, map(_DATA, items))))
    entries = addresses = data_bytes = 0
    for item in items:
        entries += 1
        if isinstance(item, tuple):
            addresses += 1
            data_bytes += len(item[6])
        else:
            addresses += len(item.to)
            data_bytes += len(item.data)
    return footprint(entries, addresses, data_bytes)


def footprint(entries: int, addresses: int, data_bytes: int) -> int:
    """Return how much memory entries take together: objects, index, data, and the frames made of it."""
    return _OVERHEAD * entries + _OVERHEAD_PER_ADDRESS * addresses + 2 * data_bytes


def split_id(entry_id: bytes) -> EntryId:
    """Return `b"<ms>-<n>"` as two integers."""
    ms, _, n = entry_id.partition(b"-")
    return int(ms), int(n)


def join_id(position: EntryId) -> bytes:
    """Return a position as Redis writes it."""
    return b"%d-%d" % position
