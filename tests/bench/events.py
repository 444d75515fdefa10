"""
The events that are measured: raw stream entries as the publisher would write them, ready to be sent to Redis.

Every frame has about `FRAME_BYTES` bytes of JSON. Its data names the moment of publishing (`ts`, nanoseconds
of CLOCK_MONOTONIC, which all processes share) and its number (`seq`), both of fixed width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from publisher import keys

FRAME_BYTES = 270
STREAM = keys.stream(0).encode()
NAME = b"bench.event"
TO_ALL = b'["all"]'

_FRAME = b'{"type":"%b","message_id":"%024x","timestamp":1764930000000,"id":"1764930000000-0.0.9f3a1c2b","data":%b}'
_DATA = b'{"pad":"%b","seq":"%010d","ts":"%019d"}'
_PAD = b"." * (FRAME_BYTES - len(_FRAME % (NAME, 0, _DATA % (b"", 0, 0))))

# `at(k)` is the audience of the k-th event: the `to` field, JSON text.
Audience = Callable[[int], bytes]


def xadd(to: bytes, number: int) -> bytes:
    """Return one XADD in Redis' wire format, stamped with the present moment."""
    data = _DATA % (_PAD, number, time.monotonic_ns())
    return (
        b"*15\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$1\r\nv\r\n$1\r\n1\r\n$1\r\nt\r\n$7\r\ndefault\r\n"
        b"$2\r\nto\r\n$%d\r\n%b\r\n$1\r\ne\r\n$%d\r\n%b\r\n$1\r\nm\r\n$24\r\n%024x\r\n$1\r\nd\r\n$%d\r\n%b\r\n"
        % (len(STREAM), STREAM, len(to), to, len(NAME), NAME, number, len(data), data)
    )


def frame() -> bytes:
    """Return the JSON text of a finished frame, as a gateway would send it."""
    return _FRAME % (NAME, 0, _DATA % (_PAD, 0, 0))


def to_everybody(_: int) -> bytes:
    """Address every socket."""
    return TO_ALL


def to_user(number: int) -> bytes:
    """Address one user."""
    return b'["user:u%d"]' % number


def to_users(count: int) -> Audience:
    """Address the users in turn. The stride, prime to any count here, keeps neighbours apart."""
    return lambda k: to_user(k * 7919 % count)


def to_groups(count: int) -> Audience:
    """Address the groups in turn."""
    return lambda k: b'["group:g%d"]' % (k * 7919 % count)


def missed_by(clients: int, *, events: int, shared: int) -> Iterator[bytes]:
    """
    Yield the audiences of what each of `clients` users misses: `events` each, in rounds of `shared` for
    everybody and one for each user. The receiver knows this order.
    """
    for _ in range(events // (shared + 1)):
        for _ in range(shared):
            yield TO_ALL
        for user in range(clients):
            yield to_user(user)
