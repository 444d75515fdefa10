"""
IP addresses: what a peer is called, which network it is in, and who it is behind a proxy. Pure.

IPv4 in the clothes of IPv6 is IPv4. What counts per address counts IPv6 by its /64: that much is one customer's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, Generic, NamedTuple, TypeVar

V = TypeVar("V")

_MAX_TEXT: Final = 64
_MAX_HOPS: Final = 32
_BITS: Final = {4: 32, 6: 128}
_CUSTOMER_BITS: Final = 64
_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_DOTTED: Final = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}")


class Address(NamedTuple):
    """
    A peer's address. A tuple, because one is made for every connection.

    Attributes:
        text: As logs show it.
        key: What limits count by.
        version: 4 or 6; 0: it is not known.
        number: Its bits.
    """

    text: str
    key: str
    version: int
    number: int


UNKNOWN: Final = Address("", "", 0, 0)


@lru_cache(maxsize=8_192)
def parse_address(text: str) -> Address | None:
    """Return the address that a text is, or None where it is none. A zone (`fe80::1%eth0`) is left out."""
    dotted = _DOTTED.fullmatch(text)
    if dotted is not None:  # nearly all of them; six times as fast as `ipaddress`
        a, b, c, d = map(int, dotted.groups())
        return Address(text, text, 4, a << 24 | b << 16 | c << 8 | d)
    if len(text) > _MAX_TEXT:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            number = int(address)
            customer = ipaddress.IPv6Address(number >> _CUSTOMER_BITS << _CUSTOMER_BITS)
            return Address(str(address), f"{customer}/{_CUSTOMER_BITS}", 6, number)
        address = address.ipv4_mapped
    return Address(str(address), str(address), 4, int(address))


class Networks(Generic[V]):
    """CIDR networks with a value each; a look-up costs a dict's per prefix length in use."""

    def __init__(self, networks: Iterable[tuple[str, V]] = ()) -> None:
        self._tables: dict[int, list[tuple[int, dict[int, V]]]] = {4: [], 6: []}  # by length, the longest first
        for network, value in networks:
            self.add(network, value)

    def __bool__(self) -> bool:
        return bool(self._tables[4] or self._tables[6])

    def add(self, network: str, value: V) -> None:
        """Give a network a value, another one if it has one. `network` is canonical: `publisher.access` made it so."""
        version, length, bits = _parts(network)
        tables = self._tables[version]
        for known, table in tables:
            if known == length:
                table[bits] = value
                return
        tables.append((length, {bits: value}))
        tables.sort(key=lambda item: -item[0])

    def remove(self, network: str) -> None:
        """Forget a network, if it is there."""
        version, length, bits = _parts(network)
        for known, table in self._tables[version]:
            if known == length:
                table.pop(bits, None)
        self._tables[version] = [item for item in self._tables[version] if item[1]]

    def matches(self, address: Address) -> Iterator[tuple[int, V]]:
        """Yield the prefix length and the value of each network that holds `address`, the most specific first."""
        width = _BITS.get(address.version, 0)
        for length, table in self._tables.get(address.version, ()):
            value = table.get(address.number >> (width - length))
            if value is not None:
                yield length, value

    def holds(self, address: Address) -> bool:
        """Tell whether one of the networks holds `address`."""
        return bool(self) and next(self.matches(address), None) is not None


def client_address(peer: Address, forwarded: Sequence[str], proxies: Networks[bool]) -> Address:
    """
    Return who is behind `peer`.

    The right-most hop of `X-Forwarded-For` that is no proxy of ours: what stands left of it was written by the client.
    Who is no proxy of ours is taken for nobody but itself.

    Args:
        forwarded: The values of the header's lines, in order.
    """
    if not forwarded or not proxies.holds(peer):
        return peer
    client = peer
    for hop in reversed(",".join(forwarded).rsplit(",", _MAX_HOPS)[-_MAX_HOPS:]):
        address = parse_address(_without_port(hop.strip()))
        if address is None:  # no proxy of ours writes that: the last one known is as far as we can see
            return client
        client = address
        if not proxies.holds(address):
            return client
    return client


def _without_port(hop: str) -> str:
    """Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parts(network: str) -> tuple[int, int, int]:
    """Return the version, the prefix length, and the bits that all its addresses begin with."""
    parsed = ipaddress.ip_network(network)
    return (
        parsed.version,
        parsed.prefixlen,
        int(parsed.network_address) >> (parsed.max_prefixlen - parsed.prefixlen),
    )
