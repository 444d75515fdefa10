"""Recalls: what was taken back leaves memory, and nobody else's order does anything."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.decoder import EntryDecoder
from gateway.entry import Entry
from gateway.log import Log
from gateway.recalls import MESSAGE_RECALLED, NEW_MESSAGE, Recalls, author_of
from gateway.wire.v1 import TextWire
from publisher import make_event
from publisher.event import KIND_STATE
from tests.support.entries import EPOCH


class Memory:
    """A log with the recalls of it."""

    def __init__(self, *, remember_ms: int = 1_000, most: int = 100) -> None:
        self.log = Log(partitions=1, retention_ms=10**9, max_entries=1_000, max_bytes=10**9)
        self.log.reset(0, EPOCH, (0, 0))
        self.recalls = Recalls(self.log, remember_ms=remember_ms, most=most)
        self.poison: list[Any] = []
        self.wire = TextWire(lambda _: EPOCH, self.poison.append)
        self._decoder = EntryDecoder(0)

    def add(self, ms: int, event: str, data: Any, *, to: str = "group:g", **options: Any) -> Entry:
        entry = self._decoder.decode(b"%d-0" % ms, make_event(event, data, to=to, **options).fields)
        self.log.extend([entry], ms)
        return entry

    def message(self, ms: int = 1, **options: Any) -> Entry:
        return self.add(ms, NEW_MESSAGE, {"from": "ann", "content": "x" * 100}, **options)

    def recall(self, ms: int, of: str, *, obey: bool = True, group: str = "g", **options: Any) -> Entry:
        data = {"group_id": group, "id": of, "message_id": "m", "user_id": "ann"}
        order = self.add(ms, MESSAGE_RECALLED, data, kind=KIND_STATE, **options)
        if obey:
            self.recalls.obey(order, data)
        return order


def id_of(ms: int, epoch: str = EPOCH) -> str:
    return f"{ms}-0.0.{epoch}"


@pytest.mark.parametrize("framed", [False, True])
def test_a_recalled_message_has_no_content_and_no_frame_any_more(framed: bool) -> None:
    memory = Memory()
    message = memory.message()
    if framed:
        assert memory.wire.frames([message]) != [b""]
    memory.recall(2, id_of(1))
    assert memory.wire.frames([message]) == [b""]
    assert orjson.loads(message.data) == {"from": "ann"}
    assert id_of(1) in memory.recalls
    assert memory.poison == []


def test_what_it_took_in_memory_is_given_back() -> None:
    memory = Memory()
    memory.message()
    memory.recall(2, id_of(1))
    memory.log.reset(0, EPOCH, (0, 0))
    assert (len(memory.log), memory.log.size_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("message", "recall"),
    [
        ({"to": "group:h"}, {}),
        ({"tenant": "acme"}, {}),
        ({}, {"tenant": "acme"}),
        ({"to": "user:1"}, {}),
    ],
)
def test_another_groups_or_tenants_message_keeps_its_content(message: dict[str, Any], recall: dict[str, Any]) -> None:
    memory = Memory()
    entry = memory.message(**message)
    memory.recall(2, id_of(1), **recall)
    assert memory.wire.frames([entry]) != [b""]


def test_what_is_no_message_keeps_its_content() -> None:
    memory = Memory()
    entry = memory.add(1, "order", {"from": "ann"})
    memory.recall(2, id_of(1))
    assert memory.wire.frames([entry]) != [b""]


def test_a_message_of_another_log_is_another() -> None:
    memory = Memory()
    entry = memory.message()
    memory.recall(2, id_of(1, "e0"))
    assert memory.wire.frames([entry]) != [b""]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"id": id_of(1)},
        {"group_id": "g"},
        {"id": "x", "group_id": "g"},
        {"id": "1-0.7.e1", "group_id": "g"},
        {"id": id_of(1), "group_id": "other"},
        {"id": None, "group_id": None},
    ],
)
def test_what_is_no_order_is_an_error_and_changes_nothing(data: dict[str, Any]) -> None:
    memory = Memory()
    entry = memory.message()
    order = memory.add(2, MESSAGE_RECALLED, data, kind=KIND_STATE)
    with pytest.raises((ValueError, LookupError)):
        memory.recalls.obey(order, data)
    memory.recalls.review([order])
    assert len(memory.recalls) == 0
    assert memory.wire.frames([entry]) != [b""]


def test_a_review_obeys_what_came_before() -> None:
    memory = Memory()
    message = memory.message()
    order = memory.recall(2, id_of(1), obey=False)
    forged = memory.add(3, MESSAGE_RECALLED, {"id": id_of(2), "group_id": "g"})  # an event of that name is no order
    broken = memory.add(4, MESSAGE_RECALLED, [1], kind=KIND_STATE)
    memory.recalls.review([message, order, forged, broken])
    assert memory.wire.frames([message]) == [b""]
    assert len(memory.recalls) == 1


def test_recalls_are_forgotten_in_time_and_beyond_the_bound() -> None:
    memory = Memory(remember_ms=10, most=3)
    for ms in range(1, 6):
        memory.recall(ms, id_of(100 + ms))
    assert [id_of(100 + ms) in memory.recalls for ms in range(1, 6)] == [False, False, True, True, True]
    memory.recall(50, id_of(200))
    assert (len(memory.recalls), id_of(200) in memory.recalls) == (1, True)


@pytest.mark.parametrize(
    ("data", "author"),
    [
        (b'{"from":"ann"}', "ann"),
        (b'{"from":"ann","content":123456789012345678901234567890}', "ann"),
        *((text, None) for text in (b"{}", b"[]", b"1", b"x", b'{"from":7}', b'{"from":null}', b"[" * 99 + b"]" * 99)),
    ],
)
def test_an_author_is_who_the_data_say(data: bytes, author: str | None) -> None:
    assert author_of(data) == author
