"""The socket: what a connection needs of its transport."""

from __future__ import annotations

from typing import Protocol


class Socket(Protocol):
    """What a connection needs of its transport."""

    def write(self, data: bytes) -> None:
        """Send finished frames; may call `transport_paused` before it returns."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end the connection in good order, or by force after a while."""

    def ping(self) -> None:
        """Send a WebSocket ping."""

    def abort(self) -> None:
        """End the connection at once."""

    def pause_reading(self) -> None:
        """Let the kernel hold what the client sends."""

    def resume_reading(self) -> None:
        """Take what the client sends again."""

    def unsent(self) -> int:
        """Return how many bytes the peer has not taken yet, the kernel's included."""
