"""
Where a scenario is played: its profile, its dice, the processes that it starts, the figures that it takes of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from publisher import Publisher
from tests.bench.process import rss_bytes, usage
from tests.chaos.report import Outcome
from tests.support.gateway import GatewayProcess

Chosen = TypeVar("Chosen")

# Enough for thousands of clients from one address, which is what a crowd in one process is.
SETTINGS: dict[str, Any] = {
    "listen__backlog": 4096,
}
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Lab:
    """
    Where one scenario is played.

    Attributes:
        long: Whether this is the full profile.
        rng: The only source of chance, so that a seed gives the same schedule.
        say: Shows progress.
    """

    long: bool
    rng: random.Random
    say: Callable[[str], None]

    def pick(self, short: Chosen, long: Chosen) -> Chosen:
        """Return what the profile wants."""
        return long if self.long else short


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table: its name on the command line, what it does, how it is played."""

    key: str
    title: str
    play: Callable[[Lab, Outcome], Awaitable[None]]


@contextlib.asynccontextmanager
async def gateways(redis_urls: Sequence[str], **settings: Any) -> AsyncIterator[list[GatewayProcess]]:
    """Run a gateway on each of these servers, started side by side."""
    them = [GatewayProcess(url, **{**SETTINGS, **settings}) for url in redis_urls]
    try:
        await asyncio.gather(*(start(gateway) for gateway in them))
        yield them
    finally:
        for gateway in them:
            gateway.quit()
        await asyncio.gather(*(gateway.remove() for gateway in them))


async def start(gateway: GatewayProcess) -> None:
    """Start one, however busy the machine is."""
    await gateway.start(timeout_s=START_TIMEOUT_S)


@contextlib.asynccontextmanager
async def publishing(url: str, timeout_s: float = 2.0) -> AsyncIterator[Publisher]:
    """Open a publisher which gives up early."""
    async with Publisher(url, timeout_s=timeout_s) as tide:
        yield tide


async def apart(function: Callable[..., Chosen], *arguments: Any) -> Chosen:
    """Run what blocks in a thread, so that clients and proxies go on."""
    return await asyncio.to_thread(function, *arguments)


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def milliseconds(values: array[float], share: float) -> float:
    """Return a quantile in ms."""
    return round(quantile(values, share) * 1000, 1)


def open_files(pid: int) -> int:
    """Count the file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_kib(pid: int) -> float:
    """Return the resident memory of a process."""
    return rss_bytes(pid) / 1024


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    return usage(pid).cpu_s


class Contention:
    """
    Measures how much of the machine others use: what our own processes could have done in that time, they did later.

    `async with Contention() as contention: …`, then `contention.stolen_s`.
    """

    def __init__(self) -> None:
        self.stolen_s = 0.0

    async def __aenter__(self) -> Contention:
        self._before = _busy_s() - processor_s(os.getpid())
        return self

    async def __aexit__(self, *_: object) -> None:
        others_s = _busy_s() - processor_s(os.getpid()) - self._before
        self.stolen_s = max(0.0, others_s) / (os.cpu_count() or 1)


def _busy_s() -> float:
    """Return the processor time that the whole machine has used (proc(5), /proc/stat)."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def load() -> float:
    """Return how many processes want a core at the moment, by the last minute's average."""
    return float(Path("/proc/loadavg").read_text().split()[0])
