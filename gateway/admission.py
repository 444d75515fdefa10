"""
Admission: whether one more connection from an address may come in, before any work is done for it. Pure: the times are
arguments.

What is kept per address is bounded: a count for each that has a socket here, and buckets in two generations, of which
the old one is dropped when the young one is full. An attacker with thousands of networks can so win a fresh burst for
somebody, but no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from gateway.address_rules import AddressRules
from gateway.addresses import Address, Networks
from gateway.limits import TokenBucket

RETRY_AFTER_S: Final = 5

_BUCKETS: Final = 32_768  # of one generation, about 150 bytes each
_MOST_REFUSED: Final = 2  # times the limit: sockets of one address that wait to be told so


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Why a handshake is turned away.

    Attributes:
        reason: One word, for the count of them.
        message: For the peer.
        retry_after_s: None: not at all.
        at_once: Without an answer, which would keep a socket open.
    """

    reason: str
    status: HTTPStatus
    message: str
    retry_after_s: int | None
    at_once: bool = False


BLOCKED: Final = Refusal("blocked", HTTPStatus.FORBIDDEN, "this address may not connect", None)
FULL: Final = Refusal("connections", HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", RETRY_AFTER_S)
LEAVING: Final = Refusal("leaving", HTTPStatus.SERVICE_UNAVAILABLE, "the gateway restarts", RETRY_AFTER_S)
USER: Final = Refusal("user", HTTPStatus.TOO_MANY_REQUESTS, "too many connections of this user", RETRY_AFTER_S)
_CROWDED: Final = "too many connections from this address"
_CROWD: Final = Refusal("address", HTTPStatus.TOO_MANY_REQUESTS, _CROWDED, RETRY_AFTER_S)
_MOB: Final = Refusal("address", HTTPStatus.TOO_MANY_REQUESTS, _CROWDED, RETRY_AFTER_S, at_once=True)


@dataclass(frozen=True, slots=True)
class AddressLimits:
    """The limits of one address; see the settings of the same names. 0: none."""

    connections_per_ip: int = 0
    handshakes_per_s: float = 0.0
    handshakes_burst: float = 1.0


class Admission:
    """
    Who may come in from where.

    Args:
        proxies: Peers whose word about the client's address is taken.
    """

    def __init__(self, rules: AddressRules, limits: AddressLimits, proxies: Networks[bool]) -> None:
        self.rules = rules
        self.proxies = proxies
        self._limits = limits
        self._counts: dict[str, int] = {}
        self._young: dict[str, TokenBucket] = {}
        self._old: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        """How many addresses something is kept of."""
        return len(self._counts.keys() | self._young.keys() | self._old.keys())

    def enter(self, address: Address, now: float, now_ms: Callable[[], int]) -> Refusal | None:
        """Count one more connection from `address`, also one that is refused: `leave` has to follow."""
        limits = self._limits
        count = 0
        if limits.connections_per_ip:
            count = self._counts[address.key] = self._counts.get(address.key, 0) + 1
        if not self.rules.empty and self.rules.blocks(address, now_ms()):
            return BLOCKED
        if count > limits.connections_per_ip:
            return _MOB if count > limits.connections_per_ip * _MOST_REFUSED else _CROWD
        if limits.handshakes_per_s:
            wait_s = self._bucket(address.key, now).take(now)
            if wait_s:
                message = "too many handshakes from this address"
                return Refusal("rate", HTTPStatus.TOO_MANY_REQUESTS, message, math.ceil(wait_s))
        return None

    def leave(self, address: Address) -> None:
        """A connection that has entered is gone."""
        if not self._limits.connections_per_ip:
            return
        left = self._counts[address.key] - 1
        if left:
            self._counts[address.key] = left
        else:
            del self._counts[address.key]

    def _bucket(self, key: str, now: float) -> TokenBucket:
        bucket = self._young.get(key)
        if bucket is None:
            bucket = self._old.pop(key, None) or TokenBucket(
                self._limits.handshakes_per_s, self._limits.handshakes_burst, now
            )
            if len(self._young) >= _BUCKETS:
                self._young, self._old = {}, self._young
            self._young[key] = bucket
        return bucket
