"""The subscriber: a receiver that lags is a position in the log, and catches up from there."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.entry import Entry
from gateway.log import Log
from gateway.subscriber import MAX_WRITE_BYTES
from gateway.wire.v1 import TextWire
from tests.support.entries import EPOCH, Source
from tests.support.transport import Receiver

NOW_MS = 1_000
PAD = "x" * 10_000


class Position:
    """Stands for the fan-out: where live subscribers are."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def position(self) -> int:
        return self._log.head


class Scene:
    """A log with one receiver of `all` and `user:1`."""

    def __init__(self, *, max_entries: int = 10_000) -> None:
        self.log = Log(partitions=1, retention_ms=10**12, max_entries=max_entries, max_bytes=10**12)
        self.log.reset(0, EPOCH, (0, 0))
        self.source = Source()
        self.wire = TextWire(lambda _partition: EPOCH, lambda _poison: None)
        self.one = Receiver(Position(self.log), self.wire)  # type: ignore[arg-type]
        self.one.addresses = {"all": 0, "user:1": 0}

    def append(self, *data: Any, to: str | list[str] = "all", **options: Any) -> None:
        for item in data:
            self.log.extend([self.source.entry(data=item, to=to, **options)], NOW_MS)

    def older(self, *data: Any) -> list[Entry]:
        """Return entries that are not in memory."""
        return [Source().entry(data=item) for item in data]

    def resume(self) -> None:
        self.one.buffered = 0
        self.one.resume(self.log, NOW_MS)

    def catch_up(self) -> None:
        self.one.catch_up(self.log, NOW_MS)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# Lagging


def test_resumed_subscriber_catches_up_and_is_live(scene: Scene) -> None:
    scene.append(1)
    scene.one.pause(1)
    scene.append(2, 3)
    scene.resume()
    assert scene.one.received == [2, 3]
    assert not scene.one.lagging


def test_paused_subscriber_writes_nothing(scene: Scene) -> None:
    scene.one.pause(0)
    scene.append(1)
    scene.catch_up()
    assert scene.one.received == []


def test_catching_up_stops_where_the_transport_is_full(scene: Scene) -> None:
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(*([number, PAD] for number in range(10)))
    scene.catch_up()
    assert scene.one.paused
    assert scene.one.buffered <= MAX_WRITE_BYTES


def test_catching_up_goes_on_where_it_stopped(scene: Scene) -> None:
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(*([number, PAD] for number in range(10)))
    scene.catch_up()
    while scene.one.paused:
        scene.resume()
    assert [data[0] for data in scene.one.received] == list(range(10))  # type: ignore[index]


def test_frame_larger_than_a_write_is_written_alone(scene: Scene) -> None:
    scene.one.lag_from(0)
    scene.append("a", PAD * 9, "b")
    scene.catch_up()
    assert [len(write) > MAX_WRITE_BYTES for write in scene.one.writes] == [False, True, False]


def test_many_small_frames_leave_together(scene: Scene) -> None:
    scene.one.lag_from(0)
    scene.append(*range(100))
    scene.catch_up()
    assert len(scene.one.writes) == 1


def test_entries_that_were_seen_are_skipped_once(scene: Scene) -> None:
    scene.append(1, 2, 3)
    scene.one.lag_from(0, frozenset({2}))
    scene.catch_up()
    assert scene.one.received == [1, 3]


def test_poison_does_not_stop_it(scene: Scene) -> None:
    scene.one.lag_from(0)
    scene.append(1)
    scene.append(2, text=b"{")
    scene.append(3)
    scene.catch_up()
    assert scene.one.received == [1, 3]


# What a slow one goes without


def test_low_priority_is_dropped_after_a_pause(scene: Scene) -> None:
    scene.one.pause(0)
    scene.append(1, priority="low")
    scene.append(2)
    scene.resume()
    assert scene.one.received == [2]


def test_low_priority_reaches_who_reconnects(scene: Scene) -> None:
    scene.append(1, priority="low")
    scene.one.lag_from(0)
    scene.catch_up()
    assert scene.one.received == [1]


def test_only_the_newest_of_a_collapse_key_is_replayed(scene: Scene) -> None:
    scene.append(1, 2, collapse="k")
    scene.append(3)
    scene.one.lag_from(0)
    scene.catch_up()
    assert scene.one.received == [2, 3]


