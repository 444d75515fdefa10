"""Notifications: what holds for them, how they are encoded, and how those for many are cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher import PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown, make_notifications
from publisher.keys import partition_of
from publisher.notification import MAX_USERS, data_place, make_unread_count


def fields_of(event):
    return dict(zip(event.fields[::2], event.fields[1::2], strict=True))


def test_one_for_one_user_is_one_event_of_its_own_kind():
    made = make_notifications("42", title="Shipped", tenant="acme", key="k")
    (event,) = made.events
    fields = fields_of(event)
    assert (fields[b"k"], fields[b"e"], fields[b"t"]) == (b"notify", b"notification", b"acme")
    assert fields[b"to"] == b'["user:42"]'
    assert event.key == "k"
    assert json.loads(fields[b"d"]) == {
        "type": "general",
        "title": "Shipped",
        "content": "",
        "level": "info",
        "priority": "normal",
    }


def test_what_is_given_is_in_the_data_and_the_type_comes_first():
    given_ = {"type": "order", "title": "Größe 🧑‍🤝‍🧑", "content": "a\nb", "level": "error", "priority": "urgent"}
    extras = {"link": "/orders/7", "icon": "box", "data": {"n": 123456789012345678901234567890}}
    (event,) = make_notifications("42", **given_, **extras).events
    data = fields_of(event)[b"d"]
    assert data.startswith(b'{"type":"order","title":')
    assert json.loads(data) == given_ | extras


def test_low_priority_is_the_pushs_too_and_expiry_the_pushs_only():
    low = fields_of(make_notifications("42", title="t", priority="low", expires_in=60).events[0])
    urgent = fields_of(make_notifications("42", title="t", priority="urgent").events[0])
    assert low[b"p"] == b"low"
    assert b"exp" in low
    assert b"p" not in urgent


@pytest.mark.parametrize(
    ("to", "options", "problem"),
    [
        ("", {}, "not a user's id"),
        ("a\nb", {}, "not a user's id"),
        (7, {}, "not a user's id"),
        (["1", 7], {}, "not a user's id"),
        (["1", None], {}, "not a user's id"),
        ("x" * 257, {}, "not a user's id"),
        ("\ud800", {}, "not a user's id"),
        ([], {}, "nobody"),
        (["1"] * (MAX_USERS + 1), {}, "at most 100000"),
        ("42", {"title": ""}, "title"),
        ("42", {"title": "x" * 257}, "title"),
        ("42", {"title": "two\nlines"}, "title"),
        ("42", {"title": 7}, "title"),
        ("42", {"title": "\ud800"}, "JSON"),
        ("42", {"content": "x" * 4097}, "content"),
        ("42", {"content": None}, "content"),
        ("42", {"type": "x" * 65}, "type"),
        ("42", {"type": "a\x00b"}, "type"),
        ("42", {"level": "fatal"}, "level"),
        ("42", {"level": ["info"]}, "level"),
        ("42", {"priority": "highest"}, "priority"),
        ("42", {"link": "a\nb"}, "link"),
        ("42", {"link": ""}, "link"),
        ("42", {"icon": "x" * 2049}, "icon"),
        ("42", {"data": object()}, "JSON"),
        ("42", {"data": float("nan")}, "JSON"),
        ("42", {"data": "x" * 40_000}, "32768"),
        ("42", {"tenant": "a b"}, "tenant"),
        ("42", {"key": ""}, "key"),
        ("42", {"expires_in": 0}, "expires_in"),
    ],
)
def test_what_does_not_hold_is_refused_by_name(to, options, problem):
    with pytest.raises(PublishError, match=problem):
        make_notifications(to, **{"title": "t", **options})


def test_many_users_are_cut_into_entries_of_a_hundred_of_one_partition_each():
    users = [f"u{number}" for number in range(10_000)]
    made = make_notifications(users, title="t", partitions=4)
    assert 100 <= len(made.events) <= 104
    for event in made.events:
        to = json.loads(fields_of(event)[b"to"])
        assert len(to) <= 100
        assert len({partition_of(address, 4) for address in to}) == 1
    for user, place in zip(users, made.places, strict=True):
        assert f'"user:{user}"'.encode() in fields_of(made.events[place])[b"to"]


def test_a_user_who_is_named_twice_is_notified_once():
    made = make_notifications(["1", "2", "1"], title="t")
    assert fields_of(made.events[0])[b"to"] == b'["user:1","user:2"]'
    assert made.ids(["id"]) == ["id", "id", "id"]


@given(st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=300), st.integers(1, 8))
def test_the_same_call_has_the_same_keys_and_no_two_entries_share_one(users, partitions):
    one, two = (make_notifications(users, title="t", key="k", partitions=partitions) for _ in range(2))
    keys = [event.key for event in one.events]
    assert keys == [event.key for event in two.events]
    assert len(set(keys)) == len(keys)


def test_other_users_under_the_same_key_are_other_entries():
    (one,), (two,) = (make_notifications(users, title="t", key="k").events for users in (["1"], ["2"]))
    assert one.key != two.key


def test_ids_are_one_for_each_user_in_the_order_given():
    made = make_notifications(["b", "a", "c"], title="t", partitions=64)
    by_event = [f"id{place}" for place in range(len(made.events))]
    assert made.ids(by_event) == [by_event[place] for place in made.places]
    assert make_notifications("b", title="t").ids(["id"]) == "id"


def test_a_doubt_names_the_key_of_the_call():
    made = make_notifications(["1", "2"], title="t", key="order-7")
    with pytest.raises(PublishUnknown) as unknown:
        made.ids([PublishUnknown("?", key="order-7:inner")])
    assert unknown.value.key == "order-7"


def test_what_failed_in_part_says_so_for_each_user():
    users = [str(number) for number in range(150)]
    made = make_notifications(users, title="t", key="k")
    with pytest.raises(PublishIncomplete) as incomplete:
        made.ids(["id", PublishUnavailable("later")])
    results = incomplete.value.results
    assert len(results) == 150
    assert results.count("id") == 100


@given(st.text(min_size=1, max_size=256).filter(lambda text: text.isprintable() or "\u200d" in text))
def test_an_unread_count_can_be_told_to_every_user(user):
    try:
        event = make_unread_count("default", user)
    except PublishError:  # not a name
        return
    fields = fields_of(event)
    assert (fields[b"k"], fields[b"e"]) == (b"state", b"unread_count")
    assert event.fields[data_place(event) - 1] == fields[b"d"] == b"{}"


def test_the_place_of_the_data_is_found_in_a_tenant_called_like_its_field():
    event = make_unread_count("d", "42")
    assert event.fields[data_place(event) - 1] == b"{}"


def test_the_collapse_key_is_the_users_own():
    assert fields_of(make_unread_count("t", "42"))[b"c"] == b"unread_count:42"
    longest = fields_of(make_unread_count("t", "x" * 256))[b"c"]
    assert len(longest) <= 256
    assert longest != fields_of(make_unread_count("t", "y" * 256))[b"c"]
