"""The hub: one symmetric index from (tenant, address) to subscribers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.filters import Filter, compiled
from gateway.hub import Hub
from gateway.subscriber import Subscriber

TENANTS = ["default", "acme"]
ADDRESSES = ["all", "user:1", "group:a", "tag:vip"]
FILTERS = [None, compiled({"region": "eu"}), compiled({"region": "us"})]
SOME_ADDRESSES = st.lists(st.sampled_from(ADDRESSES), max_size=3)


def subscriber(tenant: str = "default") -> Subscriber:
    return Subscriber(tenant, wire=None, write=None)  # type: ignore[arg-type]


class HubBehaves(RuleBasedStateMachine):
    """The hub against a set of (subscriber, address) pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.subscribers = [subscriber(tenant) for tenant in TENANTS for _ in range(3)]
        self.pairs: dict[tuple[Subscriber, str], int] = {}
        self.filters: dict[tuple[Subscriber, str], Filter] = {}

    @rule(index=st.integers(0, 5), address=st.sampled_from(ADDRESSES), since=st.integers(0, 100))
    def add(self, index: int, address: str, since: int) -> None:
        self.hub.add(self.subscribers[index], address, since)
        self.pairs.setdefault((self.subscribers[index], address), since)

    @rule(index=st.integers(0, 5), address=st.sampled_from(ADDRESSES))
    def remove(self, index: int, address: str) -> None:
        known = self.pairs.pop((self.subscribers[index], address), None) is not None
        self.filters.pop((self.subscribers[index], address), None)
        assert self.hub.remove(self.subscribers[index], address) is known

    @rule(index=st.integers(0, 5))
    def remove_all(self, index: int) -> None:
        self.hub.remove_all(self.subscribers[index])
        self.pairs = {pair: since for pair, since in self.pairs.items() if pair[0] is not self.subscribers[index]}
        self.filters = {pair: given for pair, given in self.filters.items() if pair in self.pairs}

    @precondition(lambda self: self.pairs)
    @rule(index=st.integers(0, 30), wanted=st.sampled_from(FILTERS))
    def refilter(self, index: int, wanted: Filter | None) -> None:
        pair = list(self.pairs)[index % len(self.pairs)]
        self.hub.refilter(*pair, wanted)
        self.filters.pop(pair, None)
        if wanted is not None:
            self.filters[pair] = wanted

    @rule(tenant=st.sampled_from([*TENANTS, "nobody"]), to=SOME_ADDRESSES, exclude=SOME_ADDRESSES)
    def match(self, tenant: str, to: list[str], exclude: list[str]) -> None:
        selected = {s for s, address in self.pairs.keys() - self.filters.keys() if s.tenant == tenant and address in to}
        excluded = {s for s, address in self.pairs if address in exclude}
        matched = self.hub.match(tenant, to, exclude)
        assert len(matched) == len(set(matched))
        assert set(matched) == selected - excluded

    @rule(
        tenant=st.sampled_from([*TENANTS, "nobody"]),
        to=SOME_ADDRESSES,
        exclude=SOME_ADDRESSES,
        passing=st.sets(st.sampled_from(FILTERS[1:])),
    )
    def match_filtered(self, tenant: str, to: list[str], exclude: list[str], passing: set[Filter]) -> None:
        concerned = {pair for pair in self.filters if pair[0].tenant == tenant and pair[1] in to}
        excluded = {s for s, address in self.pairs if address in exclude}
        selected = {s for s, address in concerned if self.filters[s, address] in passing}
        assert self.hub.match_filtered(tenant, to, exclude, passing.__contains__) == selected - excluded
        assert self.hub.is_filtered(tenant, to) is bool(concerned)

    @invariant()
    def both_sides_agree(self) -> None:
        for s in self.subscribers:
            assert s.addresses == {address: since for (other, address), since in self.pairs.items() if other is s}
            assert s.filters == {address: given for (other, address), given in self.filters.items() if other is s}
        for tenant in TENANTS:
            for address in ADDRESSES:
                members = [s for s, a in self.pairs if s.tenant == tenant and a == address]
                assert self.hub.count(tenant, address) == len(members)

    @invariant()
    def nothing_empty_is_kept(self) -> None:
        assert all(index and all(index.values()) for index in self.hub.unfiltered.values())
        for index in self.hub.filtered.values():
            assert index
            assert all(by_filter and all(by_filter.values()) for by_filter in index.values())

    @invariant()
    def every_subscriber_is_iterated_once(self) -> None:
        iterated = list(self.hub.subscribers())
        assert len(iterated) == len(set(iterated))
        assert set(iterated) == {s for s, _ in self.pairs}


TestHubBehaves = HubBehaves.TestCase


def test_the_last_removal_leaves_nothing() -> None:
    hub, one = Hub(), subscriber()
    hub.add(one, "all", 0)
    hub.add(one, "user:1", 0)
    hub.remove_all(one)
    assert hub.unfiltered == {}


def test_a_tenant_never_sees_anothers_subscribers() -> None:
    hub = Hub()
    hub.add(subscriber("acme"), "all", 0)
    assert not hub.match("default", ["all"])


def test_a_repeated_add_keeps_what_the_first_gave() -> None:
    hub, one = Hub(), subscriber()
    hub.add(one, "group:a", 7)
    hub.add(one, "group:a", 9)
    assert one.addresses == {"group:a": 7}


def test_iteration_survives_changes() -> None:
    hub = Hub()
    for _ in range(3):
        hub.add(subscriber(), "all", 0)
    for each in hub.subscribers():
        hub.remove_all(each)
    assert hub.count("default", "all") == 0


def test_observer_is_told_of_every_change_and_of_nothing_else() -> None:
    seen: list[tuple[Subscriber, str, bool]] = []
    hub = Hub(lambda *change: seen.append(change))
    one = subscriber()
    hub.add(one, "user:1", 0)
    hub.add(one, "user:1", 0)
    hub.remove(one, "group:a")
    hub.remove_all(one)
    assert seen == [(one, "user:1", True), (one, "user:1", False)]
