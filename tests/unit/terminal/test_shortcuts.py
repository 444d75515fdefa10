"""What can be typed into `gateway connect`."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.terminal.shortcuts import HELP, Misunderstood, understand


@pytest.mark.parametrize(
    ("typed", "kind", "data"),
    [
        ("/join ops", "join_group", {"group_id": "ops"}),
        ("/leave ops", "leave_group", {"group_id": "ops"}),
        ("/sub a b", "subscribe", {"topic": "a b"}),
        ("/unsub o", "unsubscribe", {"topic": "o"}),
        ("/tag vip", "add_tag", {"tag": "vip"}),
        ("/untag vip", "remove_tag", {"tag": "vip"}),
        ("/send ops  hello  there", "send_message", {"group_id": "ops", "content": "hello  there"}),
        ('/to 7 {"a": [1]}', "send_message", {"to": "7", "content": {"a": [1]}}),
        ("/to 7 {oh, no", "send_message", {"to": "7", "content": "{oh, no"}),
        ("/to 7 12", "send_message", {"to": "7", "content": "12"}),
        ("/echo hi", "echo", "hi"),
        ("/ping", "ping", {}),
        ("/info", "get_client_info", {}),
        ('{"type": "x"}', "x", {}),
        ('{"type": "x", "data": [1]}', "x", [1]),
    ],
)
def test_each_line_stands_for_a_frame(typed, kind, data):
    frame = understand(typed)
    assert (frame.type, frame.data) == (kind, data)
    assert json.loads(frame.encode()) == {"type": kind, "message_id": frame.message_id, "data": data}


def test_a_raw_frame_keeps_its_message_id_and_others_get_a_new_one():
    assert understand('{"type": "x", "message_id": "mine"}').message_id == "mine"
    assert understand("/ping").message_id != understand("/ping").message_id


@pytest.mark.parametrize(
    "typed", ["hello", "/", "/fly", "/join", "/send", "/send g", "/to 7 ", "{", "{}", '{"type": 1}']
)
def test_what_stands_for_none_is_explained(typed):
    with pytest.raises(Misunderstood, match=r".{10}"):
        understand(typed)


@given(st.text())
def test_nothing_typed_is_a_bug(typed):
    with contextlib.suppress(Misunderstood):
        assert understand(typed).encode()


@given(st.sampled_from(["/to 7 ", "/send g ", "/echo "]), st.text())
def test_no_message_is_a_bug(beginning, text):
    with contextlib.suppress(Misunderstood):
        assert understand(beginning + text).encode()


@pytest.mark.parametrize("data", ['"\\ud800"', str(2**70), "NaN", "[" * 200 + "]" * 200])
def test_what_the_gateway_may_refuse_can_still_be_sent(data):
    assert understand('{"type": "echo", "data": ' + data + "}").encode()


def test_what_no_parser_takes_is_not_json():
    with pytest.raises(Misunderstood, match="not JSON"):
        understand('{"type": ' + "[" * 200_000)


def test_the_help_names_every_shortcut():
    for word in ("join", "leave", "sub", "unsub", "tag", "untag", "send", "to", "ping", "info", "echo", "quit"):
        assert f"/{word}" in HELP
