"""
Baseline (b) without a compiler: what `native/limit.c` does, in Python. The protocol is described there.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from pathlib import Path

UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    b'\x81\x12{"type":"welcome"}'
)
STAMP_MARK = b'"ts":"'
STAMP_DIGITS = 19


class Limit:
    """A listener, its sockets, and the one frame that they are sent."""

    def __init__(self, payload: bytes) -> None:
        self._frame = bytearray(b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload)
        self._stamp = self._frame.index(STAMP_MARK) + len(STAMP_MARK)
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._obey)

    def serve(self) -> None:
        """Serve until stdin ends."""
        _say(event="ready", port=self._listener.getsockname()[1])
        while True:
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    def _accept(self, _: object) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, self._read)

    def _read(self, client: socket.socket) -> None:
        try:
            request = client.recv(8192)
        except ConnectionError:
            request = b""
        if request.startswith(b"GET "):
            client.send(UPGRADE)
            self._sockets.append(client)
        elif not request:
            self._selector.unregister(client)
            self._sockets = [other for other in self._sockets if other is not client]
            client.close()

    def _obey(self, _: object) -> None:
        words = sys.stdin.readline().split()
        if not words:
            sys.exit()
        self._run(float(words[1]), int(words[2]))

    def _run(self, rate: float, count: int) -> None:
        started = time.monotonic()
        unsent = 0
        for k in range(1, count + 1):
            time.sleep(max(0.0, started + k / rate - time.monotonic()))
            stamp = b"%0*d" % (STAMP_DIGITS, time.monotonic_ns())
            self._frame[self._stamp : self._stamp + STAMP_DIGITS] = stamp
            frame = bytes(self._frame)
            unsent += sum(_send(client, frame) != len(frame) for client in self._sockets)
        _say(event="ran", sends=count * len(self._sockets), unsent=unsent)


def _send(client: socket.socket, frame: bytes) -> int:
    try:
        return client.send(frame)
    except BlockingIOError:
        return 0


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    Limit(Path(sys.argv[1]).read_bytes()).serve()
