"""
The hub: who is interested in which address, on this instance.

One index, (tenant, address) → subscribers. Joining a group, carrying a tag, subscribing to a topic and being a user
are the same operation on it. It is symmetric (a subscriber knows its addresses, an address its subscribers), empty
sets are deleted, and it changes in synchronous code only. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.subscriber import Subscriber

_NOBODY: frozenset[Subscriber] = frozenset()


Observer = Callable[["Subscriber", str, bool], None]


class Hub:
    """
    The index from (tenant, address) to subscribers.

    Args:
        observe: Called after each change, with the subscriber, the address, and whether it was added.
    """

    def __init__(self, observe: Observer | None = None) -> None:
        self._tenants: dict[str, dict[str, set[Subscriber]]] = {}
        self._observe = observe

    def add(self, subscriber: Subscriber, address: str, since: int) -> None:
        """
        Select `subscriber` for what is sent to `address`.

        Args:
            since: Sequence number of the last entry of `address` that is not meant for it: what a replay may show
                begins after it. A repeated add changes nothing.
        """
        if address in subscriber.addresses:
            return
        subscriber.addresses[address] = since
        self._tenants.setdefault(subscriber.tenant, {}).setdefault(address, set()).add(subscriber)
        if self._observe is not None:
            self._observe(subscriber, address, True)

    def remove(self, subscriber: Subscriber, address: str) -> bool:
        """No longer select `subscriber` for `address`; tell whether it was selected."""
        if subscriber.addresses.pop(address, None) is None:
            return False
        index = self._tenants[subscriber.tenant]
        index[address].remove(subscriber)
        if not index[address]:
            del index[address]
            if not index:
                del self._tenants[subscriber.tenant]
        if self._observe is not None:
            self._observe(subscriber, address, False)
        return True

    def remove_all(self, subscriber: Subscriber) -> None:
        """Forget `subscriber`."""
        for address in list(subscriber.addresses):
            self.remove(subscriber, address)

    def match(self, tenant: str, to: Sequence[str], exclude: Sequence[str] = ()) -> Collection[Subscriber]:
        """
        Return the subscribers that at least one address of `to` selects and none of `exclude` does.

        The result may be the index's own set: use it before anything else touches the hub. The cost is the sum of
        the selected sets' sizes, or one look-up where there is one address.
        """
        index = self._tenants.get(tenant)
        if index is None:
            return _NOBODY
        if len(to) == 1 and not exclude:
            return index.get(to[0], _NOBODY)
        selected: set[Subscriber] = set()
        for address in to:
            if address in index:
                selected |= index[address]
        for address in exclude:
            if address in index:
                selected -= index[address]
        return selected

    def count(self, tenant: str, address: str) -> int:
        """Return how many subscribers `address` selects."""
        return len(self._tenants.get(tenant, {}).get(address, _NOBODY))

    def counts(self, tenant: str) -> list[tuple[str, int]]:
        """Return every address of a tenant with how many subscribers it selects."""
        return [(address, len(members)) for address, members in self._tenants.get(tenant, {}).items()]

    def subscribers(self) -> Iterator[Subscriber]:
        """Iterate over every subscriber once, in no order; safe against changes meanwhile."""
        everybody = {s for index in self._tenants.values() for members in index.values() for s in members}
        return iter(everybody)
