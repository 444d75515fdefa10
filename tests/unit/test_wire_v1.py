"""The wire format `tidegate.v1`: every frame of the server's, and what becomes of any bytes of a client's."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.entry import Entry
from gateway.errors import CommandError, PoisonEntry
from gateway.frames import payload_of
from gateway.wire import v1
from gateway.wire.v1 import Command, DeflateWire, TextWire, ack, decode_command, error_frame, server_frame
from publisher import Cursor
from publisher.event import KIND_NOTIFY
from tests.support.entries import EPOCH, Source
from tests.support.transport import frames_in, inflated

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20).filter(str.isprintable)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda kids: st.lists(kids, max_size=3) | st.dictionaries(st.text(), kids, max_size=3),
    max_leaves=10,
)


def read(frame: bytes) -> dict[str, Any]:
    """Return the envelope in a frame as any JSON parser sees it."""
    value: dict[str, Any] = json.loads(payload_of(frame))
    return value


# The server's own frames


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (v1.WELCOME, {"client_id": "c", "session_id": "s", "user_id": "42", "cursor": "1-0.0.e", "resumed": False}),
        (v1.PONG, {"cursor": "1-0.0.e"}),
        (v1.PONG, {}),
        (v1.ECHO, [1, "ü", None]),
        (v1.AUTH_SUCCESS, {"user_id": "42", "expires_at": 1}),
        (v1.AUTH_FAILED, {"reason": "expired", "message": "the token has expired"}),
        (v1.RESYNC, {"reason": "epoch", "cursor": "1-0.0.e", "addresses": ["all"]}),
        (v1.TOKEN_EXPIRING, {"expires_in_ms": 30_000}),
        (v1.GOING_AWAY, {"reconnect_in_ms": 7}),
    ],
)
def test_frame_of_the_servers_own_has_the_envelope(kind: str, data: Any) -> None:
    frame = server_frame(kind, data, message_id="m", now_ms=1_700_000_000_000)
    assert read(frame) == {"type": kind, "message_id": "m", "timestamp": 1_700_000_000_000, "data": data}


def test_names_of_frames_are_those_of_the_protocol() -> None:
    names = {v1.WELCOME, v1.ACK, v1.ERROR, v1.PONG, v1.ECHO, v1.AUTH_SUCCESS, v1.AUTH_FAILED, v1.RESYNC}
    assert names | {v1.TOKEN_EXPIRING, v1.GOING_AWAY} == {
        *("welcome", "ack", "error", "pong", "echo", "auth_success", "auth_failed", "resync"),
        *("token_expiring", "going_away"),
    }
    assert v1.SUBPROTOCOL == "tidegate.v1"


def test_ack_says_success_and_its_facts() -> None:
    reply = ack(id="1-0.0.e", unread_count=3)
    assert (reply.type, reply.data, reply.then) == ("ack", {"success": True, "id": "1-0.0.e", "unread_count": 3}, None)


def test_ready_text_goes_into_a_reply_as_it_is_however_deep() -> None:
    text = b'{"a": ' + b"[" * 80 + b"1.50" + b"]" * 80 + b"}"
    frame = server_frame("ack", orjson.Fragment(text), message_id="m", now_ms=1)
    assert payload_of(frame) == b'{"type":"ack","message_id":"m","timestamp":1,"data":' + text + b"}"


def test_reply_without_a_message_id_says_null() -> None:
    assert read(server_frame("ack", {}, message_id=None, now_ms=1))["message_id"] is None


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (CommandError(404, "there is no such command"), {"code": 404, "message": "there is no such command"}),
        (CommandError(429, "slow", retry_after_ms=20), {"code": 429, "message": "slow", "retry_after_ms": 20}),
        (CommandError(503, "now", retry_after_ms=0), {"code": 503, "message": "now", "retry_after_ms": 0}),
    ],
)
def test_error_frame(error: CommandError, data: dict[str, Any]) -> None:
    frame = error_frame(error, message_id="m", now_ms=5)
    assert read(frame) == {"type": "error", "message_id": "m", "timestamp": 5, "data": data}


def test_error_frame_has_the_message_id_that_the_decoder_read() -> None:
    with pytest.raises(CommandError) as refusal:
        decode_command(b'{"message_id": "m-1"}')
    assert read(error_frame(refusal.value, message_id=None, now_ms=5))["message_id"] == "m-1"


# Pushes


class Wires:
    """Both wires, and what they found to be poison."""

    def __init__(self, epoch: str = EPOCH) -> None:
        self.poison: list[PoisonEntry] = []
        self.text = TextWire(lambda _partition: epoch, self.poison.append)
        self.deflate = DeflateWire(self.text)


def test_push_has_the_envelope_and_its_cursor() -> None:
    entry = Source(3).entry(1_700_000_000_000, {"order": 7}, n=5)
    [frame] = Wires().text.frames([entry])
    assert read(frame) == {
        "type": "e",
        "message_id": "m",
        "timestamp": 1_700_000_000_000,
        "id": f"1700000000000-5.3.{EPOCH}",
        "data": {"order": 7},
    }


def test_id_of_a_push_is_a_cursor() -> None:
    [frame] = Wires("9f3a1c2b").text.frames([Source(3).entry(12, n=5)])
    assert Cursor.parse(read(frame)["id"]) == Cursor(12, 5, 3, "9f3a1c2b")


def test_epoch_is_that_of_the_partition() -> None:
    wire = TextWire("ab".__getitem__, lambda _poison: None)
    frames = wire.frames([Source(partition).entry(1) for partition in (0, 1)])
    assert [read(frame)["id"] for frame in frames] == ["1-0.0.a", "1-0.1.b"]


@pytest.mark.parametrize(
    "text",
    [
        b' {"a" : 1.0 }\n',
        b"18446744073709551616",
        b"1e5",
        b'"\\u00fc"',
        '"ü\u2028"'.encode(),
        b'{"a":1,"a":2}',
        b"null",
    ],
)
def test_data_is_forwarded_as_the_bytes_that_came(text: bytes) -> None:
    [frame] = Wires().text.frames([Source().entry(1, text=text)])
    assert payload_of(frame).endswith(b'"data":' + text + b"}")


@given(event=NAMES, message_id=NAMES, data=JSON)
def test_push_of_any_event_is_json_that_says_it(event: str, message_id: str, data: Any) -> None:
    text = json.dumps(data).encode()
    entry = Entry(b"5-0", 0, "t", ("all",), event.encode(), message_id.encode(), text, None)
    [frame] = Wires().text.frames([entry])
    envelope = read(frame)
    assert (envelope["type"], envelope["message_id"], envelope["data"]) == (event, message_id, data)


def test_frame_is_made_once() -> None:
    wires, entry = Wires(), Source().entry(1)
    [first], [second] = wires.text.frames([entry]), wires.text.frames([entry])
    assert first is second


def test_compressed_frame_is_made_once() -> None:
    wires, entry = Wires(), Source().entry(1)
    [first], [second] = wires.deflate.frames([entry]), wires.deflate.frames([entry])
    assert first is second


@given(data=JSON)
def test_compressed_frame_says_what_the_plain_one_says(data: Any) -> None:
    wires, entry = Wires(), Source().entry(1, text=json.dumps(data).encode())
    [plain], [deflated] = wires.text.frames([entry]), wires.deflate.frames([entry])
    [(payload, compressed)] = frames_in(deflated)
    assert compressed
    assert inflated(payload) == payload_of(plain)


def poisoned(**fields: bytes) -> Entry:
    good = {"event": b"e", "message_id": b"m", "data": b"1"}
    return Entry(b"5-0", 0, "t", ("all",), **{**good, **fields}, options=None)


POISON = [
    {"data": b""},
    {"data": b"{"},
    {"data": b"1 2"},
    {"data": b"NaN"},
    {"data": b"1e999"},
    {"data": b'"\xff"'},
    {"data": b'"\\ud800"'},
    {"data": b"\xef\xbb\xbf1"},
    {"data": b"[" * 2_000 + b"]" * 2_000},
    {"data": b"[" * 65 + b"]" * 65},
    {"data": b'1,"x":2'},
    {"event": b"\xff"},
    {"message_id": b"\xff"},
]


@pytest.mark.parametrize("fields", POISON)
def test_what_is_not_json_has_no_frame(fields: dict[str, bytes]) -> None:
    wires = Wires()
    assert wires.text.frames([poisoned(**fields)]) == [b""]
    assert [poison.entry_id for poison in wires.poison] == [b"5-0"]


@pytest.mark.parametrize("fields", POISON)
def test_what_is_not_json_has_no_compressed_frame_either(fields: dict[str, bytes]) -> None:
    assert Wires().deflate.frames([poisoned(**fields)]) == [b""]


def test_poison_is_told_once_for_all_wires() -> None:
    wires, entry = Wires(), poisoned(data=b"{")
    for wire in (wires.text, wires.deflate, wires.deflate, wires.text):
        wire.frames([entry])
    assert len(wires.poison) == 1


def test_poison_between_others_keeps_its_place() -> None:
    frames = Wires().text.frames([Source().entry(1), poisoned(data=b"{"), Source().entry(2)])
    assert [bool(frame) for frame in frames] == [True, False, True]


def test_the_cache_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.wire.v1._MAX_CACHED_NAMES", 3)
    wire = Wires().text
    for number in range(20):
        [frame] = wire.frames([poisoned(event=b"e%d" % number)])
        assert read(frame)["type"] == f"e{number}"
        assert len(wire._names) <= 3


# Commands


def test_command_is_read() -> None:
    command = decode_command(b'{"type":"echo","message_id":"m-1","timestamp":5,"data":[1],"more":true}')
    assert command == Command("echo", "m-1", [1])


@pytest.mark.parametrize("text", [b'{"type":"ping"}', b'{"type":"ping","data":null,"message_id":null}'])
def test_what_a_client_leaves_out_is_none_or_empty(text: bytes) -> None:
    assert decode_command(text) == Command("ping", None, {})


@pytest.mark.parametrize("data", [0, False, "", []])
def test_data_that_is_false_is_kept(data: Any) -> None:
    assert decode_command(orjson.dumps({"type": "echo", "data": data})).data == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"ping", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"type":"echo","data":"\xff"}', "not JSON"),
        (b'{"type":"echo","data":"\xed\xa0\x80"}', "not JSON"),
        (b'{"type":"echo","data":"\\ud800"}', "not JSON"),
        (b'{"type":"echo","data":NaN}', "not JSON"),
        (b'{"type":"echo","data":1e999}', "not JSON"),
        (b'{"type":"echo","data":[1e999,123456789012345678901]}', "not JSON"),
        (b'{"type":"echo","data":%b}' % (b"1" * 5_000), "not JSON"),
        (b'{"type":"echo"}{}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"type":"echo","data":%b%b}' % (b"[" * 64, b"]" * 64), "64 levels"),
        (b"[" * 60_000, "64 levels"),
        (b"null", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b'"ping"', "not a JSON object"),
        (b"{}", "type"),
        (b'{"type":null}', "type"),
        (b'{"type":7}', "type"),
        (b'{"type":["ping"]}', "type"),
        (b'{"type":"ping","message_id":7}', "message_id"),
        (b'{"type":"ping","message_id":""}', "message_id"),
        (b'{"type":"ping","message_id":"a\\nb"}', "message_id"),
        (b'{"type":"ping","message_id":{}}', "message_id"),
        (b'{"type":"ping","message_id":"%b"}' % (b"x" * 257), "message_id"),
    ],
)
def test_bad_frame_is_a_400_that_says_what_is_wrong(text: bytes, message: str) -> None:
    with pytest.raises(CommandError, match=message) as refusal:
        decode_command(text)
    assert refusal.value.code == 400


def test_message_of_a_refusal_is_short() -> None:
    with pytest.raises(CommandError) as refusal:
        decode_command(b'{"type":"' + b"x" * 60_000)
    assert len(refusal.value.message) <= 200


def test_command_may_be_as_deep_as_allowed() -> None:
    text = b'{"type":"echo","data":%b%b}' % (b"[" * 63, b"]" * 63)
    assert decode_command(text).data is not None


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | JSON.map(lambda v: json.dumps(v).encode()))
@example(b"9" * 19)
@example(b'{"type":"echo","data":' + b"9" * 4_400 + b"}")
@example(b'"\\')
def test_any_bytes_are_a_command_or_a_refusal(text: bytes) -> None:
    with contextlib.suppress(CommandError):
        assert isinstance(decode_command(text), Command)


@given(data=JSON)
@example(2**64)
@example(-(2**63) - 1)
@example([10**300, {"a": 2**64 - 1}])
def test_echo_returns_the_same_data(data: Any) -> None:
    command = decode_command(json.dumps({"type": "echo", "message_id": "m", "data": data}).encode())
    frame = server_frame(v1.ECHO, command.data, message_id=command.message_id, now_ms=1)
    assert read(frame)["data"] == data


# Notifications


def notification(text: bytes | None = None, **data: Any) -> Entry:
    return Source().entry(5, data, to="user:42", text=text, kind=KIND_NOTIFY)


def framed(entry: Entry) -> tuple[list[bytes], list[PoisonEntry]]:
    poison: list[PoisonEntry] = []
    return TextWire(lambda _: EPOCH, poison.append).frames([entry]), poison


def test_the_data_of_a_notification_begins_with_the_id_of_its_frame() -> None:
    entry = notification(text=b'{"type":"order","n":123456789012345678901234567890,"f":1.10}')
    ((frame,), poison) = framed(entry)
    assert read(frame)["data"]["id"] == read(frame)["id"] == f"5-0.0.{EPOCH}"
    assert payload_of(frame).endswith(
        b'"data":{"id":"5-0.0.e1","type":"order","n":123456789012345678901234567890,"f":1.10}}'
    )
    assert poison == []


@pytest.mark.parametrize("text", [b"{}", b" { } ", b'\n{"a":1}'])
def test_the_id_fits_into_any_object(text: bytes) -> None:
    ((frame,), _) = framed(notification(text=text))
    assert read(frame)["data"] == {"id": f"5-0.0.{EPOCH}", **json.loads(text)}


@pytest.mark.parametrize("text", [b"[]", b"1", b"null", b'"x"', b'{"id":"forged"}', b'{"i\\u0064":1}', b"{"])
def test_a_notification_that_is_no_object_or_claims_an_id_is_poison(text: bytes) -> None:
    ((frame,), poison) = framed(notification(text=text))
    assert frame == b""
    assert len(poison) == 1


def test_a_compressed_notification_has_its_id_too() -> None:
    entry = notification(title="t")
    frame = DeflateWire(TextWire(lambda _: EPOCH, lambda _: None)).frames([entry])[0]
    [(payload, _)] = frames_in(frame)
    assert json.loads(inflated(payload))["data"] == {"id": f"5-0.0.{EPOCH}", "title": "t"}


def test_a_plain_event_called_notification_is_left_alone() -> None:
    ((frame,), _) = framed(Source().entry(5, {"a": 1}, to="user:42"))
    assert read(frame)["data"] == {"a": 1}
