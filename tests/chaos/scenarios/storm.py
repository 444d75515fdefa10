"""Everybody is thrown out at once, and comes back at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Final

from tests.chaos.crowd import Crowd
from tests.chaos.lab import Contention, Lab, Scenario, apart, gateways, processor_s, publishing
from tests.chaos.ledger import Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_CLIENTS = 10_000
_MISSED = 20
_WITHIN_S = 8.0
_READS: Final = (
    *("get", "mget", "exists", "strlen", "scan", "xrange", "xrevrange", "xread", "xlen", "xpending"),
    *("hget", "hmget", "hgetall", "hlen", "hkeys", "hexists", "smembers", "scard", "sismember", "smismember"),
    *("zrange", "zrangebyscore", "zrevrange", "zscore", "zmscore", "zcard", "zcount", "zrank"),
)


async def storm(lab: Lab, outcome: Outcome) -> None:
    """Drop all clients of two gateways, publish what they miss, and let them all back without jitter."""
    with RedisServer() as server:
        ledger = Ledger()
        async with (
            gateways([server.url] * 2) as them,
            publishing(server.url) as tide,
            Crowd([gateway.port for gateway in them], _CLIENTS, [ledger], rng=lab.rng, jitter=False) as crowd,
        ):
            lab.say(f"{_CLIENTS} clients connect")
            await crowd.open()
            producer = Producer(tide, ledger, rate=100)
            await producer.publish(1)
            await crowd.settled()
            crowd.staying = False
            for client in crowd.clients:
                client.drop()
            await wait_until(lambda: crowd.inside == 0)
            await producer.publish(_MISSED)
            quiet = await _reads_of(server, asyncio.sleep(_WITHIN_S / 4))
            lab.say("they come back")
            spent = [processor_s(gateway.pid) for gateway in them]
            async with Contention() as contention:
                began = time.monotonic()
                storm_reads = await _reads_of(server, _come_back(crowd))
                took = time.monotonic() - began
            spent = [processor_s(gateway.pid) - before for gateway, before in zip(them, spent, strict=True)]
            outcome.count(clients=_CLIENTS, missed_each=_MISSED)
            outcome.count(redis_reads_while_quiet=sum(quiet.values()), redis_reads_in_the_storm=dict(storm_reads))
            outcome.count_publishes(ledger)
            outcome.count(refused=sum(crowd.refusals.values()))
            stolen = contention.stolen_s
            outcome.count(gateways_cpu_s=round(sum(spent), 1))
            outcome.require("all resumed after", took, at_most=_WITHIN_S + stolen, unit=" s")
            outcome.notes.append(
                f"the bound is {_WITHIN_S:.0f} s, and {stolen:.1f} s for which other programs had all cores"
            )
            outcome.require_delivery(crowd.tally())
            # Housekeeping goes on meanwhile; one read in a hundred clients would already be a read for clients.
            outcome.require("Redis reads", sum(storm_reads.values()), at_most=_CLIENTS // 100)
            outcome.require_zero(of_XRANGE=storm_reads["xrange"])


async def _come_back(crowd: Crowd) -> None:
    crowd.staying = True
    await crowd.open(at_once=_CLIENTS)
    await crowd.settled()


async def _reads_of(server: RedisServer, meanwhile: Awaitable[None]) -> Counter[str]:
    """Return which reading commands the server was sent meanwhile, and how many."""
    before = await apart(_calls, server)
    await meanwhile
    after = await apart(_calls, server)
    return Counter({name: after[name] - before[name] for name in _READS if after[name] > before[name]})


def _calls(server: RedisServer) -> Counter[str]:
    with server.client() as client:
        stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()})


SCENARIOS = (Scenario("storm", "10,000 clients dropped at once, back at once", storm),)
