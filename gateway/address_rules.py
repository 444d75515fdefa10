"""
Address rules: which networks may connect. Pure: `now_ms` is an argument.

One list, in which the most specific network decides; who is in none may connect. To let in nobody but a few, block
`0.0.0.0/0` and `::/0` and allow those. A rule that was given at run time goes before one of the settings for the same
network, and ends with its time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.addresses import Address, Networks


@dataclass(frozen=True, slots=True)
class AddressRule:
    """
    A rule given at run time.

    Attributes:
        network: Canonical.
        blocks: Whether it keeps out or lets in.
        until_ms: When it ends, ms since 1970.
    """

    network: str
    blocks: bool
    until_ms: int


class AddressRules:
    """
    The rules in force.

    Args:
        block, allow: Networks of the settings; none is in both.

    Attributes:
        version: Grows with every change at run time.
        empty: There are none at all: nobody need be asked.
    """

    def __init__(self, block: Iterable[str] = (), allow: Iterable[str] = ()) -> None:
        settled = [*((network, True) for network in block), *((network, False) for network in allow)]
        self._settled: Networks[bool] = Networks(settled)
        self._given: dict[str, AddressRule] = {}
        self._index: Networks[AddressRule] = Networks()
        self.version = 0
        self.empty = not settled

    def __len__(self) -> int:
        return len(self._given)

    def give(self, rule: AddressRule, now_ms: int) -> None:
        """Add a rule, in place of the one that its network had; forget those that have ended."""
        self.version += 1
        for ended in [other.network for other in self._given.values() if other.until_ms <= now_ms]:
            self._forget(ended)
        self._given[rule.network] = rule
        self._index.add(rule.network, rule)
        self.empty = False

    def clear(self, network: str) -> None:
        """Take back the rule that was given for this very network."""
        self.version += 1
        self._forget(network)

    def replace(self, rules: Iterable[AddressRule]) -> None:
        """Let these be the rules that were given, and no others."""
        self._given = {rule.network: rule for rule in rules}
        self._index = Networks((rule.network, rule) for rule in self._given.values())
        self.empty = not self._given and not self._settled

    def blocks(self, address: Address, now_ms: int) -> bool:
        """Tell whether `address` is kept out. Costs nothing while there are no rules."""
        if self.empty:
            return False
        settled_length, blocked = next(self._settled.matches(address), (-1, False))
        for length, rule in self._index.matches(address):
            if length < settled_length:
                break
            if rule.until_ms > now_ms:
                return rule.blocks
        return blocked

    def _forget(self, network: str) -> None:
        if self._given.pop(network, None) is not None:
            self._index.remove(network)
            self.empty = not self._given and not self._settled
