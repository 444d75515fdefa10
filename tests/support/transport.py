"""A subscriber's transport in memory: takes what is written until it is full, and knows what was delivered."""

from __future__ import annotations

import zlib

import orjson

from gateway.fanout import Fanout
from gateway.subscriber import MAX_WRITE_BYTES, Subscriber, Wire


def frames_in(data: bytes) -> list[tuple[bytes, bool]]:
    """Return the payload of each unmasked frame in `data`, and whether it is compressed."""
    frames = []
    at = 0
    while at < len(data):
        length = data[at + 1]
        start = at + {126: 4, 127: 10}.get(length, 2)
        if length > 125:
            length = int.from_bytes(data[at + 2 : start], "big")
        frames.append((data[start : start + length], bool(data[at] & 0x40)))
        at = start + length
    assert at == len(data), "a frame is cut"
    return frames


def inflated(payload: bytes) -> bytes:
    """Return what a message compressed on its own says (RFC 7692, section 7.2.2)."""
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\x00\x00\xff\xff")


class Receiver(Subscriber):
    """
    A subscriber with a transport of its own.

    Attributes:
        room: Bytes that it takes before it is full; None: it is never full.
        buffered: Bytes written since it was last empty.
        received: The `data` of each event, in the order of arrival.
        writes: What was written, write by write.
    """

    __slots__ = ("buffered", "fanout", "received", "room", "writes")

    def __init__(self, fanout: Fanout, wire: Wire, *, tenant: str = "default", room: int | None = None) -> None:
        super().__init__(tenant, wire, self.take)
        self.fanout = fanout
        self.room = room
        self.buffered = 0
        self.received: list[object] = []
        self.writes: list[bytes] = []

    def take(self, data: bytes) -> None:
        """Be written to."""
        assert not self.paused, "written to while full"
        frames = frames_in(data)
        assert len(data) <= MAX_WRITE_BYTES or len(frames) == 1, "more than one write may hold"
        self.writes.append(data)
        for payload, compressed in frames:
            self.received.append(orjson.loads(inflated(payload) if compressed else payload)["data"])
        self.buffered += len(data)
        if self.room is not None and self.buffered > self.room:
            self.pause(self.fanout.position)
