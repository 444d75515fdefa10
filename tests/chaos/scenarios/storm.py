"""Everybody is thrown out at once, and comes back at once."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from tests.chaos.crowd import Crowd
from tests.chaos.lab import Contention, Lab, Scenario, gateways, processor_s, publishing
from tests.chaos.ledger import Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.monitor import Call, monitored
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
            lab.say("they come back")
            spent = [processor_s(gateway.pid) for gateway in them]
            async with Contention() as contention:
                began = time.monotonic()
                async with monitored(server) as seen:
                    await _come_back(crowd)
                took = time.monotonic() - began
            spent = [processor_s(gateway.pid) - before for gateway, before in zip(them, spent, strict=True)]
            outcome.count(clients=_CLIENTS, missed_each=_MISSED)
            calls = _names(seen, in_script=False)
            reads = _reads(calls)
            outcome.count(
                redis_reads=reads or 0,
                script_calls=calls["evalsha"] + calls["eval"],
                reads_within_scripts=sum(_reads(_names(seen, in_script=True)).values()),
            )
            outcome.count_publishes(ledger)
            outcome.count(refused=sum(crowd.refusals.values()))
            stolen = contention.stolen_s
            outcome.count(gateways_cpu_s=round(sum(spent), 1))
            outcome.require("all resumed after", took, at_most=_WITHIN_S + stolen, unit=" s")
            outcome.notes.append(
                f"the bound is {_WITHIN_S:.0f} s, and {stolen:.1f} s for which other programs had all cores"
            )
            outcome.require_delivery(crowd.tally())
            # Housekeeping goes on meanwhile; one call for a hundred clients would already be a call for clients.
            outcome.require("Redis reads", sum(reads.values()), at_most=_CLIENTS // 200)
            outcome.require("script calls", calls["evalsha"] + calls["eval"], at_most=_CLIENTS // 50)


async def _come_back(crowd: Crowd) -> None:
    crowd.staying = True
    await crowd.open(at_once=_CLIENTS)
    await crowd.settled()


def _names(calls: list[Call], *, in_script: bool) -> Counter[str]:
    return Counter(call.command for call in calls if call.in_script is in_script)


def _reads(names: Counter[str]) -> dict[str, int]:
    return {name: names[name] for name in _READS if names[name]}


SCENARIOS = (Scenario("storm", "10,000 clients dropped at once, back at once", storm),)
