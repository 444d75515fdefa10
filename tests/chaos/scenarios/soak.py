"""Clients come and go for long, and nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from publisher.address import DEFAULT_TENANT
from publisher.keys import idempotency, stream
from tests.chaos.crowd import Crowd
from tests.chaos.lab import Lab, Scenario, apart, gateways, open_files, publishing, resident_kib
from tests.chaos.ledger import Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer

_CLIENTS = 200
_RATE = 20.0
_CHURN_EVERY_S = 1.0
_CHURN_SHARE = 0.1
_GROUPS = 1_000_000  # to choose names from: they hardly ever come twice
_LOOKS = 60
_RETENTION_S = 10.0
_MEMORY_OF_KEYS_S = 60.0  # how long the publisher's own keys are remembered


@dataclass(frozen=True, slots=True)
class _Look:
    """How large everything is at one moment; `keys` without those of the last events, `event_keys`."""

    rss_kib: float
    files: float
    groups: float
    keys: float
    event_keys: float
    redis_kib: float


async def soak(lab: Lab, outcome: Outcome) -> None:
    """Two gateways, whose clients leave, return, join groups with new names and leave them."""
    seconds = lab.pick(120.0, 8 * 3_600.0)
    with RedisServer() as server:
        ledger = Ledger()
        async with (
            # A short memory, so that it is full long before the first look.
            gateways([server.url] * 2, log__retention_s=_RETENTION_S, log__memory_entries=400) as them,
            publishing(server.url) as tide,
            Crowd([gateway.port for gateway in them], _CLIENTS, [ledger], rng=lab.rng) as crowd,
        ):
            await crowd.open()
            looks: list[_Look] = []
            async with Producer(tide, ledger, rate=_RATE).going_on():
                churn = asyncio.create_task(_churn(crowd, lab.rng), name="churn")
                try:
                    await _look_on(looks, seconds, server, them, lab)
                finally:
                    churn.cancel()
                    await asyncio.gather(churn, return_exceptions=True)
            await crowd.everybody_in()
            complete = await crowd.settled()
            outcome.count(soak_s=round(seconds), clients=_CLIENTS, reconnects=len(crowd.resumed_in))
            outcome.count_publishes(ledger)
            _conclude(outcome, looks)
            outcome.require_delivery(crowd.tally())
            outcome.require_zero(incomplete_after_30_s=int(not complete))


async def _look_on(
    looks: list[_Look], seconds: float, server: RedisServer, them: list[GatewayProcess], lab: Lab
) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(seconds / _LOOKS)
        looks.append(await apart(_look, server, them))
        lab.say(f"{until - time.monotonic():.0f} s to go, {looks[-1].rss_kib / 1024:.1f} MiB")


async def _churn(crowd: Crowd, rng: random.Random) -> None:
    while True:
        for client in rng.sample(crowd.clients, int(_CHURN_SHARE * len(crowd.clients))):
            if rng.random() < 0.5:
                client.drop()
            else:
                kind = rng.choice(("join_group", "leave_group"))
                client.say(kind, {"group_id": f"g{rng.randrange(_GROUPS)}"})
        await asyncio.sleep(_CHURN_EVERY_S)


def _look(server: RedisServer, them: list[GatewayProcess]) -> _Look:
    with server.client() as client, contextlib.suppress(ProcessLookupError):
        keys = set(client.scan_iter(count=10_000))
        event_keys = {key for key in keys if key.startswith(idempotency(0, DEFAULT_TENANT, ""))}
        return _Look(
            rss_kib=sum(resident_kib(gateway.pid) for gateway in them),
            files=sum(open_files(gateway.pid) for gateway in them),
            groups=len(client.xinfo_groups(stream(0))),
            keys=len(keys - event_keys),
            event_keys=len(event_keys),
            redis_kib=client.info("memory")["used_memory"] / 1024,
        )
    raise RuntimeError("a gateway is gone")


def _conclude(outcome: Outcome, looks: list[_Look]) -> None:
    """Compare the last quarter with the one before it: from then on, what is remembered for a minute comes and goes."""
    quarter = len(looks) // 4

    def middle(of: Callable[[_Look], float], part: int) -> float:
        return statistics.median(of(look) for look in looks[part * quarter : (part + 1) * quarter])

    for name, of, slack in (
        ("RSS, KiB", lambda look: look.rss_kib, 0.03),
        ("files", lambda look: look.files, 0.05),
        ("groups", lambda look: look.groups, 0.0),
        ("keys", lambda look: look.keys, 0.5),  # a dozen, whose number one that comes and goes changes
        ("Redis, KiB", lambda look: look.redis_kib, 0.05),
    ):
        before, after = middle(of, 2), middle(of, 3)
        outcome.count(**{f"{name}_before": round(before)})
        outcome.require(name, after, at_most=before * (1 + slack))
    outcome.require("keys of events", middle(lambda look: look.event_keys, 3), at_most=1.05 * _RATE * _MEMORY_OF_KEYS_S)


SCENARIOS = (Scenario("soak", "clients come and go, nothing grows", soak),)
