"""The tracker: what is told of who is here, whatever is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from gateway.hub import Hub
from gateway.presence import Change, Kept, Mark, Tracker
from gateway.subscriber import Subscriber
from tests.support.devices import Device

GRACE_S = 1.0
SCOPE = ("default", "ops")
ADA: Mark = (*SCOPE, "ada")


def scene(*groups: str, grace_s: float = GRACE_S) -> tuple[Tracker, Hub]:
    tracker = Tracker(Kept(groups or ("*",)), grace_s)
    return tracker, Hub(observe=tracker.observe)


def told(tracker: Tracker, now: float = 0.0) -> list[tuple[Mark, bool]]:
    """Tell what is due, successfully."""
    changes = tracker.take(now)
    tracker.settle(changes)
    return [(change.mark, change.here) for change in changes]


# Who is here.


def test_a_user_with_several_devices_joins_once_and_leaves_once() -> None:
    tracker, hub = scene()
    devices = [Device("ada"), Device("ada")]
    for device in devices:
        hub.add(device, "group:ops", 0)
        hub.add(device, "user:ada", 0)
    assert told(tracker) == [(ADA, True), (("default", "", "ada"), True)]
    hub.remove_all(devices[0])
    assert told(tracker, 10) == []
    hub.remove_all(devices[1])
    assert told(tracker, 10) == []
    assert told(tracker, 11) == [(ADA, False), (("default", "", "ada"), False)]


@pytest.mark.parametrize("address", ["all", "client:ada", "tag:ops", "topic:ops", "user:bob"])
def test_other_addresses_are_no_presence(address: str) -> None:
    tracker, hub = scene()
    hub.add(Device("ada"), address, 0)
    assert told(tracker) == []


def test_nobody_has_no_presence() -> None:
    tracker, hub = scene()
    for nobody in (Device(None), Subscriber("default", wire=None, write=None)):  # type: ignore[arg-type]
        hub.add(nobody, "group:ops", 0)
        hub.remove_all(nobody)
    assert told(tracker, 10) == []


def test_groups_that_are_not_kept_are_not_tracked() -> None:
    tracker, hub = scene("room-*", "ops")
    for group in ("ops", "room-1", "ops2", "my-room-1", "hall"):
        hub.add(Device("ada"), f"group:{group}", 0)
    assert {mark[1] for mark, _ in told(tracker)} == {"ops", "room-1"}


def test_without_patterns_no_group_is_kept() -> None:
    assert "ops" not in Kept(())


def test_more_groups_than_are_cached_are_told_apart() -> None:
    kept = Kept(["a*"])
    names = [f"{letter}{number}" for number in range(6_000) for letter in "ab"]
    assert [name for name in names if name in kept] == [name for name in names if name.startswith("a")]


def test_tenants_are_told_apart() -> None:
    tracker, hub = scene()
    here, there = Device("ada", "acme"), Device("ada", "default")
    hub.add(here, "group:ops", 0)
    hub.add(there, "group:ops", 0)
    hub.remove_all(there)
    assert told(tracker) == [(("acme", "ops", "ada"), True)]


# When.


def test_one_who_is_back_within_the_grace_period_has_not_left() -> None:
    tracker, hub = scene()
    hub.add(Device("ada"), "group:ops", 0)
    told(tracker)
    for now in (10.0, 20.0):
        old = Device("ada")
        hub.add(old, "group:ops", 0)
        hub.remove_all(old)
        assert told(tracker, now) == []
    assert told(tracker, 30.0) == []


def test_a_reload_is_silent() -> None:
    tracker, hub = scene()
    page = Device("ada")
    hub.add(page, "group:ops", 0)
    told(tracker)
    hub.remove_all(page)
    assert told(tracker, 10.0) == []
    hub.add(Device("ada"), "group:ops", 0)
    assert told(tracker, 10.5) == []
    assert told(tracker, 20.0) == []


def test_the_grace_begins_anew_with_each_leave() -> None:
    tracker, hub = scene()
    for now in (10.0, 10.8, 11.6):
        device = Device("ada")
        hub.add(device, "group:ops", 0)
        assert told(tracker, now) == ([(ADA, True)] if now == 10.0 else [])
        hub.remove_all(device)
        assert told(tracker, now) == []
    assert told(tracker, 12.5) == []
    assert told(tracker, 12.6) == [(ADA, False)]


def test_one_who_came_and_went_between_two_looks_was_never_here() -> None:
    tracker, hub = scene()
    device = Device("ada")
    hub.add(device, "group:ops", 0)
    hub.remove_all(device)
    assert told(tracker, 10.0) == []


def test_much_is_told_in_parts() -> None:
    tracker, hub = scene(grace_s=0)
    devices = [Device(f"user-{number}") for number in range(25)]
    for device in devices:
        hub.add(device, "group:ops", 0)
    for part in (10, 10, 5, 0):
        changes = tracker.take(0.0, 10)
        assert len(changes) == part
        tracker.settle(changes)
    for device in devices[:15]:
        hub.remove_all(device)
    hub.add(devices[0], "group:dev", 0)
    for part in ([True, *[False] * 9], [False] * 6, []):
        changes = tracker.take(0.0, 10)
        assert [change.here for change in changes] == part
        tracker.settle(changes)


# When Redis does not answer.


def test_what_was_not_told_is_told_again_as_it_is_by_then() -> None:
    tracker, hub = scene()
    ada, bob = Device("ada"), Device("bob")
    hub.add(ada, "group:ops", 0)
    hub.add(bob, "group:ops", 0)
    tracker.put_back(tracker.take(0.0))
    hub.remove_all(bob)
    assert told(tracker, 0.1) == [(ADA, True)]
    assert told(tracker, 1.1) == [((*SCOPE, "bob"), False)]  # the first try may have told that bob came


def test_who_leaves_while_their_join_is_on_its_way_leaves_after_it() -> None:
    tracker, hub = scene()
    device = Device("ada")
    hub.add(device, "group:ops", 0)
    changes = tracker.take(0.0)
    hub.remove_all(device)
    tracker.settle(changes)
    assert told(tracker, 0.0) == []
    assert told(tracker, GRACE_S) == [(ADA, False)]


def test_who_comes_while_their_leave_is_on_its_way_joins_after_it() -> None:
    tracker, hub = scene(grace_s=0)
    device = Device("ada")
    hub.add(device, "group:ops", 0)
    told(tracker)
    hub.remove_all(device)
    changes = tracker.take(1.0)
    assert changes == [Change(ADA, here=False, aloud=True)]
    hub.add(device, "group:ops", 0)
    tracker.settle(changes)
    assert told(tracker, 1.0) == [(ADA, True)]


def test_everything_is_told_again_in_a_low_voice_after_the_log_was_lost() -> None:
    tracker, hub = scene()
    hub.add(Device("ada"), "group:ops", 0)
    told(tracker)
    tracker.tell_again([SCOPE], aloud=False, leaves_after=10.0)
    hub.add(Device("bob"), "group:ops", 0)
    assert tracker.take(0.0) == [Change(ADA, here=True, aloud=False), Change((*SCOPE, "bob"), here=True, aloud=True)]


def test_leaves_wait_until_the_others_have_told_theirs_again() -> None:
    tracker, hub = scene()
    early, late, bob = Device("ada"), Device("bob"), Device("cyd")
    for device in (early, late, bob):
        hub.add(device, "group:ops", 0)
    told(tracker)
    hub.remove_all(early)
    told(tracker, 0.0)
    tracker.tell_again([SCOPE], aloud=False, leaves_after=10.0)
    told(tracker, 0.0)
    hub.remove_all(late)
    assert told(tracker, 5.0) == []
    assert {mark[2] for mark, here in told(tracker, 10.0) if not here} == {"ada", "bob"}


def test_only_the_scopes_that_redis_lost_are_told_again() -> None:
    tracker, hub = scene()
    ada = Device("ada")
    hub.add(ada, "group:ops", 0)
    hub.add(ada, "group:dev", 0)
    told(tracker)
    assert sorted(tracker.scopes()) == [("default", "dev"), SCOPE]
    tracker.tell_again([SCOPE], aloud=True)
    assert told(tracker) == [(ADA, True)]


def test_what_a_predecessor_left_leaves_unless_it_comes_back() -> None:
    tracker, hub = scene()
    tracker.adopt([ADA, (*SCOPE, "bob")], 10.0)
    hub.add(Device("ada"), "group:ops", 0)
    assert told(tracker, 9.0) == []
    assert told(tracker, 10.0) == [((*SCOPE, "bob"), False)]


def test_what_is_known_is_not_adopted() -> None:
    tracker, hub = scene()
    hub.add(Device("ada"), "group:ops", 0)
    told(tracker)
    tracker.adopt([ADA], 10.0)
    assert told(tracker, 20.0) == []


def test_at_the_end_everybody_leaves_at_once() -> None:
    tracker, hub = scene()
    device, doubtful = Device("ada"), Device("bob")
    hub.add(device, "group:ops", 0)
    told(tracker)
    hub.add(doubtful, "group:ops", 0)
    tracker.put_back(tracker.take(0.0))
    tracker.end()
    assert {mark[2] for mark, here in told(tracker, 0.0) if not here} == {"ada", "bob"}
    hub.remove_all(device)  # late
    assert told(tracker, 10.0) == []


class TrackerKeepsRedisInStep(RuleBasedStateMachine):
    """Whatever is lost on the way, Redis has it right once everything is told."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker, self.hub = scene()
        self.now = 0.0
        self.redis: set[Mark] = set()
        self.announced: dict[Mark, bool] = {}
        self.devices = [Device(user) for user in ("ada", "ada", "bob")]
        self.flight: list[Change] | None = None
        self.lost = False

    @rule(index=st.integers(0, 2), group=st.sampled_from(["group:ops", "group:dev", "user:ada"]))
    def come(self, index: int, group: str) -> None:
        self.hub.add(self.devices[index], group, 0)

    @rule(index=st.integers(0, 2))
    def go(self, index: int) -> None:
        self.hub.remove_all(self.devices[index])

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.flight is None)
    @rule()
    def take(self) -> None:
        self.flight = self.tracker.take(self.now)
        assert len({change.mark for change in self.flight}) == len(self.flight)

    @precondition(lambda self: self.flight is not None)
    @rule(carried_out=st.integers(0, 9), answered=st.integers(0, 9))
    def arrive(self, carried_out: int, answered: int) -> None:
        """A part is carried out, and of that a part is acknowledged."""
        flight, self.flight = self.flight or [], None
        done = flight[:carried_out]
        for change in done:
            self._carry_out(change)
        self.tracker.settle(done[:answered])
        self.tracker.put_back(flight[min(answered, len(done)) :])

    @precondition(lambda self: self.flight is None)
    @rule(lost=st.booleans())
    def forget(self, lost: bool) -> None:
        """Redis is emptied, or somebody took us for dead and said so."""
        if not lost:
            self.announced.update(dict.fromkeys(self.redis, False))
        self.redis.clear()
        self.lost |= lost
        self.tracker.tell_again(self.tracker.scopes(), aloud=not lost)

    def _carry_out(self, change: Change) -> None:
        if (change.mark in self.redis) is not change.here:
            (self.redis.add if change.here else self.redis.discard)(change.mark)
            if change.aloud:
                self.announced[change.mark] = change.here

    @precondition(lambda self: self.flight is None)
    @rule()
    def calm(self) -> None:
        """For a while nothing happens, and nothing is lost."""
        for _ in range(2):
            self.now += 5.0
            changes = self.tracker.take(self.now)
            for change in changes:
                self._carry_out(change)
            self.tracker.settle(changes)
        present = {
            ("default", address.removeprefix("group:") if address.startswith("group:") else "", device.identity.user_id)
            for device in self.devices
            for address in device.addresses
            if address in ("group:ops", "group:dev", f"user:{device.identity.user_id}")
        }
        assert self.redis == present
        assert self.lost or {mark for mark, here in self.announced.items() if here} == present
        assert self.tracker.take(self.now + 100) == []

    def teardown(self) -> None:
        if self.flight is None:
            self.calm()


TestTrackerKeepsRedisInStep = TrackerKeepsRedisInStep.TestCase
