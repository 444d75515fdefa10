"""
One WebSocket client of the Python receiver: upgrade, frames, pongs. See `native/clients.c`.
"""

from __future__ import annotations

import json
import socket

READ_BYTES = 512 * 1024
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
NO_MASK = bytes(4)  # RFC 6455, 5.3: a client masks; a masking key of zero leaves the payload as it is


class Client:
    """A socket, what has come of its next frame, and its place in the log."""

    def __init__(self, index: int, token: str) -> None:
        self.index = index
        self.token = token
        self.socket: socket.socket | None = None
        self.welcomed = False
        self.received = 0
        self._sent = 0  # never reset: a message_id that comes again is taken for a retry
        self._cursor = b""
        self._upgraded = False
        self._unread = b""

    def open(self, port: int, *, resume: bool) -> socket.socket:
        """Connect and send the upgrade request."""
        cursor = f"cursor={self._cursor.decode()}&" if resume else ""
        self.welcomed = self._upgraded = False
        self.received = 0
        self._unread = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET /ws?{cursor}token={self.token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.socket.setblocking(False)
        return self.socket

    def remember_cursor(self, text: bytes, key: bytes = b'"id":"') -> None:
        """Keep the position that a frame names."""
        _, found, value = text.partition(key)
        if found:
            self._cursor = value.partition(b'"')[0]

    def say(self, group_size: int) -> None:
        """Send the next message to the client's group."""
        message = {
            "type": "send_message",
            "message_id": f"c{self.index:05}-{self._sent:08}",
            "timestamp": 0,
            "data": {"group_id": f"chat-{self.index // group_size}", "content": {"text": f"{self._sent:096}"}},
        }
        self._sent += 1
        self._send(TEXT, json.dumps(message, separators=(",", ":")).encode())

    def receive(self) -> tuple[list[bytes], bool]:
        """Read once. Return the text frames that are complete, and whether the connection lives on."""
        assert self.socket is not None
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return [], True
        except ConnectionError:
            chunk = b""
        if not chunk:
            return [], False
        data = self._unread + chunk
        start = 0 if self._upgraded else self._take_response(data)
        return self._take_frames(data, start) if self._upgraded else ([], True)

    def _take_response(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._unread = data
            return 0
        if not data.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"the upgrade was refused: {data[:40]!r}")
        self._upgraded = True
        return end + 4

    def _take_frames(self, data: bytes, start: int) -> tuple[list[bytes], bool]:
        texts = []
        while len(data) - start >= 4 or (len(data) - start >= 2 and data[start + 1] < 126):
            kind, length, header = data[start], data[start + 1], 2
            if length == 126:
                length, header = int.from_bytes(data[start + 2 : start + 4], "big"), 4
            end = start + header + length
            if end > len(data):
                break
            payload = data[start + header : end]
            start = end
            if kind == TEXT:
                texts.append(payload)
            elif kind == PING:
                self._send(PONG, payload)
            elif kind == CLOSE:
                return texts, False
        self._unread = data[start:]
        return texts, True

    def _send(self, kind: int, payload: bytes) -> None:
        assert self.socket is not None
        size = len(payload)
        header = bytes([kind, 0x80 | size]) if size < 126 else bytes([kind, 0xFE, size >> 8, size & 0xFF])
        self.socket.sendall(header + NO_MASK + payload)
