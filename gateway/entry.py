"""
An entry of the log as the gateway holds it: routing fields decoded, payload as the bytes that came.

Responsible for reading what `publisher.event` writes. Knows nothing of Redis connections, sockets or frames; the
two frame slots are filled by `wire`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from gateway.errors import PoisonEntry
from publisher import event as fields_of
from publisher.address import ALL, KINDS, MAX_NAME_LENGTH, is_address, is_tenant
from publisher.trace import is_traceparent

EntryId = tuple[int, int]
"""The two halves of a Redis stream entry id; ordered as Redis orders them."""

# The names of an entry without options, in the order the publisher writes them.
_PLAIN = list(fields_of.REQUIRED)
_PLAIN_LENGTH = 2 * len(_PLAIN)

# The JSON of a list with one address, in ASCII and without escapes.
_ONE_ADDRESS = re.compile(
    rf'\["(?:{ALL}|(?:{"|".join(KINDS)}):[ !#-\[\]-~]{{1,{MAX_NAME_LENGTH}}})"\]'.encode()
).fullmatch

_NEVER_REPLAYED = {fields_of.KIND_CONTROL, fields_of.KIND_EPHEMERAL}

_MAX_CACHED = 8_192
# Measured: the objects of an entry; and, per address, its string, its chain and its slots.
_OVERHEAD = 330
_OVERHEAD_PER_ADDRESS = 170


@dataclass(frozen=True, slots=True)
class Options:
    """
    What an entry carries beyond the required fields; most entries have none.

    Attributes:
        exclude: Addresses whose connections do not receive it.
        kind: One of the publisher's `KIND_` constants; one that this version does not know is a plain event.
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

Item = Entry | Packed


def unpack(packed: Packed) -> Entry:
    """Decode the rest."""
    partition, entry_id, tenant, to, event, message_id, data = packed
    return Entry(entry_id, partition, tenant, (_one_address(to),), event, message_id, data, None)


def audience_of(item: Item) -> tuple[str, tuple[str, ...]]:
    """Return tenant and addresses."""
    return (item[2], (_one_address(item[3]),)) if isinstance(item, tuple) else (item.tenant, item.to)


def partition_of(item: Item) -> int:
    """Return the stream it came from."""
    return item[0] if isinstance(item, tuple) else item.partition


def position_of(item: Item) -> EntryId:
    """Return its id as two integers."""
    return split_id(item[1] if isinstance(item, tuple) else item.id)


def footprint_of(items: Iterable[Item]) -> int:
    """Return how many bytes of memory items take, roughly, their frames included."""
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


