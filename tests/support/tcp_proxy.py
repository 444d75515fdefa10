"""A TCP proxy in front of a server, which can lose what comes back. Runs in threads: for blocking clients too."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class TcpProxy:
    """
    Forwards connections to a port of 127.0.0.1.

    `lose_replies(count)`: the next `count` script calls reach the server and are executed there, but the connection
    ends in place of their replies.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._to_lose = 0
        self._lost = 0
        self._connections = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The URL of Redis behind the proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def lost(self) -> int:
        """How many connections have ended in place of replies."""
        return self._lost

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return self._connections

    def lose_replies(self, count: int) -> None:
        """Let the next script calls be executed, and their replies be lost."""
        with self._lock:
            self._to_lose = count

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                client.close()
                continue
            self._connections += 1
            self._sockets += [client, server]
            calls = threading.Event()
            self._run(self._forward_commands, client, server, calls)
            self._run(self._forward_replies, client, server, calls)

    def _forward_commands(self, client: socket.socket, server: socket.socket, calls: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if b"EVAL" in data:
                    calls.set()
                server.sendall(data)
        _end(server)

    def _forward_replies(self, client: socket.socket, server: socket.socket, calls: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if calls.is_set() and self._loses(data):
                    break
                client.sendall(data)
        _end(client)
        _end(server)

    def _loses(self, data: bytes) -> bool:
        if data.startswith(b"-NOSCRIPT"):
            return False
        with self._lock:
            if not self._to_lose:
                return False
            self._to_lose -= 1
            self._lost += 1
            return True


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
