"""
A station: one subject with clients and a producer of its own, and the measurements that can be made of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.events import Audience
from tests.bench.process import BenchError, Child, Usage, usage
from tests.bench.producer import Producer
from tests.bench.receiver import Receipt, Receiver
from tests.bench.subjects import NO_DATABASE, Subject, Surroundings

MAX_BURST = 60_000  # events; the log that a gateway keeps in memory holds three such bursts
BURST_TIMEOUT_S = 60.0
WARM_UP_S = 0.25
QUIET_SHARE = 0.03  # of a core: what an idle gateway may use
QUIET_CHECK_S = 0.05
QUIET_TIMEOUT_S = 10.0
AT_ONCE = 128  # handshakes


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One measurement.

    Attributes:
        events: Published.
        frames: Delivered.
        seconds: From the moment the first event was visible to the last delivery.
        usage: Of the subject, over the whole of it.
        p50_us, p99_us: From publish to receipt; 0 where it was not asked for.
    """

    events: int
    frames: int
    seconds: float
    usage: Usage
    p50_us: float = 0.0
    p99_us: float = 0.0

    @property
    def rate(self) -> float:
        """Deliveries a second."""
        return self.frames / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the subject's processor time per delivery."""
        return self.usage.cpu_s * 1e6 / self.frames


class Station:
    """A subject, its clients, its producer."""

    def __init__(self, subject: Subject, place: Surroundings, stack: ExitStack) -> None:
        self.subject = subject
        self.folder: Path = place.folder
        child = Child(
            f"receiver of the {subject.name}",
            place.tools.receiver,
            cores=place.other_cores,
            log=place.folder / f"receiver-{subject.name}.log",
        )
        stack.callback(child.stop)
        self.receiver = Receiver(child)
        if subject.database != NO_DATABASE:
            self.producer = Producer(str(place.redis_path), subject.database)
            stack.callback(self.producer.close)
        self._burst_events: int | None = None

    def connect(self, tokens: Sequence[str], *, at_once: int = AT_ONCE) -> Receipt:
        """Connect one client per token, and let the subject come to rest."""
        receipt = self.receiver.connect(self.subject.port, tokens, at_once=at_once, folder=self.folder)
        self.settle()
        return receipt

    def usage(self) -> Usage:
        """Return what the subject has used so far."""
        return usage(self.subject.child.pid)

    def settle(self) -> None:
        """Wait until the subject has nothing left to do."""
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        while time.monotonic() < deadline:
            before = self.usage()
            time.sleep(QUIET_CHECK_S)
            if self.usage().since(before).cpu_s < QUIET_CHECK_S * QUIET_SHARE:
                return
        raise BenchError(f"the {self.subject.name} does not come to rest")

    def burst(self, audience: Audience, count: int, *, fan_out: int, closing: bytes | None = None) -> Sample:
        """
        Let the subject work off a backlog of `count` events, each for `fan_out` sockets.

        `closing` is an entry that follows them, for one socket: it tells when events for nobody are through.
        """
        self.settle()
        entries = self.producer.prepare(audience, count)
        if closing is not None:
            entries.append(closing)
        frames = count * fan_out + (closing is not None)
        self.receiver.expect(frames)
        before = self.usage()
        visible_ns = self.producer.burst(entries)
        receipt = self.receiver.wait(BURST_TIMEOUT_S)
        used = self.usage().since(before)
        return Sample(count, receipt.frames, (receipt.last_ns - visible_ns) / 1e9, used)

    def saturate(self, audience: Audience, *, fan_out: int, seconds: float) -> Sample:
        """Measure a burst of about `seconds`; the first call finds out how many events that takes."""
        if self._burst_events is None:
            self._burst_events = self._find_burst(audience, fan_out, seconds)
        return self.burst(audience, self._burst_events, fan_out=fan_out)

    def _find_burst(self, audience: Audience, fan_out: int, seconds: float) -> int:
        count = max(8, 4_000 // fan_out)
        while True:
            sample = self.burst(audience, count, fan_out=fan_out)
            if sample.seconds >= min(WARM_UP_S, seconds) or count >= MAX_BURST:
                return min(MAX_BURST, max(count // 2, math.ceil(count * seconds / sample.seconds)))
            count = min(MAX_BURST, count * 6)

    def pace(self, audience: Audience, *, per_second: float, seconds: float, fan_out: int) -> Sample:
        """Measure latencies at a pace."""
        self.settle()
        count = int(per_second * seconds)
        self.receiver.expect(count * fan_out, "latency")
        before = self.usage()
        kept = self.producer.pace(audience, per_second=per_second, count=count)
        receipt = self.receiver.wait(BURST_TIMEOUT_S)
        used = self.usage().since(before)
        if kept < 0.95 * per_second:
            raise BenchError(f"the producer kept a pace of {kept:.0f} events/s only: the machine is too busy")
        return Sample(count, receipt.frames, count / kept, used, receipt.p50_us, receipt.p99_us)

    def pace_limit(self, *, per_second: float, seconds: float, fan_out: int) -> Sample:
        """Measure the limit at a pace: the same as `pace`, but it publishes to itself."""
        count = int(per_second * seconds)
        self.receiver.expect(count * fan_out, "latency")
        before = self.usage()
        ran = self.subject.child.ask(f"run {per_second} {count}", "ran", seconds * 3 + 10)
        receipt = self.receiver.wait(BURST_TIMEOUT_S)
        used = self.usage().since(before)
        if ran["unsent"]:
            raise BenchError(f"the limit could not send {ran['unsent']} frames: the receiver is too slow")
        return Sample(count, receipt.frames, seconds, used, receipt.p50_us, receipt.p99_us)
