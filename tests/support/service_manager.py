"""What systemd is to a service: the datagram socket that `NOTIFY_SOCKET` names."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Self


class Listener:
    """
    A service manager that listens. Use it as a context.

    Args:
        abstract: By a name in the abstract namespace (unix(7)) instead of a path.
    """

    def __init__(self, *, abstract: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tg-notify-")
        path = str(Path(self._folder.name) / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(f"\0{path}" if abstract else path)
        self.address = f"@{path}" if abstract else path
        self.messages: list[list[str]] = []

    def told(self, line: str) -> int:
        """Take what has come, and return how many messages had this line."""
        while True:
            try:
                self.messages.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return sum(line in message for message in self.messages)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._folder.cleanup()
