"""Frames: what a WebSocket client reads is what was put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from gateway.frames import deflated_frame, payload_of, text_frame

LENGTHS = [0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 200_000]


def read(data: bytes, *extensions: PerMessageDeflate) -> Frame:
    """Read the one frame in `data` as a client does."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=False, extensions=extensions)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert not reader.buffer, "something is left behind the frame"
    frame: Frame = done.value.value
    return frame


def client_deflate() -> PerMessageDeflate:
    """Return the client's side of an extension without context takeover."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


def is_one_text_message(frame: Frame) -> bool:
    return frame.opcode is Opcode.TEXT and frame.fin


@pytest.mark.parametrize("length", LENGTHS)
def test_payload_of_any_length_is_read_back(length: int) -> None:
    payload = b"x" * length
    frame = read(text_frame(payload))
    assert is_one_text_message(frame)
    assert frame.data == payload


@pytest.mark.parametrize(("length", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_length_takes_as_few_bytes_as_it_can(length: int, header: int) -> None:
    assert len(text_frame(b"x" * length)) == header + length


def test_plain_frame_is_not_marked_as_compressed() -> None:
    assert not read(text_frame(b"{}")).rsv1


@pytest.mark.parametrize("length", LENGTHS)
def test_deflated_payload_of_any_length_is_read_back(length: int) -> None:
    payload = bytes(range(97, 123)) * (length // 26 + 1)
    assert read(deflated_frame(payload[:length]), client_deflate()).data == payload[:length]


@given(st.text())
def test_deflated_text_is_read_back(text: str) -> None:
    frame = read(deflated_frame(text.encode()), client_deflate())
    assert is_one_text_message(frame)
    assert frame.data == text.encode()


def test_deflated_frames_depend_on_nothing_before_them() -> None:
    extension = client_deflate()
    frame = deflated_frame(b"the same" * 100)
    assert [read(frame, extension).data for _ in range(3)] == [b"the same" * 100] * 3


def test_deflated_frame_is_marked_as_compressed() -> None:
    assert deflated_frame(b"{}")[0] & 0x40


@pytest.mark.parametrize("length", LENGTHS)
def test_payload_is_found_in_its_frame(length: int) -> None:
    assert payload_of(text_frame(b"x" * length)) == b"x" * length
