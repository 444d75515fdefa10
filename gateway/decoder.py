"""
The decoder: from an entry as Redis sends it to an entry as the gateway holds it, or to the news that it is poison.

Responsible for reading what `publisher.event` writes.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from itertools import repeat
from typing import Any

import orjson

from gateway.entry import Entry, Item, Options, Packed, RawEntry, one_address
from gateway.errors import PoisonEntry
from publisher import event as fields_of
from publisher.address import ALL, KINDS, MAX_NAME_LENGTH, is_address, is_tenant
from publisher.trace import is_traceparent

# The names of an entry without options, in the order the publisher writes them.
_PLAIN = list(fields_of.REQUIRED)
_PLAIN_LENGTH = 2 * len(_PLAIN)

# The JSON of a list with one address, in ASCII and without escapes.
_ADDRESS = rf"{ALL}|(?:{'|'.join(KINDS)}):[ !#-\[\]-~]{{1,{MAX_NAME_LENGTH}}}"
_ONE_ADDRESS = re.compile(rf'\["(?:{_ADDRESS})"\]'.encode()).fullmatch
_ADDRESS_LINES = re.compile(rf'\["({_ADDRESS})"\]\n').findall
_AROUND_ADDRESS = len('[""]\n')

_WORTH_COLUMNS = 8
_MAX_CACHED = 8_192


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

    def decode_all(self, raw: Sequence[RawEntry], wanted: Mapping[str, Container[str]] | None = None) -> list[Item]:
        """
        Decode what one read brought.

        The hot path: an entry without options, whose audience and tenant are known, costs no call but its own making.

        Args:
            wanted: Tenant → addresses that somebody here has. What is for one other address is left packed, if it has
                no options. None: nothing is.

        Raises:
            PoisonEntry: One of them cannot be delivered; see `decode`.
        """
        if wanted is not None and len(raw) >= _WORTH_COLUMNS and not self._is_familiar(raw[0][1]):
            packed = self._pack_all(raw)
            if packed is not None:
                return self._with_wanted(*packed, wanted)
        return self._decode_each(raw, wanted)

    def _is_familiar(self, fields: list[bytes]) -> bool:
        """Tell whether an entry is for those that others were for, as most are where what is read is wanted here."""
        return len(fields) < _PLAIN_LENGTH or fields[5] in self._audiences

    def _pack_all(self, raw: Sequence[RawEntry]) -> tuple[list[Packed], list[str]] | None:
        """
        Pack a read and return it with its addresses, if each entry is plain and for one address.

        Column by column, which is faster than entry by entry: some calls for all of them, each a loop in C.
        """
        count = len(raw)
        columns: Any
        ids, columns = zip(*raw, strict=True)
        if set(map(len, columns)) != {_PLAIN_LENGTH}:
            return None
        columns = list(zip(*columns, strict=True))
        if any(names.count(name) != count for names, name in zip(columns[::2], _PLAIN, strict=True)):
            return None
        versions, raw_tenants, audiences, events, message_ids, data = columns[1::2]
        tenants = list(map(self._tenants.get, raw_tenants))
        if versions.count(fields_of.VERSION) != count or None in tenants:
            return None
        lines = b"\n".join((*audiences, b"")).decode("latin-1")
        addresses = _ADDRESS_LINES(lines)
        if len(addresses) != count or sum(map(len, addresses)) + _AROUND_ADDRESS * count != len(lines):
            return None  # something is not an address
        return list(zip(repeat(self._partition), ids, tenants, audiences, events, message_ids, data)), addresses

    def _with_wanted(
        self, packed: list[Packed], addresses: list[str], wanted: Mapping[str, Container[str]]
    ) -> list[Item]:
        """Decode those of the packed that somebody wants."""
        items: list[Item] = [*packed]
        for at, (item, address) in enumerate(zip(packed, addresses, strict=True)):
            if address in wanted.get(item[2], ()):
                partition, entry_id, tenant, to, event, message_id, data = item
                audience = self._audiences.get(to) or self._audience(entry_id, to)
                items[at] = Entry(entry_id, partition, tenant, audience, event, message_id, data, None)
        return items

    def _decode_each(self, raw: Sequence[RawEntry], wanted: Mapping[str, Container[str]] | None) -> list[Item]:
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
                            and one_address(to) not in wanted.get(name, ())
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
            audience = self._audiences[raw] = (one_address(raw),)
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
        if kind not in fields_of.ALL_KINDS:  # of a version to come: it may be an order, which no client may see
            raise PoisonEntry(entry_id, "its kind is not one that this version knows")
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


def _named(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return values by name, of two of a name the first."""
    return dict(reversed(list(zip(fields[::2], fields[1::2], strict=False))))


_NO_OPTIONS = Options(exclude=(), kind=fields_of.KIND_EVENT, expires_at=None, low=False, collapse=None)
