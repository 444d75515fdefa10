"""
The receiver without a compiler: what `native/receiver.c` does, in Python. The protocol is described there.

It holds back the fastest rows: a run with it says so at its start.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.fallback_client import Client

CHAT_SETTLE_S = 0.3
IDLE_POLL_S = 0.05
RESET = struct.pack("ii", 1, 0)


class Receiver:
    """The clients, and what is made of the frames that they receive."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._commands = b""
        self._clients: list[Client] = []
        self._port = self._opened = self._welcomed = self._window = 0
        self._resuming = False
        self._started_ns = self._first_ns = self._last_ns = 0
        self._on_text: Callable[[Client, bytes], None] = self._ignore
        self._missed = self._shared = self._group_size = 0
        self._chat_started_ns = self._chat_ends_ns = 0
        self._lost = 0
        self._start(self._ignore, 0)

    def run(self) -> None:
        """Obey until stdin ends."""
        while True:
            for key, _ in self._selector.select(IDLE_POLL_S if self._chat_ends_ns else None):
                if key.data is None:
                    self._read_commands()
                else:
                    self._read(key.data)
            self._check_progress()

    def _read_commands(self) -> None:
        chunk = os.read(sys.stdin.fileno(), 8192)
        if not chunk:
            sys.exit()
        *lines, self._commands = (self._commands + chunk).split(b"\n")
        for line in lines:
            name, *arguments = line.decode().split()
            getattr(self, f"obey_{name}")(*arguments)

    def obey_connect(self, port: str, token_file: str, window: str) -> None:
        tokens = Path(token_file).read_text().splitlines()
        self._clients = [Client(index, token) for index, token in enumerate(tokens)]
        self._port = int(port)
        self._open(int(window), resume=False)

    def obey_expect(self, frames: str, what: str) -> None:
        handlers = {"count": self._ignore, "latency": self._sample, "cursor": Client.remember_cursor}
        self._start(handlers[what], int(frames))
        _say(event="armed")

    def obey_report(self) -> None:
        self._report("progress")

    def obey_drop(self) -> None:
        for client in self._clients:
            self._close(client)
        self._opened = len(self._clients)
        _say(event="dropped")

    def obey_resume(self, window: str, missed: str, shared: str) -> None:
        self._missed, self._shared = int(missed), int(shared)
        self._start(self._check_resumed, len(self._clients) * self._missed)
        self._open(int(window), resume=True)

    def obey_chat(self, seconds: str, window: str, group_size: str) -> None:
        self._start(self._on_chat, 0)
        self._group_size = int(group_size)
        self._chat_started_ns = self._last_ns = time.monotonic_ns()
        self._chat_ends_ns = self._chat_started_ns + int(float(seconds) * 1e9)
        self._chat = dict.fromkeys(("acked", "delivered", "refused", "acked_in_time", "delivered_in_time"), 0)
        for client in self._clients:
            for _ in range(int(window)):
                client.say(self._group_size)

    def _start(self, on_text: Callable[[Client, bytes], None], expected: int) -> None:
        self._on_text = on_text
        self._expected = expected
        self._frames = self._bytes = self._wrong = self._first_ns = self._last_ns = 0
        self._samples: list[int] = []

    def _open(self, window: int, *, resume: bool) -> None:
        self._opened = self._welcomed = 0
        self._window = window
        self._resuming = resume
        self._started_ns = time.monotonic_ns()

    def _close(self, client: Client) -> None:
        if client.socket is None:
            return
        self._selector.unregister(client.socket)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.socket.close()
        client.socket = None

    def _read(self, client: Client) -> None:
        if client.socket is None:
            return
        self._last_ns = time.monotonic_ns()
        self._first_ns = self._first_ns or self._last_ns
        texts, alive = client.receive()
        for text in texts:
            self._take(client, text)
        if not alive:
            self._close(client)
            self._lost += 1

    def _take(self, client: Client, text: bytes) -> None:
        if client.welcomed:
            self._frames += 1
            self._bytes += len(text)
            self._on_text(client, text)
            return
        client.welcomed = True
        self._welcomed += 1
        if not self._resuming:
            client.remember_cursor(text, b'"cursor":"')
            if self._welcomed == len(self._clients):
                self._report("connected")

    def _check_progress(self) -> None:
        now_ns = time.monotonic_ns()
        if self._chat_ends_ns and now_ns > max(self._chat_ends_ns, self._last_ns + CHAT_SETTLE_S * 1e9):
            self._end_chat()
        elif self._expected and self._frames >= self._expected:
            self._expected = 0
            self._report("resumed" if self._on_text == self._check_resumed else "done")
        while self._opened < len(self._clients) and self._opened - self._welcomed < self._window:
            client = self._clients[self._opened]
            self._opened += 1
            self._selector.register(client.open(self._port, resume=self._resuming), selectors.EVENT_READ, client)

    def _ignore(self, client: Client, text: bytes) -> None:
        """The frame has been counted."""

    def _sample(self, client: Client, text: bytes) -> None:
        _, found, stamp = text.partition(b'"ts":"')
        if found:
            self._samples.append(self._last_ns - int(stamp[:19]))
        else:
            self._wrong += 1

    def _check_resumed(self, client: Client, text: bytes) -> None:
        turn, place = divmod(client.received, self._shared + 1)
        number = turn * (self._shared + len(self._clients)) + place
        number += client.index if place == self._shared else 0
        found = text.partition(b'"seq":"')[2].partition(b'"')[0]
        if client.received >= self._missed or not found.isdigit() or int(found) != number:
            self._wrong += 1
        client.received += 1
        client.remember_cursor(text)

    def _on_chat(self, client: Client, text: bytes) -> None:
        in_time = self._last_ns < self._chat_ends_ns
        if b'"type":"new_message"' in text:
            self._chat["delivered"] += 1
            self._chat["delivered_in_time"] += in_time
            return
        if b'"type":"ack"' in text:
            self._chat["acked"] += 1
            self._chat["acked_in_time"] += in_time
        elif b'"type":"error"' in text:
            self._chat["refused"] += 1
        else:
            return
        if in_time:
            client.say(self._group_size)

    def _end_chat(self) -> None:
        _say(
            event="chatted",
            seconds=(self._chat_ends_ns - self._chat_started_ns) / 1e9,
            lost=self._lost,
            drain_seconds=(self._last_ns - self._chat_ends_ns) / 1e9,
            **self._chat,
        )
        self._chat_ends_ns = 0

    def _report(self, event: str) -> None:
        ordered = sorted(self._samples) or [0]
        _say(
            event=event,
            frames=self._frames,
            bytes=self._bytes,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            wrong=self._wrong,
            lost=self._lost,
            p50_us=ordered[int((len(ordered) - 1) * 0.5)] / 1e3,
            p99_us=ordered[int((len(ordered) - 1) * 0.99)] / 1e3,
            started_ns=self._started_ns,
        )


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    Receiver().run()
