"""
The producer: writes prepared entries to the stream, as one burst or at a pace.

A raw socket, because a client library would take the processor from the receiver, which shares its core.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any

import hiredis

from tests.bench.events import Audience, xadd

REPLY_TIMEOUT_S = 60


class Producer:
    """One connection to one database of the bench's Redis server."""

    def __init__(self, redis_path: str, database: int) -> None:
        self._replies = hiredis.Reader()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(REPLY_TIMEOUT_S)
        self._socket.connect(redis_path)
        self._socket.sendall(b"SELECT %d\r\n" % database)
        self._receive(1)
        self._number = 0

    def close(self) -> None:
        self._socket.close()

    def prepare(self, audience: Audience, count: int) -> list[bytes]:
        """Encode `count` entries."""
        return [xadd(audience(k), k) for k in range(count)]

    def burst(self, entries: Sequence[bytes]) -> int:
        """
        Write all entries in one transaction, so that readers find them as a backlog.

        Returns:
            The moment at which they became visible, in nanoseconds of the monotonic clock.
        """
        self._socket.sendall(b"MULTI\r\n" + b"".join(entries))
        self._receive(len(entries) + 1)
        self._socket.sendall(b"EXEC\r\n")
        self._socket.recv(1, socket.MSG_PEEK)
        visible_ns = time.monotonic_ns()
        self._receive(1)
        return visible_ns

    def pace(self, audience: Audience, *, per_second: float, count: int) -> float:
        """
        Write `count` entries, each stamped when it is sent; wait for none of the replies before the end.

        Returns:
            The pace that was kept, in entries a second.
        """
        started = time.monotonic()
        pending = 0
        for k in range(count):
            delay = started + k / per_second - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            self._socket.sendall(xadd(audience(k), k))
            pending -= self._receive_ready() - 1
        self._receive(pending)
        return count / (time.monotonic() - started)

    def _receive(self, count: int) -> None:
        while count > 0:
            count -= self._take()
            if count > 0:
                self._replies.feed(self._socket.recv(1 << 20))

    def _receive_ready(self) -> int:
        try:
            self._replies.feed(self._socket.recv(1 << 16, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0
        return self._take()

    def _take(self) -> int:
        taken = 0
        while (reply := self._replies.gets()) is not False:
            _raise_error(reply)
            taken += 1
        return taken


def _raise_error(reply: Any) -> None:
    for part in reply if isinstance(reply, list) else [reply]:
        if isinstance(part, hiredis.ReplyError):
            raise part
