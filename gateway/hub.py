"""
The hub: who is interested in which address, on this instance.

One index, (tenant, address) → subscribers. Joining a group, carrying a tag, subscribing to a topic and being a user
are the same operation on it. It is symmetric (a subscriber knows its addresses, an address its subscribers), empty
sets are deleted, and it changes in synchronous code only. Pure: no clock, no I/O.

Who takes of an address only what a filter lets pass stands in a second index, by filter. It is empty nearly always,
and nobody pays for it then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.filters import Filter
    from gateway.subscriber import Subscriber

_NOBODY: frozenset[Subscriber] = frozenset()


Observer = Callable[["Subscriber", str, bool], None]
ByFilter = dict["Filter", set["Subscriber"]]


class Hub:
    """
    The index from (tenant, address) to subscribers.

    Args:
        observe: Called after each change, with the subscriber, the address, and whether it was added.

    Attributes:
        unfiltered: The first index, tenant → address → subscribers that take all.
        filtered: The second, tenant → address → filter → subscribers. Neither is to be changed from outside.
    """

    def __init__(self, observe: Observer | None = None) -> None:
        self.unfiltered: dict[str, dict[str, set[Subscriber]]] = {}
        self.filtered: dict[str, dict[str, ByFilter]] = {}
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
        self._enter(subscriber, address)
        if self._observe is not None:
            self._observe(subscriber, address, True)

    def refilter(self, subscriber: Subscriber, address: str, wanted: Filter | None) -> None:
        """Select `subscriber`, from now on, for what `wanted` lets pass of an address that it has; None: for all."""
        if subscriber.filters.get(address) is wanted:
            return
        self._withdraw(subscriber, address)
        subscriber.set_filter(address, wanted)
        self._enter(subscriber, address)

    def remove(self, subscriber: Subscriber, address: str) -> bool:
        """No longer select `subscriber` for `address`; tell whether it was selected."""
        if address not in subscriber.addresses:
            return False
        self._withdraw(subscriber, address)
        subscriber.drop_address(address)
        if self._observe is not None:
            self._observe(subscriber, address, False)
        return True

    def remove_all(self, subscriber: Subscriber) -> None:
        """Forget `subscriber`."""
        for address in list(subscriber.addresses):
            self.remove(subscriber, address)

    def _enter(self, subscriber: Subscriber, address: str) -> None:
        """Put a subscriber where it belongs, by its filter."""
        wanted = subscriber.filters.get(address)
        if wanted is None:
            self.unfiltered.setdefault(subscriber.tenant, {}).setdefault(address, set()).add(subscriber)
        else:
            index = self.filtered.setdefault(subscriber.tenant, {})
            index.setdefault(address, {}).setdefault(wanted, set()).add(subscriber)

    def _withdraw(self, subscriber: Subscriber, address: str) -> None:
        """Take a subscriber from where `_enter` put it, and what is empty then."""
        wanted = subscriber.filters.get(address)
        if wanted is not None:
            self._withdraw_filtered(subscriber, address, wanted)
            return
        index = self.unfiltered[subscriber.tenant]
        index[address].remove(subscriber)
        if not index[address]:
            del index[address]
            if not index:
                del self.unfiltered[subscriber.tenant]

    def _withdraw_filtered(self, subscriber: Subscriber, address: str, wanted: Filter) -> None:
        index = self.filtered[subscriber.tenant]
        by_filter = index[address]
        by_filter[wanted].remove(subscriber)
        if not by_filter[wanted]:
            del by_filter[wanted]
            if not by_filter:
                del index[address]
                if not index:
                    del self.filtered[subscriber.tenant]

    def match(self, tenant: str, to: Sequence[str], exclude: Sequence[str] = ()) -> Collection[Subscriber]:
        """
        Return the subscribers that at least one address of `to` selects without a filter and none of `exclude` does.

        The result may be the index's own set: use it before anything else touches the hub. The cost is the sum of
        the selected sets' sizes, or one look-up where there is one address.
        """
        index = self.unfiltered.get(tenant)
        if index is None:
            return _NOBODY
        if len(to) == 1 and not exclude:
            return index.get(to[0], _NOBODY)
        selected: set[Subscriber] = set()
        for address in to:
            if address in index:
                selected |= index[address]
        for address in exclude:
            self._discard_holders(selected, tenant, address)
        return selected

    def is_filtered(self, tenant: str, to: Sequence[str]) -> bool:
        """Tell whether some take of an address of `to` only what a filter lets pass."""
        index = self.filtered.get(tenant)
        return index is not None and not index.keys().isdisjoint(to)

    def match_filtered(
        self, tenant: str, to: Sequence[str], exclude: Sequence[str], passes: Callable[[Filter], bool]
    ) -> set[Subscriber]:
        """
        Return the subscribers that an address of `to` selects by a filter and none of `exclude` does.

        Args:
            passes: Judges by a filter; called once for each that the addresses have.
        """
        index = self.filtered.get(tenant, {})
        selected: set[Subscriber] = set()
        for address in to:
            if address in index:
                for wanted, subscribers in index[address].items():
                    if passes(wanted):
                        selected |= subscribers
        for address in exclude:
            self._discard_holders(selected, tenant, address)
        return selected

    def _discard_holders(self, selected: set[Subscriber], tenant: str, address: str) -> None:
        """Take out whoever has an address, with a filter or without."""
        selected -= self.unfiltered.get(tenant, {}).get(address, _NOBODY)
        if self.filtered:
            for subscribers in self.filtered.get(tenant, {}).get(address, {}).values():
                selected -= subscribers

    def count(self, tenant: str, address: str) -> int:
        """Return how many subscribers `address` selects, whatever they filter."""
        by_filter = self.filtered.get(tenant, {}).get(address, {})
        return len(self.unfiltered.get(tenant, {}).get(address, _NOBODY)) + sum(map(len, by_filter.values()))

    def counts(self, tenant: str) -> list[tuple[str, int]]:
        """Return every address of a tenant with how many subscribers it selects."""
        counts = {address: len(members) for address, members in self.unfiltered.get(tenant, {}).items()}
        for address, by_filter in self.filtered.get(tenant, {}).items():
            counts[address] = counts.get(address, 0) + sum(map(len, by_filter.values()))
        return list(counts.items())

    def subscribers(self) -> Iterator[Subscriber]:
        """Iterate over every subscriber once, in no order; safe against changes meanwhile."""
        everybody = {s for index in self.unfiltered.values() for members in index.values() for s in members}
        for addresses in self.filtered.values():
            everybody.update(*(members for by_filter in addresses.values() for members in by_filter.values()))
        return iter(everybody)