def test_newest_of_a_collapse_key_replaces_what_already_waits(scene: Scene) -> None:
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(PAD * 4)
    scene.append(1, collapse="k")
    scene.catch_up()
    scene.append(2, collapse="k")
    scene.one.room = None
    scene.resume()
    assert scene.one.received[1:] == [2]


def test_event_that_expired_while_it_waited_is_dropped(scene: Scene) -> None:
    scene.append(1, expires_at=NOW_MS + 1)
    scene.one.lag_from(0)
    scene.one.catch_up(scene.log, NOW_MS + 1)
    assert scene.one.received == []


def test_excluded_event_is_not_replayed(scene: Scene) -> None:
    scene.append(1, exclude="user:1")
    scene.append(2, exclude="user:2")
    scene.one.lag_from(0)
    scene.catch_up()
    assert scene.one.received == [2]


# Rights


def test_replay_shows_an_address_only_since_it_is_held(scene: Scene) -> None:
    scene.append(1, 2, to="group:a")
    scene.one.addresses["group:a"] = 1
    scene.one.lag_from(0)
    scene.catch_up()
    assert scene.one.received == [2]


def test_event_for_two_of_its_addresses_comes_once(scene: Scene) -> None:
    scene.append(1, to=["all", "user:1"])
    scene.one.lag_from(0)
    scene.catch_up()
    assert scene.one.received == [1]


# Replay of one address


def join(scene: Scene, address: str, *, after: int = 0) -> None:
    scene.one.addresses[address] = scene.log.head
    scene.one.replay(scene.log, address, after, NOW_MS)


def test_replay_of_an_address_brings_what_it_had(scene: Scene) -> None:
    scene.append(1, 2, to="group:a")
    join(scene, "group:a", after=1)
    assert scene.one.received == [2]
    assert not scene.one.lagging


def test_replay_of_an_address_does_not_repeat_what_came_by_another(scene: Scene) -> None:
    scene.append(1, to=["all", "group:a"])
    scene.append(2, to=["group:a"])
    join(scene, "group:a")
    assert scene.one.received == [2]


def test_replay_joins_what_is_due_in_one_order(scene: Scene) -> None:
    scene.append("a1", to="group:a")
    scene.one.pause(scene.log.head)
    scene.append("all 2")
    scene.append("a3", to="group:a")
    scene.append("all 4")
    join(scene, "group:a")
    scene.resume()
    assert scene.one.received == ["a1", "all 2", "a3", "all 4"]


def test_replay_keeps_what_waits_in_order_with_what_comes(scene: Scene) -> None:
    scene.one.pause(0)
    scene.append("a1", to="group:a")
    join(scene, "group:a")
    scene.append("all 2")
    scene.append("a3", to="group:a")
    scene.resume()
    assert scene.one.received == ["a1", "all 2", "a3"]


# Holds


def test_nothing_is_written_while_held(scene: Scene) -> None:
    scene.one.hold(scene.log)
    scene.append(1)
    scene.catch_up()
    assert scene.one.received == []