class EntryDecoder:
    """
    Decodes the entries of one partition.

    The audience and the tenant of an event are usually ones that were seen before, so their decoded forms are
    cached: the strings are then shared by the whole log as well.
    """

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._audiences: dict[bytes, tuple[str, ...]] = {}
        self._tenants: dict[bytes, str] = {}
        self._said: dict[tuple[bytes, ...], Options | None] = {}  # the last options, by the fields that say them

    def decode_all(
        self, raw: Iterable[tuple[bytes, list[bytes]]], wanted: Mapping[str, Container[str]] | None = None
    ) -> list[Item]:
        """
        Decode what one read brought, (id, fields) each.

        The hot path: an entry without options, whose audience and tenant are known, costs no call but its own making.

        Args:
            wanted: Tenant → addresses that somebody here has. What is for one other address is left packed, if it has
                no options. None: nothing is.

        Raises:
            PoisonEntry: One of them cannot be delivered; see `decode`.
        """
        decode = self.decode
        audiences = self._audiences
        tenants = self._tenants
        partition = self._partition
        items: list[Item] = []
        for entry_id, fields in raw:
            if fields[:_PLAIN_LENGTH:2] == _PLAIN:
                _, version, _, tenant, _, to, _, event, _, message_id, _, data, *more = fields
                name = tenants.get(tenant)
                if name is not None and version == fields_of.VERSION:
                    options = self._more_options(entry_id, more) if more else None
                    addresses = audiences.get(to)
                    if addresses is None:
                        if (
                            options is None
                            and wanted is not None
                            and _ONE_ADDRESS(to) is not None
                            and _one_address(to) not in wanted.get(name, ())
                        ):
                            items.append((partition, entry_id, name, to, event, message_id, data))
                            continue
                        addresses = self._audience(entry_id, to)
                    items.append(Entry(entry_id, partition, name, addresses, event, message_id, data, options))
                    continue
            items.append(decode(entry_id, fields))
        return items

    def decode(self, entry_id: bytes, fields: Sequence[bytes]) -> Entry:
        """
        Decode one entry: `fields` are names and values, alternating, in any order. Of two of a name the first holds.

        Raises:
            PoisonEntry: It is not an event that this version can deliver.
        """
        named = _named(fields)
        try:
            version, tenant, to, event, message_id, data = [named[name] for name in _PLAIN]
        except KeyError as error:
            raise PoisonEntry(entry_id, f"field {error.args[0].decode()!r} is missing") from None
        if version != fields_of.VERSION:
            raise PoisonEntry(entry_id, "its version is not 1")
        options = self._options(entry_id, named)
        tenant_name = self._tenants.get(tenant) or self._tenant(entry_id, tenant)
        addresses = self._audiences.get(to) or self._audience(entry_id, to)
        return Entry(entry_id, self._partition, tenant_name, addresses, event, message_id, data, options)

    def _tenant(self, entry_id: bytes, raw: bytes) -> str:
        name = raw.decode("ascii", "replace")
        if not is_tenant(name):
            raise PoisonEntry(entry_id, "its tenant is not a tenant's name")
        if len(self._tenants) >= _MAX_CACHED:
            self._tenants.clear()
        self._tenants[raw] = name
        return name

    def _audience(self, entry_id: bytes, raw: bytes) -> tuple[str, ...]:
        if len(self._audiences) >= _MAX_CACHED:
            self._audiences.clear()
        if _ONE_ADDRESS(raw) is not None:  # most events are for one user, and most users are new to the cache
            audience = self._audiences[raw] = (_one_address(raw),)
            return audience
        try:
            addresses = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise PoisonEntry(entry_id, "its audience is not JSON") from None
        if not isinstance(addresses, list) or not all(map(is_address, addresses)):
            raise PoisonEntry(entry_id, "its audience is not a list of addresses")
        audience = tuple(dict.fromkeys(addresses))
        if len(audience) <= 100:  # a long list will hardly come twice
            self._audiences[raw] = audience
        return audience

    def _more_options(self, entry_id: bytes, more: list[bytes]) -> Options | None:
        """Return what stands behind the plain fields. Cached: what a client sends excludes that client, every time."""
        said = tuple(more)
        if said in self._said:
            return self._said[said]
        options = self._options(entry_id, _named(more))
        if options is None or (options.expires_at is None and options.trace is None):
            if len(self._said) >= _MAX_CACHED:
                self._said.clear()
            self._said[said] = options
        return options

    def _options(self, entry_id: bytes, named: Mapping[bytes, bytes]) -> Options | None:
        exclude = named.get(fields_of.F_EXCLUDE)
        expires = named.get(fields_of.F_EXPIRES)
        trace = named.get(fields_of.F_TRACE)
        kind = named.get(fields_of.F_KIND, fields_of.KIND_EVENT)
        if expires is not None and not (expires.isdigit() and len(expires) < 17):
            raise PoisonEntry(entry_id, "its expiry is not a number of ms")
        options = Options(
            exclude=self._audience(entry_id, exclude) if exclude is not None else (),
            kind=kind,
            expires_at=int(expires) if expires is not None else None,
            low=named.get(fields_of.F_PRIORITY) == fields_of.PRIORITY_LOW,
            collapse=named.get(fields_of.F_COLLAPSE),
            receipt=fields_of.F_RECEIPT in named,
            trace=trace if trace is not None and is_traceparent(trace) else None,
        )
        return None if options == _NO_OPTIONS else options


def _one_address(raw: bytes) -> str:
    """Return the address in what `_ONE_ADDRESS` matches."""
    return raw[2:-2].decode("ascii")


def _named(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return values by name, of two of a name the first."""
    return dict(reversed(list(zip(fields[::2], fields[1::2], strict=False))))


_NO_OPTIONS = Options(exclude=(), kind=fields_of.KIND_EVENT, expires_at=None, low=False, collapse=None)
