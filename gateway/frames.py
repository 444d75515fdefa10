"""WebSocket frames (RFC 6455, section 5.2) as a server sends them: unmasked, never fragmented, finished bytes."""

from __future__ import annotations

import zlib

_FIN_TEXT = 0x81
_FIN_TEXT_RSV1 = 0xC1  # RSV1: compressed (RFC 7692, section 7.2.1)
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


def text_frame(payload: bytes) -> bytes:
    """Return a text frame with this payload, which must be UTF-8."""
    return _header(_FIN_TEXT, len(payload)) + payload


def deflated_frame(payload: bytes) -> bytes:
    """
    Return a text frame with this payload compressed on its own.

    Without context takeover a compressed message depends on nothing before it (RFC 7692, section 7.1.1.1), so the
    frame is the same for every connection that negotiated `server_no_context_takeover`.
    """
    compressor = zlib.compressobj(wbits=-15)
    deflated = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return _header(_FIN_TEXT_RSV1, len(deflated) - 4) + deflated.removesuffix(_DEFLATE_TAIL)


def payload_of(frame: bytes) -> bytes:
    """Return the payload of a frame made by `text_frame`."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


def is_utf8(payload: bytes) -> bool:
    """Tell whether a client's text is (RFC 6455, section 8.1)."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
