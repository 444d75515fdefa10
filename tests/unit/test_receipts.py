"""Receipts and statistics: what the fan-out and slow subscribers count of what becomes of events."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import outcomes, receipts
from gateway.filters import compiled
from gateway.outcomes import MAX_NAMES, ByName
from gateway.receipts import Receipts
from tests.support.entries import EPOCH, Source
from tests.unit.test_fanout import PAD, Scene, event


def asked(data: Any, to: str | list[str] = "all", **options: Any) -> dict[str, Any]:
    return event(data, to, receipt=True, **options)


def counted(scene: Scene, number: int = 1) -> dict[str, Any]:
    """Return what the receipt of an event counts, zeroes left out."""
    receipt = scene.log.outcomes.receipts.find(0, b"%d-0" % number)
    assert receipt is not None
    names = ("sockets", "delivered", "acked", "expired", "dropped")
    return {
        address: {name: getattr(counts, name) for name in names if getattr(counts, name)}
        for address, counts in receipt.counts.items()
    }


def test_sockets_are_counted_for_each_address_that_selects_them() -> None:
    scene = Scene()
    scene.receiver("user:1", "tag:x"), scene.receiver("user:1"), scene.receiver("tag:y")
    scene.deliver(event(0, "user:1"), asked(1, ["user:1", "tag:x", "user:2"]), event(2))
    assert counted(scene, 2) == {"user:1": {"sockets": 2, "delivered": 2}, "tag:x": {"sockets": 1, "delivered": 1}}


def test_entries_without_a_receipt_leave_no_trace() -> None:
    scene = Scene()
    scene.receiver("all")
    scene.deliver(event(1), event(2, priority="low"))
    assert len(scene.log.outcomes.receipts) == scene.log.outcomes.receipts.waiting == 0


def test_event_that_nobody_is_there_for_has_been_read() -> None:
    scene = Scene()
    scene.deliver(asked(1, "user:9"))
    assert (counted(scene), scene.log.outcomes.receipts.waiting) == ({}, 1)


def test_excluded_and_filtered_sockets_do_not_count() -> None:
    scene = Scene()
    scene.receiver("user:1", "tag:x"), scene.receiver("user:1")
    filtered = scene.receiver("user:1")
    scene.hub.refilter(filtered, "user:1", compiled({"a": 1}))
    scene.deliver(asked({"a": 2}, "user:1", exclude="tag:x"), asked({"a": 1}, "user:1", exclude="tag:x"))
    assert counted(scene, 1) == {"user:1": {"sockets": 1, "delivered": 1}}
    assert counted(scene, 2) == {"user:1": {"sockets": 2, "delivered": 2}}
    assert filtered.received == [{"a": 1}]


def test_slow_socket_counts_when_it_is_written() -> None:
    scene = Scene()
    slow = scene.receiver(room=0)
    scene.deliver(event(PAD))
    scene.deliver(asked(1))
    assert counted(scene, 2) == {"all": {"sockets": 1}}
    slow.room = None
    slow.resume(scene.log, 1_000)
    assert counted(scene, 2) == {"all": {"sockets": 1, "delivered": 1}}
    assert slow.received[-1] == 1


def test_read_that_is_too_much_for_one_write_counts_once() -> None:
    scene = Scene()
    one = scene.receiver()
    scene.deliver(*(asked([number, PAD]) for number in range(10)))
    assert len(one.writes) > 1
    assert [counted(scene, number) for number in range(1, 11)] == [{"all": {"sockets": 1, "delivered": 1}}] * 10
    assert scene.log.outcomes.delivered.named() == {"e": 10}


@pytest.mark.parametrize(
    ("options", "becomes", "reason"),
    [
        ({"priority": "low"}, {"sockets": 1, "dropped": {"low": 1}}, "low"),
        ({"collapse": "k"}, {"sockets": 1, "dropped": {"collapsed": 1}}, "collapsed"),
        ({"expires_at": 1_500}, {"sockets": 1, "expired": 1}, "expired"),
    ],
)
def test_slow_socket_goes_without(options: dict[str, Any], becomes: dict[str, Any], reason: str) -> None:
    scene = Scene()
    slow = scene.receiver(room=0)
    scene.deliver(event(PAD))
    scene.deliver(asked(1, **options), event(2, **({"collapse": "k"} if "collapse" in options else {})))
    slow.room = None
    slow.resume(scene.log, 2_000)
    assert counted(scene, 2) == {"all": becomes}
    assert scene.log.outcomes.dropped == {reason: 1}
    assert scene.log.outcomes.dropped_by_name.named() == {"e": 1}
    assert slow.received[1:] == [2]


def test_event_that_comes_too_late_is_expired_for_who_is_there() -> None:
    scene = Scene()
    scene.receiver(), scene.receiver()
    scene.deliver(asked(1, expires_at=1_000), now_ms=1_000)
    scene.deliver(event(2, expires_at=1_000), now_ms=1_000)
    assert counted(scene) == {"all": {"sockets": 2, "expired": 2}}
    assert scene.log.outcomes.dropped == {"expired": 4}


def test_who_falls_out_goes_without_what_memory_has_lost_and_what_waits() -> None:
    scene = Scene(max_entries=3)
    slow = scene.receiver(room=0)
    scene.deliver(event(PAD))
    scene.deliver(asked(1), asked(2, "user:9"))
    for number in range(5):
        scene.deliver(event(number, "user:9"))
    slow.room = None
    slow.resume(scene.log, 1_000)
    assert slow.fell_out
    assert counted(scene, 2) == {"all": {"sockets": 1, "dropped": {"fell_out": 1}}}
    assert counted(scene, 3) == {}


def test_who_is_told_to_reload_goes_without() -> None:
    scene = Scene()
    slow = scene.receiver(room=0)
    scene.deliver(event(PAD))
    scene.deliver(asked(1))
    slow.skip_to_head(scene.log)
    assert counted(scene, 2) == {"all": {"sockets": 1, "dropped": {"resync": 1}}}


def test_later_replay_counts() -> None:
    scene = Scene()
    scene.deliver(asked(1, "group:a"))
    late = scene.receiver("all")
    scene.hub.add(late, "group:a", scene.fanout.position)
    late.replay(scene.log, "group:a", 0, 1_000)
    assert counted(scene) == {"group:a": {"delivered": 1}}
    assert scene.log.outcomes.caught_up == 1


def test_client_is_counted_once() -> None:
    book, source = Receipts(), Source()
    book.begin(source.entry(to=["user:1", "all"], receipt=True), EPOCH)
    (receipt,) = book.take_changed(10)
    assert [book.acked(receipt, client, ["all"]) for client in ("a", "a", "b")] == [True, False, True]
    assert receipt.counts["all"].acked == 2
    assert book.take_changed(10) == [receipt]


def test_what_changed_is_reported_once_and_again_after_a_failure() -> None:
    book, source = Receipts(), Source()
    for _ in range(3):
        book.begin(source.entry(receipt=True), EPOCH)
    taken = book.take_changed(2)
    assert (len(taken), book.waiting) == (2, 1)
    book.put_back(taken)
    assert len(book.take_changed(10)) == 3
    assert book.take_changed(10) == []


def test_old_receipts_are_forgotten() -> None:
    book, source = Receipts(), Source()
    for ms in (10, 20, 30):
        book.begin(source.entry(ms, receipt=True), EPOCH)
    taken = book.take_changed(1)
    book.prune(before_ms=30)
    book.put_back(taken)
    assert (len(book), book.waiting) == (1, 1)
    assert book.find(0, b"30-0") is not None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_HELD", 10)
    book, source = Receipts(), Source()
    for _ in range(20):
        entry = source.entry(receipt=True)
        book.begin(entry, EPOCH)
    assert (len(book), book.waiting) == (10, 10)
    last = book.find(0, entry.id)
    assert last is not None
    for number in range(8):
        book.acked(last, str(number), ["all"])
    assert len(book) == 2


def test_names_are_bounded() -> None:
    names = ByName()
    for number in range(MAX_NAMES + 50):
        names.add(b"%d" % number, 2)
    names.add(b"0", 1)
    counts = names.named()
    assert len(counts) == MAX_NAMES + 1
    assert (counts["0"], counts["other"]) == (3, 100)
    assert sum(counts.values()) == 2 * (MAX_NAMES + 50) + 1


def test_deliveries_are_counted_by_name() -> None:
    scene = Scene()
    scene.receiver("all"), scene.receiver("all")
    entries = [scene.source.entry(data=number) for number in range(4)]
    for entry, name in zip(entries, (b"a", b"b", b"a", b"\xff"), strict=True):
        entry.event = name
    scene.fanout.deliver(entries[:2], 1_000)
    scene.fanout.deliver([entries[2], scene.source.entry(data=1, to="user:9"), entries[3]], 1_000)
    assert scene.log.outcomes.delivered.named() == {"a": 4, "b": 2, "\ufffd": 2}


def test_reasons_are_those_that_are_documented() -> None:
    assert set(outcomes.REASONS) == {"low", "collapsed", "expired", "fell_out", "resync"}
