"""The network between the gateways and Redis, and between publishers and Redis, fails in all its ways."""

from __future__ import annotations

import asyncio
import contextlib
import random
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.chaos.crowd import Crowd
from tests.chaos.lab import Lab, Scenario, gateways, milliseconds, publishing
from tests.chaos.ledger import Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_LANES = 5
_CLIENTS_A_LANE = 10
_RATE = 40.0
_KEYED_RATE = 20.0
_RECOVERY_S = 20.0


async def _cut(proxy: Proxy, rng: random.Random) -> None:
    """Connections are reset, now or in the midst of a reply."""
    if rng.random() < 0.5:
        proxy.cut()
        return
    proxy.cut_after(rng.randrange(1, 3_000))
    with contextlib.suppress(AssertionError):
        await wait_until(lambda: not proxy.cut_is_due, 1)


async def _half_open(proxy: Proxy, rng: random.Random) -> None:
    """Nothing passes any more, and nobody is told."""
    proxy.silence()
    await asyncio.sleep(rng.uniform(0.05, 0.3))
    proxy.restore()  # for new connections: those that were silenced stay so until they are given up


async def _delay(proxy: Proxy, rng: random.Random) -> None:
    """Replies take their time."""
    proxy.delay_s = rng.uniform(0.01, 0.2)
    await asyncio.sleep(rng.uniform(0.1, 0.5))
    proxy.delay_s = 0.0


async def _slice(proxy: Proxy, rng: random.Random) -> None:
    """Replies come in small parts."""
    proxy.slice_bytes = rng.randrange(1, 40)
    await asyncio.sleep(rng.uniform(0.1, 0.5))
    proxy.slice_bytes = 0


async def _drop_replies(proxy: Proxy, rng: random.Random) -> None:
    """Commands are carried out, and their replies are lost."""
    for _ in range(rng.randrange(1, 4)):
        proxy.lose_replies(1)
        await asyncio.sleep(rng.uniform(0.02, 0.1))
    proxy.lose_replies(0)


_FAULTS: dict[str, Callable[[Proxy, random.Random], Awaitable[None]]] = {
    "cut": _cut,
    "half open": _half_open,
    "delay": _delay,
    "slice": _slice,
    "drop replies": _drop_replies,
}


async def faults(lab: Lab, outcome: Outcome) -> None:
    """Play many schedules of faults, side by side: each lane has a proxy, a gateway and a publisher behind it."""
    schedules = lab.pick(100, 1_000)
    played: Counter[str] = Counter()
    with RedisServer() as server:
        async with contextlib.AsyncExitStack() as stack:
            proxies = [await stack.enter_async_context(Proxy(server.port)) for _ in range(_LANES)]
            # The time limit is what a half-open connection costs; with the default of 5 s a run would take an hour.
            them = await stack.enter_async_context(gateways([proxy.url for proxy in proxies], redis__timeout_s=1))
            ledgers = [Ledger(0), *(Ledger(1 + lane) for lane in range(_LANES))]
            crowds = [
                await stack.enter_async_context(Crowd([gateway.port], _CLIENTS_A_LANE, ledgers, rng=lab.rng))
                for gateway in them
            ]
            await asyncio.gather(*(crowd.open() for crowd in crowds))
            samples = [await stack.enter_async_context(crowd.measured()) for crowd in crowds]
            async with contextlib.AsyncExitStack() as publishers:
                # One producer is always well, so that each stall shows; the others share the fate of a gateway.
                urls = [server.url, *(proxy.url for proxy in proxies)]
                for ledger, url in zip(ledgers, urls, strict=True):
                    tide = await publishers.enter_async_context(publishing(url, timeout_s=3))
                    rate = _RATE if not ledger.name else _KEYED_RATE
                    producer = Producer(tide, ledger, rate=rate, keyed=bool(ledger.name))
                    await publishers.enter_async_context(producer.going_on())
                await _play_lanes(proxies, crowds, schedules, ledgers[0], played, lab)
            settled = await asyncio.gather(*(crowd.settled() for crowd in crowds))
            _conclude(outcome, crowds, ledgers, samples, played)
            outcome.require("schedules", schedules, at_least=schedules)
            outcome.require_zero(incomplete_after_30_s=settled.count(False))


async def _play_lanes(
    proxies: list[Proxy], crowds: list[Crowd], schedules: int, steady: Ledger, played: Counter[str], lab: Lab
) -> None:
    dice = [random.Random(lab.rng.random()) for _ in proxies]
    shares = [schedules // _LANES + (lane < schedules % _LANES) for lane in range(_LANES)]
    async with asyncio.TaskGroup() as group:
        for lane, (proxy, crowd) in enumerate(zip(proxies, crowds, strict=True)):
            group.create_task(_play_lane(proxy, crowd, shares[lane], steady, played, dice[lane]))


async def _play_lane(
    proxy: Proxy, crowd: Crowd, schedules: int, steady: Ledger, played: Counter[str], rng: random.Random
) -> None:
    """Play one schedule after the other: one to three faults, then a wait until events come again."""
    for _ in range(schedules):
        for name in rng.choices(list(_FAULTS), k=rng.choice((1, 1, 2, 3))):
            await _FAULTS[name](proxy, rng)
            played[name] += 1
        proxy.restore()
        first = steady.last + 1
        with contextlib.suppress(AssertionError):  # what stalls for longer shows in the latencies
            await wait_until(lambda: _has(crowd, first), _RECOVERY_S)  # noqa: B023 - awaited at once


def _has(crowd: Crowd, number: int) -> bool:
    return crowd.clients[0].records[0].last >= number


def _conclude(
    outcome: Outcome, crowds: list[Crowd], ledgers: list[Ledger], samples: list[array[float]], played: Counter[str]
) -> None:
    outcome.count(**{f"of_{name}".replace(" ", "_"): number for name, number in sorted(played.items())})
    outcome.count(lanes=len(crowds), clients=sum(len(crowd.clients) for crowd in crowds))
    outcome.count_publishes(*ledgers)
    tally = crowds[0].tally()
    for crowd in crowds[1:]:
        tally += crowd.tally()
    outcome.require_delivery(tally)
    latencies = array("d", [value for each in samples for value in each])
    outcome.count(latency_p50_ms=milliseconds(latencies, 0.5), latency_p99_ms=milliseconds(latencies, 0.99))
    outcome.require("longest stall", max(latencies, default=99.0), at_most=10, unit=" s")
    outcome.require_zero(sockets_closed=sum(crowd.drops for crowd in crowds))


SCENARIOS = (Scenario("faults", "a fault proxy between gateways, publishers and Redis", faults),)