def test_what_was_fetched_comes_first(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.append("new")
    scene.one.release(hold, scene.older("old 1", "old 2"), scene.log, NOW_MS)
    assert scene.one.received == ["old 1", "old 2", "new"]


def test_last_of_several_holds_lets_go_and_none_is_lost(scene: Scene) -> None:
    first, second = scene.one.hold(scene.log), scene.one.hold(scene.log)
    scene.append("new")
    scene.one.release(second, scene.older("of the second"), scene.log, NOW_MS)
    assert scene.one.received == []
    scene.one.release(first, scene.older("of the first"), scene.log, NOW_MS)
    assert scene.one.received == ["of the second", "of the first", "new"]


def test_dropped_hold_brings_nothing(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.append("new")
    scene.one.drop(hold)
    scene.catch_up()
    assert scene.one.received == ["new"]


def test_release_after_a_skip_does_nothing(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.one.skip_to_head(scene.log)
    scene.one.release(hold, scene.older("of another log"), scene.log, NOW_MS)
    assert scene.one.received == []


def test_release_while_paused_waits(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.one.pause(0)
    scene.one.release(hold, scene.older("old"), scene.log, NOW_MS)
    assert scene.one.received == []
    scene.resume()
    assert scene.one.received == ["old"]


def test_resume_while_held_waits(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.one.pause(0)
    scene.append("new")
    scene.resume()
    assert scene.one.received == []
    scene.one.release(hold, [], scene.log, NOW_MS)
    assert scene.one.received == ["new"]


def test_what_was_fetched_is_written_as_far_as_there_is_room(scene: Scene) -> None:
    hold = scene.one.hold(scene.log)
    scene.one.room = 0
    scene.one.release(hold, scene.older(*([number, PAD] for number in range(10))), scene.log, NOW_MS)
    assert scene.one.buffered <= MAX_WRITE_BYTES
    while scene.one.paused:
        scene.resume()
    assert [data[0] for data in scene.one.received] == list(range(10))  # type: ignore[index]


# Falling out of memory


def test_subscriber_whose_position_was_forgotten_has_fallen_out() -> None:
    scene = Scene(max_entries=2)
    scene.one.pause(0)
    scene.append(1, 2, 3)
    scene.resume()
    assert scene.one.fell_out
    assert scene.one.received == []


def test_subscriber_at_the_edge_of_memory_has_not_fallen_out() -> None:
    scene = Scene(max_entries=2)
    scene.one.pause(0)
    scene.append(1, 2)
    scene.resume()
    assert not scene.one.fell_out
    assert scene.one.received == [1, 2]


@pytest.mark.parametrize("options", [{}, {"collapse": "k"}])
def test_subscriber_whose_backlog_was_forgotten_has_fallen_out(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    monkeypatch.setattr("gateway.log._COMPACT_AFTER", 0)
    scene = Scene(max_entries=3)
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(PAD * 4, PAD * 4, **options)
    scene.append(PAD * 4)
    scene.catch_up()
    assert scene.one.paused
    scene.append(4, 5, 6, collapse="k")
    scene.one.room = None
    scene.resume()
    assert scene.one.fell_out


def test_subscriber_whose_backlog_was_forgotten_while_held_has_fallen_out() -> None:
    scene = Scene(max_entries=3)
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(PAD * 4, PAD * 4)
    scene.catch_up()
    hold = scene.one.hold(scene.log)
    scene.resume()
    scene.append(3, 4, 5)
    scene.one.room = None
    scene.one.release(hold, [], scene.log, NOW_MS)
    assert scene.one.fell_out
    assert len(scene.one.received) == 1


def test_subscriber_that_fell_out_writes_nothing_behind_the_hole() -> None:
    scene = Scene(max_entries=2)
    scene.one.pause(0)
    scene.append(1, 2, 3)
    scene.resume()
    scene.append(4)
    scene.catch_up()
    assert scene.one.received == []


def test_skip_goes_on_with_what_comes_next() -> None:
    scene = Scene(max_entries=2)
    scene.one.pause(0)
    scene.append(1, 2, 3)
    scene.resume()
    scene.one.skip_to_head(scene.log)
    assert not scene.one.lagging
    scene.one.lag_from(scene.log.head)
    scene.append(4)
    scene.catch_up()
    assert scene.one.received == [4]


def test_skip_of_a_paused_subscriber_leaves_it_lagging(scene: Scene) -> None:
    scene.one.pause(0)
    scene.append(1)
    scene.one.skip_to_head(scene.log)
    scene.append(2)
    assert scene.one.lagging
    scene.resume()
    assert scene.one.received == [2]


# Where it is


def test_live_subscriber_is_at_the_head(scene: Scene) -> None:
    scene.append(1, 2)
    assert scene.one.written_up_to(scene.log) == 2


def test_lagging_subscriber_is_where_it_stopped(scene: Scene) -> None:
    scene.append(1)
    scene.one.pause(1)
    scene.append(2)
    assert scene.one.written_up_to(scene.log) == 1


def test_subscriber_is_before_the_first_that_waits(scene: Scene) -> None:
    scene.one.room = 0
    scene.one.lag_from(0)
    scene.append(PAD, PAD * 4, PAD)
    scene.catch_up()
    assert len(scene.one.received) == 1
    assert scene.one.written_up_to(scene.log) == 1


def test_position_says_nothing_while_something_older_is_due(scene: Scene) -> None:
    assert not scene.one.awaits_older
    hold = scene.one.hold(scene.log)
    assert scene.one.awaits_older
    scene.one.pause(0)
    scene.one.release(hold, scene.older("old"), scene.log, NOW_MS)
    assert scene.one.awaits_older
    scene.resume()
    assert not scene.one.awaits_older
