"""What a WebSocket client writes, as bytes."""

from __future__ import annotations


def upgrade(target: str, *lines: str) -> bytes:
    """Return an opening handshake."""
    head = [
        f"GET {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


def masked(payload: bytes, opcode: int = 1, *, first: int | None = None, mask: bytes = b"\x00" * 4) -> bytes:
    """Return a client's frame."""
    head = bytes((0x80 | opcode if first is None else first,))
    size = len(payload)
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65_536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return (
        head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        if any(mask)
        else head + mask + payload
    )
