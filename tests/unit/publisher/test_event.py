"""Events: their encoding, and what is refused."""

from __future__ import annotations

import json
import time

import pytest

from publisher import Event, PublishError, make_event
from publisher.event import KIND_CONTROL, KIND_EPHEMERAL, MAX_EVENT_BYTES, MAX_EXPIRES_S, REQUIRED, event_from, listed

GOOD = {"event": "order.shipped", "data": {"order": 7}, "to": "user:42"}


def fields_of(event: Event) -> dict[bytes, bytes]:
    return dict(zip(event.fields[::2], event.fields[1::2], strict=True))


def test_a_plain_event_has_the_required_fields_only():
    fields = fields_of(make_event(**GOOD))
    assert tuple(fields) == REQUIRED
    message_id = fields.pop(b"m")
    assert fields == {b"v": b"1", b"t": b"default", b"to": b'["user:42"]', b"e": b"order.shipped", b"d": b'{"order":7}'}
    assert len(message_id) == 24


def test_every_option_has_its_field():
    before = int(time.time() * 1000)
    event = make_event(
        "note",
        "ü",
        to=["tag:vip", "group:ops"],
        exclude="user:1",
        tenant="acme",
        key="k",
        message_id="m-1",
        expires_in=1.5,
        priority="low",
        collapse="order-7",
        kind=KIND_CONTROL,
    )
    fields = fields_of(event)
    expires = int(fields.pop(b"exp"))
    assert before + 1500 <= expires <= time.time() * 1000 + 1500
    assert fields == {
        b"v": b"1",
        b"t": b"acme",
        b"to": b'["tag:vip","group:ops"]',
        b"e": b"note",
        b"m": b"m-1",
        b"d": '"ü"'.encode(),
        b"x": b'["user:1"]',
        b"k": b"control",
        b"p": b"low",
        b"c": b"order-7",
    }
    assert (event.first_address, event.tenant, event.message_id, event.key) == ("tag:vip", "acme", "m-1", "k")


def test_history_adds_no_field_and_is_a_groups():
    plain, kept = (make_event("e", 1, to="group:g", message_id="m", history=keep) for keep in (False, True))
    assert (plain.history, kept.history) == (False, True)
    assert kept.fields == plain.fields
    assert make_event("e", 1, to="group:g", exclude="client:c", history=True).history


@pytest.mark.parametrize(
    "options",
    [
        {"to": ["group:g", "group:h"]},
        {"to": ["group:g", "user:1"]},
        {"to": "all"},
        {"exclude": "user:1"},
        {"exclude": ["client:c", "tag:t"]},
        {"expires_in": 60},
        {"kind": KIND_CONTROL},
        {"kind": KIND_EPHEMERAL},
    ],
)
def test_what_not_every_member_may_read_for_good_is_not_kept(options):
    with pytest.raises(PublishError):
        make_event("e", 1, **{"to": "group:g", "history": True, **options})


def test_only_what_may_be_there_twice_is_repeatable():
    assert make_event("e", 1, to="group:g", kind=KIND_EPHEMERAL).repeatable
    assert not make_event("e", 1, to="group:g").repeatable


def test_each_event_has_its_own_message_id():
    assert make_event(**GOOD).message_id != make_event(**GOOD).message_id


DEEP = json.loads("[" * 80 + "]" * 80)
BAD_VALUES = [
    ("event", ["", "x" * 129, "a\nb", "\ud800", None, 7, b"e"]),
    ("data", [object(), float("nan"), "\ud800", DEEP, {1, 2}]),
    ("to", [[], "nobody", "role:x", None, 7, ["user:1", ""], "user:\ud800"]),
    ("exclude", ["nobody", 7, ["user:1", None]]),
    ("tenant", ["", "a b", "ä", None, "x" * 65, 7]),
    ("key", ["", "x" * 257, "a\tb", 7, b"k"]),
    ("message_id", ["", "x" * 257, "\n", 7]),
    ("expires_in", [0, -1, float("nan"), float("inf"), True, "60", 1e11]),
    ("priority", ["high", "", None, 1]),
    ("collapse", ["", "x" * 257, "\x00", 7]),
    ("history", [True, 1, "yes", None]),  # to a user there is none
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_VALUES for value in values])
def test_a_bad_value_is_refused_by_both_ways_to_make_an_event(name, value):
    with pytest.raises(PublishError):
        make_event(**{**GOOD, name: value})
    with pytest.raises(PublishError):
        event_from({**GOOD, name: value})


@pytest.mark.parametrize("seconds", [1e300, 10**12])
def test_an_expiry_that_is_too_far_is_refused_with_the_limit(seconds):
    make_event(**GOOD, expires_in=MAX_EXPIRES_S)
    with pytest.raises(PublishError, match=f"at most {MAX_EXPIRES_S}"):
        make_event(**GOOD, expires_in=seconds)


@pytest.mark.parametrize("events", [5, None, "all", b"", GOOD, make_event(**GOOD)])
def test_what_is_not_several_events_is_refused(events):
    with pytest.raises(PublishError, match="is not a list of events"):
        listed(events)


def test_several_events_may_come_from_a_generator():
    assert listed(spec for spec in [GOOD]) == [GOOD]


def test_an_event_is_as_large_as_allowed_and_no_larger():
    empty = sum(map(len, make_event("e", "", to="all", message_id="m").fields))
    longest = "x" * (MAX_EVENT_BYTES - empty)
    assert sum(map(len, make_event("e", longest, to="all", message_id="m").fields)) == MAX_EVENT_BYTES
    with pytest.raises(PublishError, match="over the limit"):
        make_event("e", longest + "x", to="all", message_id="m")


def test_a_mapping_becomes_the_same_event():
    spec = {**GOOD, "message_id": "m", "exclude": ["user:1"], "priority": "low"}
    assert event_from(spec) == make_event(**spec)


def test_an_event_passes_as_it_is():
    event = make_event(**GOOD)
    assert event_from(event) is event


@pytest.mark.parametrize("spec", [{}, {"event": "e", "to": "all"}, None, "e", [GOOD], {**GOOD, 7: 1}])
def test_what_is_not_an_event_is_refused(spec):
    with pytest.raises(PublishError):
        event_from(spec)


@pytest.mark.parametrize("name", ["kind", "max_event_bytes", "prioritty"])
def test_a_mapping_cannot_say_what_publish_cannot(name):
    with pytest.raises(PublishError, match=name):
        event_from({**GOOD, name: b"control"})


def test_data_is_compact_json():
    assert json.loads(fields_of(make_event("e", {"a": [1, None]}, to="all"))[b"d"]) == {"a": [1, None]}
