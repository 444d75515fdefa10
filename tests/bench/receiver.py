"""
The harness's side of a receiver: its commands as methods, its answers as values.

The protocol is described in `native/receiver.c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.process import BenchError, Child

CONNECT_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    What has arrived.

    Attributes:
        frames, bytes: Counts, of text frames and of their payloads.
        started_ns, last_ns: When the connecting began, and when the last bytes came.
        wrong: Frames that were not the expected ones.
        lost: Connections that the server closed.
        p50_us, p99_us: From publish to receipt, where that was asked for.
    """

    frames: int
    bytes: int
    started_ns: int
    last_ns: int
    wrong: int
    lost: int
    p50_us: float
    p99_us: float

    @classmethod
    def of(cls, message: dict[str, Any]) -> Receipt:
        receipt = cls(**{name: message[name] for name in cls.__slots__})
        if receipt.lost:
            raise BenchError(f"the subject closed {receipt.lost} connections")
        return receipt

    @property
    def connect_s(self) -> float:
        """Seconds from the first connect to the last byte."""
        return (self.last_ns - self.started_ns) / 1e9


@dataclass(frozen=True, slots=True)
class Chat:
    """What came of a `chat`: all messages, those `in_time` before its end, and how long the rest took."""

    seconds: float
    acked: int
    delivered: int
    refused: int
    lost: int
    acked_in_time: int
    delivered_in_time: int
    drain_seconds: float


class Receiver:
    """A set of WebSocket clients in a process of its own."""

    def __init__(self, child: Child) -> None:
        self._child = child

    def connect(self, port: int, tokens: Sequence[str], *, at_once: int, folder: Path) -> Receipt:
        """Open one connection for each token, and wait until all are welcome."""
        path = folder / f"tokens-{self._child.pid}"
        path.write_text("\n".join(tokens))
        self._child.tell(f"connect {port} {path} {at_once}")
        return self._hear("connected", CONNECT_TIMEOUT_S)

    def expect(self, frames: int, what: str = "count") -> None:
        """Count from now on; `what` is `count`, `latency` or `cursor`."""
        self._child.ask(f"expect {frames} {what}", "armed")

    def wait(self, timeout_s: float) -> Receipt:
        """Wait for the frames that are expected."""
        return self._hear("done", timeout_s)

    def report(self) -> Receipt:
        """Say how far it is."""
        return Receipt.of(self._child.ask("report", "progress"))

    def drop(self) -> None:
        """Reset all connections."""
        self._child.ask("drop", "dropped")

    def resume(self, *, at_once: int, missed: int, shared: int, timeout_s: float) -> Receipt:
        """Connect again with cursors, and wait for what was missed; see `events.missed_by`."""
        self._child.tell(f"resume {at_once} {missed} {shared}")
        return self._hear("resumed", timeout_s)

    def chat(self, seconds: float, *, in_flight: int, group_size: int) -> Chat:
        """Let every client send to its group, with so many unanswered messages each."""
        message = self._child.ask(f"chat {seconds} {in_flight} {group_size}", "chatted", seconds + 30)
        return Chat(**{name: message[name] for name in Chat.__slots__})

    def _hear(self, event: str, timeout_s: float) -> Receipt:
        try:
            return Receipt.of(self._child.hear(event, timeout_s))
        except TimeoutError:
            seen = self.report()
            raise BenchError(
                f"the subject did not finish within {timeout_s:.0f} s: "
                f"{seen.frames} frames received, {seen.wrong} of them wrong"
            ) from None
