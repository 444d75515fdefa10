"""Properties of what reads: hypothesis looks for the smallest input that breaks one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from gateway import handshake
from gateway.decoder import EntryDecoder
from gateway.entry import Entry
from gateway.errors import CommandError, PoisonEntry
from gateway.wire.v1 import Command, TextWire, decode_command
from publisher import event as fields_of

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_ENVELOPES = st.fixed_dictionaries({}, optional={"type": _JSON, "message_id": _JSON, "data": _JSON})
_NAMES = st.sampled_from([*fields_of.REQUIRED, b"x", b"k", b"exp", b"p", b"c", b"?"])
_FIELD_VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=80)
_VALUES = st.binary(max_size=40) | _JSON.map(lambda value: orjson.dumps(str(value))) | st.just(b"1")


@given(st.binary(max_size=300) | _ENVELOPES.map(lambda envelope: orjson.dumps(_within_64_bits(envelope))))
def test_a_frame_is_a_command_or_refused_with_400(payload: bytes) -> None:
    try:
        command = decode_command(payload)
    except CommandError as refused:
        code = refused.code
    else:
        assert isinstance(command, Command)
        code = 400 if isinstance(command.type, str) else None
    assert code == 400


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=12))
def test_an_entry_is_read_alike_in_both_ways_or_is_poison(pairs: list[tuple[bytes, bytes]]) -> None:
    plain = [(fields_of.F_VERSION, b"1"), (fields_of.F_TENANT, b"default"), (fields_of.F_TO, b'["all"]')]
    rest = [(name, b"1") for name in fields_of.REQUIRED[3:]]
    fields = [part for pair in [*plain, *rest, *pairs] for part in pair]
    decoder = EntryDecoder(0)
    try:
        entry = decoder.decode(b"1-1", fields)
    except PoisonEntry:
        with pytest.raises(PoisonEntry):
            decoder.decode_all([(b"1-1", fields)])
        return
    (again,) = decoder.decode_all([(b"1-1", fields)])
    assert _facts(again) == _facts(entry)


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
def test_a_payload_becomes_a_frame_of_json_or_none(name: bytes, message_id: bytes, data: bytes) -> None:
    poison: list[PoisonEntry] = []
    wire = TextWire(lambda _: "e1", poison.append)
    (frame,) = wire.frames([Entry(b"1-1", 0, "default", ("all",), name, message_id, data, None)])
    assert bool(frame) is not bool(poison)
    if frame:
        assert orjson.loads(frame[2 if frame[1] < 126 else 4 :])["id"] == "1-1.0.e1"


@given(st.text(max_size=80), _FIELD_VALUES, _FIELD_VALUES, _FIELD_VALUES)
def test_a_handshake_has_credentials_or_none(query: str, authorization: str, offered: str, origin: str) -> None:
    headers = Headers({"Authorization": authorization, "Sec-WebSocket-Protocol": offered, "Origin": origin})
    found = handshake.credentials(query, headers)
    assert found.token is None or found.token
    assert not handshake.origin_allowed(headers, frozenset())


def _within_64_bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _within_64_bits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_within_64_bits(item) for item in value]
    return value % 2**63 if isinstance(value, int) and not isinstance(value, bool) else value


def _facts(entry: Entry) -> tuple[object, ...]:
    return entry.tenant, entry.to, entry.event, entry.message_id, entry.data, entry.options
