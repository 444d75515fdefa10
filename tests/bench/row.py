"""
Rows: what one line of the table is made of, and the laboratory in which it is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

from tests.bench import events
from tests.bench.station import Station
from tests.bench.subjects import Subject, Surroundings, start_gateway, start_hub, start_limit

SUBJECT_DATABASE = 0
BASELINE_DATABASE = 1

Measured = TypeVar("Measured")


@dataclass(frozen=True, slots=True)
class Check:
    """
    One condition of a row.

    Attributes:
        what: What is compared.
        value: What was measured; mostly a ratio.
        bound: What it must reach, or must not exceed.
        at_least: Whether `bound` is a lower bound.
        unit: Stands behind both.
    """

    what: str
    value: float
    bound: float
    at_least: bool
    unit: str

    @property
    def passed(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    """
    What a row has found.

    Attributes:
        checks: Its conditions.
        subject, baseline: The absolute figures, ready to be read, line by line.
        samples: Every measurement, for the JSON file.
        waited_share: How much of its time the subject waited for its core, which others were using.
        error: Why nothing could be measured.
    """

    checks: Sequence[Check]
    subject: Sequence[str]
    baseline: Sequence[str] = ("-",)
    samples: dict[str, Any] = field(default_factory=dict)
    waited_share: float = 0.0
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: its name on the command line, its title, how it is measured."""

    key: str
    title: str
    measure: Callable[[Laboratory], Result]


@dataclass(frozen=True, slots=True)
class Laboratory:
    """
    Where rows are measured.

    Attributes:
        place: What subjects are started into.
        pairs: Measurements of each side.
        seconds: Aim for the length of one of them.
        sockets, many: Clients in ordinary rows, and in those about many.
        hub_ack: Whether baseline (a) acknowledges what it has read: `none`, `batch` or `each` entry.
        subject: `gateway`, or `hub` to compare the hub with itself: ratios other than 1 are noise.
        progress: Told which measurement is about to begin.
    """

    place: Surroundings
    pairs: int
    seconds: float
    sockets: int
    many: int
    hub_ack: str
    subject: str
    progress: Callable[[str], None]

    @contextmanager
    def stations(self, *, loop: str = "asyncio") -> Iterator[tuple[Station, Station]]:
        """
        Start the subject and baseline (a), on fresh logs, each with its clients' process.

        `loop` is the event loop on which the hub did better when both were tried.
        """
        with ExitStack() as stack:
            subject = self._start_subject(stack, loop)
            hub = start_hub(self.place, stack, database=BASELINE_DATABASE, loop=loop, ack=self.hub_ack)
            yield Station(subject, self.place, stack), Station(hub, self.place, stack)

    @contextmanager
    def subject_and_limit(self) -> Iterator[tuple[Station, Station]]:
        """Start the subject and baseline (b)."""
        with ExitStack() as stack:
            subject = self._start_subject(stack, "uvloop")
            limit = start_limit(self.place, stack, events.frame())
            yield Station(subject, self.place, stack), Station(limit, self.place, stack)

    @contextmanager
    def subject_alone(self) -> Iterator[Station]:
        """Start the subject only."""
        with ExitStack() as stack:
            yield Station(self._start_subject(stack, "uvloop"), self.place, stack)

    def _start_subject(self, stack: ExitStack, loop: str) -> Subject:
        with self.redis() as client:
            client.flushall()
        if self.subject == "hub":
            return start_hub(self.place, stack, database=SUBJECT_DATABASE, loop=loop, ack=self.hub_ack)
        return start_gateway(self.place, stack, database=SUBJECT_DATABASE)

    def redis(self) -> redis.Redis:
        """Return a client of the bench's Redis."""
        return redis.Redis(unix_socket_path=str(self.place.redis_path), protocol=2)

    def alternate(self, *measures: Callable[[], Measured]) -> list[tuple[Measured, ...]]:
        """Run the measures in turn, `pairs` times."""
        rounds = []
        for number in range(self.pairs):
            self.progress(f"{number + 1}/{self.pairs}")
            rounds.append(tuple(measure() for measure in measures))
        return rounds


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def at_least(what: str, values: Iterable[float], bound: float, unit: str) -> Check:
    """Require that the median of the values reaches the bound."""
    return Check(what, median(values), bound, True, unit)


def at_most(what: str, values: Iterable[float], bound: float, unit: str) -> Check:
    """Require that the median of the values does not exceed the bound."""
    return Check(what, median(values), bound, False, unit)
