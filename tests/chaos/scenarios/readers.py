"""Some stop reading, some read slowly; the others must not notice."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from array import array
from collections.abc import AsyncIterator
from datetime import datetime

from tests.chaos.client import Client
from tests.chaos.crowd import Crowd
from tests.chaos.lab import Lab, Scenario, gateways, publishing, quantile, resident_kib
from tests.chaos.ledger import Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_CLIENTS = 2_000
_STALLED = 100
_SLOW = 20
_WIDE = "wide"
_STALL_TIMEOUT_S = 10.0
_FILLING_S = 4.0  # until what the kernels hold is full, and the gateway's next sweep
_RATE = 20.0
_WIDE_BYTES = 8_000
_WIDE_RATE = 20.0
_MEMORY_ENTRIES = 400
_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_MEDIAN_ERROR = 1.2533  # the standard error of its median, in that of its mean
_MORE_ROUNDS = 2  # where other programs took the processors in just these seconds
_SIP_EVERY_S = 0.25  # at most 32 KB each: somewhat less than what comes


class _Latency:
    """
    The latency of those who do not stall, as one 99th percentile a second, in seconds.

    Attributes:
        without, during: While nobody stalls, and while some do.
    """

    def __init__(self) -> None:
        self.without, self.during = array("d"), array("d")

    @property
    def normal_ms(self) -> float:
        """What it usually is."""
        return statistics.median(self.without) * 1000

    @property
    def stalling_ms(self) -> float:
        """What it usually is while some stall."""
        return statistics.median(self.during) * 1000

    @property
    def noise_ms(self) -> float:
        """By how much the two medians may differ by chance: three standard errors, by the seconds without."""
        deviation = _MAD_TO_SIGMA * statistics.median(abs(value * 1000 - self.normal_ms) for value in self.without)
        return 3 * _MEDIAN_ERROR * deviation * (1 / len(self.without) + 1 / len(self.during)) ** 0.5

    @property
    def bound_ms(self) -> float:
        """What it may be while some stall."""
        return 1.1 * self.normal_ms + self.noise_ms

    @property
    def holds(self) -> bool:
        """Whether the others did not notice."""
        return self.stalling_ms <= self.bound_ms


async def slow_readers(lab: Lab, outcome: Outcome) -> None:
    """100 of 2,000 stop reading, 20 read slowly but steadily; the latency of the others, with and without."""
    baseline_s, rounds = lab.pick((4, 1), (20, 12))
    with RedisServer() as server:
        ledgers = [Ledger(0), Ledger(1)]
        async with (
            # Little memory, full from the start, frames and all: what grows is not the log.
            gateways([server.url], log__memory_entries=_MEMORY_ENTRIES) as (gateway,),
            publishing(server.url) as tide,
        ):
            everybody = Producer(tide, ledgers[0], rate=_RATE)
            wide = Producer(tide, ledgers[1], rate=_WIDE_RATE, to=f"group:{_WIDE}", padding=_WIDE_BYTES)
            async with connected(gateway, claims={"groups": [_WIDE]}) as first:  # for whom frames are made
                for _ in range(_MEMORY_ENTRIES // 50):
                    await everybody.publish(25)
                    await wide.publish(25)
                await settled(tide, first)
            async with _crowd(gateway, ledgers, lab) as crowd:
                lab.say(f"{_CLIENTS} clients connect")
                await crowd.open()
                stalled, slow = crowd.clients[:_STALLED], crowd.clients[_STALLED : _STALLED + _SLOW]
                crowd.is_due = lambda client, ledger: not ledger.name or client.index < _STALLED + _SLOW
                crowd.is_sampled = lambda client: client.index >= _STALLED + _SLOW
                latency = _Latency()
                growth, aborts, played = 0.0, array("d"), 0
                async with everybody.going_on(), wide.going_on():
                    while played < rounds or (not latency.holds and played < rounds + _MORE_ROUNDS):
                        played += 1
                        lab.say("nobody stalls")
                        latency.without += await _p99s(crowd, baseline_s)
                        lab.say("100 stall")
                        async with _sipping(slow):
                            await asyncio.sleep(2)  # what the slow ones cost is not the stalled ones'
                            before = resident_kib(gateway.pid)
                            late, highest = await _stall(crowd, gateway, stalled, latency.during)
                        aborts += late
                        growth = max(growth, highest - before)
                        await crowd.everybody_in()
                        lab.say("nobody stalls")
                        latency.without += await _p99s(crowd, baseline_s)
                complete = await crowd.settled()
                _conclude(outcome, crowd, ledgers, latency)
                outcome.require("KiB per stalled socket", growth / _STALLED, at_most=64)
                outcome.require("aborted", len(aborts), at_least=_STALLED * played, at_most=_STALLED * played)
                bound = _STALL_TIMEOUT_S + _FILLING_S
                outcome.require("last abort after", max(aborts, default=99.0), at_most=bound, unit=" s")
                outcome.require_zero(
                    others_closed=crowd.drops - _STALLED * played, incomplete_after_30_s=int(not complete)
                )


def _crowd(gateway: GatewayProcess, ledgers: list[Ledger], lab: Lab) -> Crowd:
    return Crowd(
        [gateway.port],
        _CLIENTS,
        ledgers,
        rng=lab.rng,
        groups_of=lambda index: [_WIDE] if index < _STALLED + _SLOW else [],
        narrow=lambda index: index < _STALLED + _SLOW,
    )


async def _p99s(crowd: Crowd, seconds: int) -> array[float]:
    """Return the 99th percentile of the latency in each of so many seconds."""
    found = array("d")
    await asyncio.sleep(0.5)  # what was begun before is over
    for _ in range(seconds):
        async with crowd.measured() as samples:
            await asyncio.sleep(1)
        found.append(quantile(samples, 0.99))
    return found


async def _stall(
    crowd: Crowd, gateway: GatewayProcess, stalled: list[Client], during: array[float]
) -> tuple[array[float], float]:
    """
    Let some read nothing until the gateway has aborted them, then again.

    Returns:
        After how many seconds each was aborted, and the gateway's largest resident memory, in KiB.
    """
    known = len(_closed(gateway, stalled))
    began = time.time()
    highest = 0.0
    for client in stalled:
        client.stop_reading()
    while len(_closed(gateway, stalled)) - known < len(stalled) and time.time() < began + 2 * _STALL_TIMEOUT_S:
        during += await _p99s(crowd, 1)
        highest = max(highest, resident_kib(gateway.pid))
    for client in stalled:
        client.go_on_reading()
    await wait_until(lambda: not any(client.welcomed for client in stalled) or _all_back(stalled), 20)
    return array("d", [at - began for at in _closed(gateway, stalled)[known:]]), highest


def _all_back(clients: list[Client]) -> bool:
    return all(client.welcomed for client in clients)


def _closed(gateway: GatewayProcess, clients: list[Client]) -> list[float]:
    """Return when the gateway closed connections of these clients, by its log."""
    users = {f"u{client.index}" for client in clients}
    lines = gateway.log_events("connection_closed")
    return [datetime.fromisoformat(line["timestamp"]).timestamp() for line in lines if line["user"] in users]


@contextlib.asynccontextmanager
async def _sipping(clients: list[Client]) -> AsyncIterator[None]:
    """Let these read a little now and then, for as long as the context lasts."""
    task = asyncio.create_task(_sip(clients), name="sip")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for client in clients:
            client.go_on_reading()


async def _sip(clients: list[Client]) -> None:
    while True:
        for client in clients:
            client.go_on_reading()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for client in clients:
            if client.transport is not None and not client.transport.is_closing():
                client.stop_reading()
        await asyncio.sleep(_SIP_EVERY_S)


def _conclude(outcome: Outcome, crowd: Crowd, ledgers: list[Ledger], latency: _Latency) -> None:
    outcome.count(clients=_CLIENTS, stalled=_STALLED, slow=_SLOW)
    outcome.count_publishes(*ledgers)
    outcome.require_delivery(crowd.tally())
    outcome.count(p99_without_ms=round(latency.normal_ms, 1), p99_with_ms=round(latency.stalling_ms, 1))
    outcome.notes.append(
        f"p99 of the others: medians over seconds, {latency.normal_ms:.1f} ms without and {latency.stalling_ms:.1f} ms "
        f"with; the bound is 10 % more than without, and {latency.noise_ms:.1f} ms for the noise of the seconds without"
    )
    outcome.require("p99 of the others", latency.stalling_ms, at_most=latency.bound_ms, unit=" ms")


SCENARIOS = (Scenario("slow-readers", "100 of 2,000 stop reading", slow_readers),)
