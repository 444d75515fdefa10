"""The core reads whole text frames itself, and everything else is read as `websockets` does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from gateway.core import Core
from tests.support.frames import masked

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
MAX_SIZE = 70_000
MASK = b"\x01\x80\xff\x7f"


def opened(extra: bytes = b"", **options: Any) -> Core:
    core = Core(**{"max_size": MAX_SIZE, **options})
    core.receive_data(HANDSHAKE + extra + b"\r\n")
    (request,) = core.events_received()
    core.send_response(core.accept(request))  # type: ignore[arg-type]
    core.data_to_send()
    return core


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def received(core: Core, pieces: list[bytes], *, takes: bool) -> tuple[list[tuple[Opcode, bool, bytes]], Any, bytes]:
    """Return the frames that a peer's bytes are, how the connection stands thereafter, and what it has answered."""
    frames = []
    for piece in pieces:
        rest = piece
        if takes:
            texts, rest = core.take_texts(piece)
            frames += [(Opcode.TEXT, True, text) for text in texts]
        core.receive_data(rest)
        frames += [(event.opcode, event.fin, bytes(event.data)) for event in core.events_received()]  # type: ignore[union-attr]
    sent = core.close_sent
    return frames, (core.state, sent and (sent.code, sent.reason)), b"".join(core.data_to_send())


PAYLOADS = st.binary(max_size=200) | st.sampled_from([b"x" * n for n in (125, 126, 127, 65_535, 65_536, MAX_SIZE + 1)])
FRAMES = st.one_of(
    st.builds(frame, st.just(Opcode.TEXT), PAYLOADS),
    st.builds(frame, st.just(Opcode.TEXT), PAYLOADS),
    st.builds(frame, st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]), PAYLOADS, fin=st.booleans()),
    st.builds(frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
    st.just(frame(Opcode.CLOSE, b"\x03\xe8")),
    st.just(b"\x81\x03abc"),  # not masked
    st.just(b"\xc1\x83" + MASK + b"abc"),  # compressed, which was not agreed on
    st.just(b"\x81\xff" + (5).to_bytes(8, "big") + MASK + b"abcde"),  # 64 bits of length, where 7 would do
    st.just(b"\x81\xfe" + (5).to_bytes(2, "big") + MASK + b"abcde"),
    st.binary(max_size=20),
)


@given(frames=st.lists(FRAMES, max_size=6), cuts=st.lists(st.integers(0, 2_000), max_size=6))
def test_it_reads_what_websockets_reads(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert received(opened(), pieces, takes=True) == received(opened(), pieces, takes=False)


def test_whole_texts_are_taken_at_once() -> None:
    core = opened()
    texts = [b'{"type":"ping"}', b"x" * 125, b"x" * 126, b"x" * 65_535]
    data = b"".join(masked(text, mask=MASK) for text in texts)
    assert core.take_texts(data) == (texts, b"")


def test_what_begins_in_one_piece_goes_on_in_the_next() -> None:
    core = opened()
    whole, cut = masked(b"whole", mask=MASK), masked(b"cut", mask=MASK)
    assert core.take_texts(whole + cut[:4]) == ([b"whole"], cut[:4])
    core.receive_data(cut[:4])
    assert core.take_texts(cut[4:] + whole) == ([], cut[4:] + whole)
    core.receive_data(cut[4:] + whole)
    assert [bytes(event.data) for event in core.events_received()] == [b"cut", b"whole"]  # type: ignore[union-attr]
    assert core.take_texts(whole) == ([b"whole"], b"")


@pytest.mark.parametrize("size", [MAX_SIZE, MAX_SIZE + 1, 65_536])
def test_what_is_large_is_left_to_the_core(size: int) -> None:
    data = masked(b"x" * size, mask=MASK)
    assert opened().take_texts(data) == ([], data)


def test_no_more_than_the_limit_is_taken() -> None:
    core = opened(max_size=10)
    data = masked(b"x" * 11, mask=MASK)
    assert core.take_texts(masked(b"x" * 10, mask=MASK) + data) == ([b"x" * 10], data)


def test_a_text_within_a_message_in_pieces_is_the_core_s() -> None:
    core = opened()
    core.receive_data(frame(Opcode.TEXT, b"begun", fin=False))
    data = masked(b"text", mask=MASK)
    assert core.take_texts(data) == ([], data)


def test_nothing_is_taken_before_the_handshake_or_after_the_end() -> None:
    data = masked(b"text", mask=MASK)
    core = Core(max_size=MAX_SIZE)
    assert core.take_texts(data) == ([], data)
    core.receive_data(HANDSHAKE + b"\r\n")
    assert core.take_texts(data) == ([], data)
    core = opened()
    core.send_close(1000)
    assert core.state is State.CLOSING
    assert core.take_texts(data) == ([], data)


def test_with_compression_a_plain_frame_is_taken_and_a_compressed_one_is_not() -> None:
    core = opened(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", extensions=[ServerPerMessageDeflateFactory()])
    plain = masked(b"plain", mask=MASK)
    compressed = Frame(Opcode.TEXT, b"compressed").serialize(mask=True, extensions=core.extensions)
    assert core.take_texts(plain + compressed) == ([b"plain"], compressed)
