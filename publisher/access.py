"""
Address rules: which networks may connect, changed at run time for every gateway.

Pure: checks and encodes a change. The most specific rule decides; see `gateway/address_rules.py`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final, Literal, get_args

from publisher.address import ALL, DEFAULT_TENANT
from publisher.errors import PublishError
from publisher.event import ACCESS, KIND_CONTROL, Event, make_event

AccessAction = Literal["block", "allow", "clear"]

_WEEK_S: Final = 7 * 24 * 3600.0
MAX_RULES: Final = 10_000

_LONGEST_S: Final = 10 * 365 * 24 * 3600.0
_MAPPED_BITS: Final = 96  # `::ffff:192.0.2.0/120` is `192.0.2.0/24` in the clothes of IPv6


@dataclass(frozen=True, slots=True)
class AccessChange:
    """
    One rule, given or taken back.

    Attributes:
        event: The control event that announces it.
        network: In its canonical form.
        action: `block`, `allow`, or `clear` to take back what was given for this very network.
        lasts_s: How long it holds.
    """

    event: Event
    network: str
    action: AccessAction
    lasts_s: float


def make_access_change(action: AccessAction, network: str, *, lasts_s: float = _WEEK_S) -> AccessChange:
    """
    Return the change of one rule.

    Raises:
        PublishError: Something of it is not well-formed.
    """
    if action not in get_args(AccessAction):
        raise PublishError(f"action is {action!r:.40}: use {', '.join(get_args(AccessAction))}")
    if isinstance(lasts_s, bool) or not isinstance(lasts_s, int | float) or not 0 < lasts_s <= _LONGEST_S:
        raise PublishError(f"lasts_s is {lasts_s!r:.40}: use seconds, at most ten years of them")
    try:
        name = canonical_network(network)
    except ValueError as error:
        raise PublishError(f"network is {network!r:.60}: {error}") from None
    data = {"network": name, "action": action, "lasts_ms": int(lasts_s * 1000)}
    event = make_event(ACCESS, data, to=ALL, tenant=DEFAULT_TENANT, kind=KIND_CONTROL)
    return AccessChange(event, name, action, lasts_s)


def canonical_network(text: object) -> str:
    """
    Return an address or a CIDR network as every part of Tidegate writes it: `192.0.2.7/32`, `2001:db8::/32`.

    Raises:
        ValueError: It is none; the message says what to write instead, and repeats nothing.
    """
    if not isinstance(text, str) or len(text) > 64 or "%" in text:
        raise ValueError("use an address or a network, such as 192.0.2.0/24 or 2001:db8::/32")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("use an address or a network, such as 192.0.2.0/24 or 2001:db8::/32") from None
    if "/" in text and ipaddress.ip_address(text.partition("/")[0]) != network.network_address:
        raise ValueError(f"an address within a network is ambiguous: use {network}, or the address alone")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return f"{mapped}/{network.prefixlen - _MAPPED_BITS}"
    return str(network)
