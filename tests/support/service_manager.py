"""What systemd is to a service: the datagram socket that `NOTIFY_SOCKET` names."""

from __future__ import annotations

import select
import socket
import tempfile
import threading
from pathlib import Path
from typing import Self

_LOOK_EVERY_S = 0.05


class Listener:
    """
    A service manager that listens, as long as the context lasts.

    It reads what comes at once, as systemd does: the kernel may hold ten datagrams, and then the sender waits.

    Args:
        abstract: By a name in the abstract namespace (unix(7)) instead of a path.
    """

    def __init__(self, *, abstract: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tg-notify-")
        path = str(Path(self._folder.name) / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(f"\0{path}" if abstract else path)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="service-manager")
        self.address = f"@{path}" if abstract else path
        self.messages: list[list[str]] = []

    def told(self, line: str) -> int:
        """Return how many messages had this line, those included that have just been sent."""
        self._take()
        return sum(line in message for message in self.messages)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()
        self._folder.cleanup()

    def _read(self) -> None:
        while not self._ended.is_set():
            if select.select([self._socket], [], [], _LOOK_EVERY_S)[0]:
                self._take()

    def _take(self) -> None:
        with self._lock:  # so that what is received is also seen
            while True:
                try:
                    self.messages.append(self._socket.recv(4096).decode().split("\n"))
                except BlockingIOError:
                    return
