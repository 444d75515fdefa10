"""The verdict: why an event did or did not reach a receiver, as the log and the receiver know it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entry import Entry
from gateway.explain import verdict
from gateway.fanout import Fanout
from gateway.filters import compiled
from gateway.hub import Hub
from gateway.log import Log
from gateway.outcomes import EXPIRED
from gateway.subscriber import MAX_WRITE_BYTES, REMEMBERED
from gateway.wire.v1 import TextWire
from publisher.event import KIND_EPHEMERAL
from tests.support.entries import EPOCH, Source
from tests.support.transport import Receiver


class Scene:
    """A gateway's core with one receiver of `all` and `user:42`."""

    def __init__(self) -> None:
        self.log = Log(partitions=1, retention_ms=10**12, max_entries=100, max_bytes=10**9)
        self.log.reset(0, EPOCH, (0, 0))
        self.hub = Hub()
        self.fanout = Fanout(self.log, self.hub, obey=lambda _order: None)
        self.source = Source()
        self.wire = TextWire(lambda _partition: EPOCH, lambda _poison: None)
        self.one = Receiver(self.fanout, self.wire)
        self.join("all", "user:42")

    def join(self, *addresses: str) -> None:
        for address in addresses:
            self.hub.add(self.one, address, self.fanout.position)

    def deliver(self, **spec: Any) -> Entry:
        entry = self.source.entry(**spec)
        self.fanout.deliver([entry], now_ms=1_000)
        return entry

    def verdict(self, entry: Entry) -> str:
        return verdict(self.log, self.one, entry)


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("to", "way"), [("all", "all"), (["user:42", "user:43"], "user:42"), (["user:42", "all"], "user:42, all")]
)
def test_sent_event_names_its_way(scene: Scene, to: Any, way: str) -> None:
    assert scene.verdict(scene.deliver(to=to)) == f"sent, by way of {way}"


def test_event_for_others_is_not_addressed(scene: Scene) -> None:
    assert scene.verdict(scene.deliver(to=["user:43", "group:a"])).startswith("not addressed")


def test_excluded_event_names_what_excludes(scene: Scene) -> None:
    assert scene.verdict(scene.deliver(exclude=["user:42", "tag:x"])) == "excluded by user:42"


def test_event_from_before_the_join_is_too_early(scene: Scene) -> None:
    entry = scene.deliver(to="group:a")
    scene.join("group:a")
    assert scene.verdict(entry).startswith("too early: it joined group:a after the event")


def test_event_that_came_by_another_address_is_not_too_early(scene: Scene) -> None:
    entry = scene.deliver(to=["group:a", "all"])
    scene.join("group:a")
    assert scene.verdict(entry).startswith("sent")


def test_poison_is_not_sent(scene: Scene) -> None:
    assert scene.verdict(scene.deliver(text=b"{")) == "not sent: the event's payload is not JSON"


def test_event_that_a_slow_socket_waits_for_is_not_sent_yet(scene: Scene) -> None:
    scene.one.pause(scene.fanout.position)
    assert scene.verdict(scene.deliver()).startswith("not yet")


def test_event_from_before_the_pause_was_sent(scene: Scene) -> None:
    entry = scene.deliver()
    scene.one.pause(scene.fanout.position)
    assert scene.verdict(entry).startswith("sent")


def test_waiting_event_is_sent_after_the_pause(scene: Scene) -> None:
    scene.one.pause(scene.fanout.position)
    entry = scene.deliver()
    scene.one.resume(scene.log, now_ms=1_000)
    assert scene.verdict(entry).startswith("sent")


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"expires_at": 2_000}, "may have expired"),
        ({"priority": "low"}, "low priority"),
        ({"collapse": "k"}, "newer one of its collapse key"),
    ],
)
def test_what_might_have_kept_it_is_noted_where_nobody_remembers(
    scene: Scene, options: dict[str, Any], note: str
) -> None:
    entry = scene.deliver(**options)
    assert scene.verdict(entry) == "sent, by way of all"
    for seq in range(entry.seq + 1, entry.seq + 1 + REMEMBERED):
        scene.one.go_without(seq, EXPIRED)
    assert note in scene.verdict(entry)


def test_what_had_expired_when_it_came_was_not_sent(scene: Scene) -> None:
    assert scene.verdict(scene.deliver(expires_at=900)) == "not sent: it had expired before it could be sent"


class TestCaughtUp:
    """What a receiver went without while it lagged is remembered once it is live again."""

    def test_what_expired(self, scene: Scene) -> None:
        scene.one.lag_from(scene.log.head)
        entry = scene.deliver(expires_at=1_500)
        scene.one.catch_up(scene.log, now_ms=2_000)
        assert scene.verdict(entry) == "not sent: it had expired before it could be sent"

    def test_what_a_newer_one_has_replaced(self, scene: Scene) -> None:
        scene.one.lag_from(scene.log.head)
        old, new = scene.deliver(collapse="k"), scene.deliver(collapse="k")
        scene.one.catch_up(scene.log, now_ms=2_000)
        assert scene.verdict(old).startswith("not sent: a newer one of its collapse key took its place")
        assert scene.verdict(new) == "sent, by way of all"

    def test_what_is_of_low_priority(self, scene: Scene) -> None:
        scene.one.pause(scene.fanout.position)
        entry = scene.deliver(priority="low")
        scene.one.resume(scene.log, now_ms=2_000)
        assert scene.verdict(entry).startswith("not sent: it is low priority")

    def test_what_it_was_told_to_load_anew(self, scene: Scene) -> None:
        scene.one.room = 0
        scene.one.lag_from(scene.log.head)
        entries = [scene.deliver(data="x" * MAX_WRITE_BYTES) for _ in range(2)]
        scene.one.catch_up(scene.log, now_ms=2_000)
        scene.one.skip_to_head(scene.log)
        assert scene.verdict(entries[0]) == "sent, by way of all"
        assert "`resync`" in scene.verdict(entries[1])

    def test_only_the_last_are_remembered(self, scene: Scene) -> None:
        for seq in range(1, REMEMBERED + 3):
            scene.one.go_without(seq, EXPIRED)
        assert list(scene.one.without or ()) == list(range(3, REMEMBERED + 3))


class TestSlowSocket:
    """What it will never get is not said to wait for it."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"kind": KIND_EPHEMERAL}, "not sent: it is ephemeral"),
            ({"expires_at": 900}, "not sent: it expired"),
            ({"expires_at": 2_000}, "not yet"),
            ({"receipt": True}, "not yet"),
        ],
    )
    def test_while_it_is_slow(self, scene: Scene, options: dict[str, Any], said: str) -> None:
        scene.one.pause(scene.fanout.position)
        entry = scene.deliver(**options)
        assert verdict(scene.log, scene.one, entry, now_ms=1_000).startswith(said)

    def test_an_ephemeral_one_that_it_had_says_what_might_have_been(self, scene: Scene) -> None:
        assert "ephemeral" in scene.verdict(scene.deliver(kind=KIND_EPHEMERAL))


def test_a_receipt_or_a_trace_changes_nothing(scene: Scene) -> None:
    trace = f"00-{'4' * 32}-{'2' * 16}-01"
    assert scene.verdict(scene.deliver(receipt=True, traceparent=trace)) == "sent, by way of all"


def test_a_filter_that_lets_it_pass_and_one_that_does_not(scene: Scene) -> None:
    scene.hub.refilter(scene.one, "all", compiled({"region": "eu"}))
    assert scene.verdict(scene.deliver(data={"region": "us"})).startswith("filtered: its filter on all")
    assert scene.verdict(scene.deliver(data={"region": "eu"})).startswith("sent")
