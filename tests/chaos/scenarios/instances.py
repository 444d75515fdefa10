"""Gateways end, and their clients go elsewhere: kills behind nginx, rolling restarts."""

from __future__ import annotations

import asyncio
import statistics

from tests.chaos.crowd import Crowd
from tests.chaos.lab import Lab, Scenario, apart, gateways, milliseconds, publishing, start
from tests.chaos.ledger import Ledger
from tests.chaos.nginx import PROGRAM, nginx
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer

_DELIVERIES_PER_S = 20_000


def _rate(clients: int) -> float:
    """Return how many events a second keep a machine of two cores busy, but not drowning."""
    return max(10.0, _DELIVERIES_PER_S / clients)


async def kill_gateways(lab: Lab, outcome: Outcome) -> None:
    """Kill -9 one of two gateways behind nginx, again and again, under load."""
    if PROGRAM is None:
        raise RuntimeError("needs nginx: install it (Debian: apt-get install nginx)")
    kills, count = lab.pick((5, 500), (100, 2_000))
    with RedisServer() as server:
        ledger = Ledger()
        async with (
            gateways([server.url] * 2) as them,
            nginx([gateway.port for gateway in them]) as port,
            publishing(server.url) as tide,
            Crowd([port], count, [ledger], rng=lab.rng, spread=True) as crowd,
        ):
            await crowd.open()
            async with Producer(tide, ledger, rate=_rate(count)).going_on():
                for number in range(kills):
                    lab.say(f"kill {number + 1} of {kills}")
                    await _kill_one(them[lab.rng.randrange(2)], crowd, lab)
            complete = await crowd.settled()
            outcome.count(kills=kills, clients=count, connections_lost=crowd.drops, resumed=len(crowd.resumed_in))
            outcome.count_publishes(ledger)
            outcome.count(resume_p99_ms=milliseconds(crowd.resumed_in, 0.99))
            outcome.require("kills", kills, at_least=kills)
            outcome.require("connections lost", crowd.drops, at_least=kills)
            outcome.require_delivery(crowd.tally())
            outcome.require_zero(incomplete_after_30_s=int(not complete))


async def _kill_one(victim: GatewayProcess, crowd: Crowd, lab: Lab) -> None:
    await asyncio.sleep(lab.rng.uniform(0.2, 1.0))
    await apart(victim.kill)
    restarted = asyncio.create_task(start(victim))
    try:
        await asyncio.sleep(0.05)  # so that the ends of connections have been seen
        await crowd.everybody_in()
    finally:
        await restarted


async def rolling_restarts(lab: Lab, outcome: Outcome) -> None:
    """Restart gateways in good order, one after the other, under load."""
    restarts, count = lab.pick((3, 200), (50, 1_000))
    with RedisServer() as server:
        ledger = Ledger()
        async with (
            gateways([server.url] * 2, shutdown__drain_s=1) as them,
            publishing(server.url) as tide,
            Crowd([gateway.port for gateway in them], count, [ledger], rng=lab.rng) as crowd,
        ):
            await crowd.open()
            statuses = []
            slowest: list[float] = []  # of each restart
            async with Producer(tide, ledger, rate=_rate(count)).going_on():
                for number in range(restarts):
                    lab.say(f"restart {number + 1} of {restarts}")
                    gateway, before = them[number % 2], len(crowd.resumed_in)
                    statuses.append(await gateway.terminate(30))
                    await start(gateway)
                    await crowd.everybody_in()
                    slowest.append(milliseconds(crowd.resumed_in[before:], 0.99) / 1000)
            complete = await crowd.settled()
            outcome.count(restarts=restarts, clients=count, connections_lost=crowd.drops)
            outcome.count_publishes(ledger)
            outcome.require("connections lost", crowd.drops, at_least=restarts)
            outcome.require_delivery(crowd.tally())
            # The middle one: a busy machine may stand still during a restart.
            outcome.require("resume p99", statistics.median(slowest), at_most=2, unit=" s")
            outcome.require_zero(
                exits_with_an_error=sum(status != 0 for status in statuses),
                closes_other_than_1012=sum(crowd.close_codes.values()) - crowd.close_codes[1012],
                incomplete_after_30_s=int(not complete),
            )


SCENARIOS = (
    Scenario("kill-gateway", "kill -9 a gateway of two behind nginx, under load", kill_gateways),
    Scenario("rolling", "rolling SIGTERM restarts", rolling_restarts),
)
