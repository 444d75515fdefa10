"""Two gateways, clients that move between them, and somebody who ends gateways and their server at random."""

from __future__ import annotations

import random

from publisher import Publisher
from tests.e2e.failures.nomad import Nomad, nomads
from tests.e2e.failures.scene import Ticker, ready
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

CLIENTS = 16


async def _everybody_has_everything(them: list[Nomad], ticker: Ticker) -> None:
    """Each event has come once and in order, after what was had by id before is dropped."""
    last = await ticker.tick()
    await wait_until(lambda: all(nomad.ticks[-1:] == [last] for nomad in them), 60)
    for nomad in them:
        assert nomad.ticks == sorted(set(nomad.ticks))
        assert set(ticker.promised) <= set(nomad.ticks)
        assert set(nomad.ticks) <= {*ticker.promised, *ticker.possible}
        assert nomad.resyncs == []


async def _everybody_is_somewhere(them: list[Nomad]) -> None:
    await wait_until(lambda: all(nomad.visits and nomad.ticks for nomad in them), 60)


async def test_clients_of_a_killed_gateway_lose_nothing_on_the_other(server: RedisServer, tide: Publisher) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    ticker = Ticker(tide)
    async with GatewayProcess(server.url) as one, GatewayProcess(server.url) as other:
        gateways = [one, other]
        async with nomads(gateways, CLIENTS) as them:
            async with ticker.going_on(0.002):
                await _everybody_is_somewhere(them)
                for _ in range(4):
                    count = len(ticker.promised) + rng.randrange(10, 200)
                    await wait_until(lambda count=count: len(ticker.promised) > count, 60)
                    victim = gateways[rng.choice(them).at]
                    victim.kill()
                    await victim.start()
            await _everybody_has_everything(them, ticker)
            assert sum(len(nomad.visits) for nomad in them) >= CLIENTS + 4


async def test_a_rolling_restart_loses_nothing(server: RedisServer, tide: Publisher) -> None:
    ticker = Ticker(tide)
    async with (
        GatewayProcess(server.url, shutdown__drain_s=0.3) as one,
        GatewayProcess(server.url, shutdown__drain_s=0.3) as other,
        nomads([one, other], CLIENTS) as them,
    ):
        async with ticker.going_on(0.002):
            await _everybody_is_somewhere(them)
            for gateway in (one, other, one):
                assert await gateway.terminate() == 0
                await gateway.start()
        await _everybody_has_everything(them, ticker)
        assert {code for nomad in them for code in nomad.codes} == {1012}
        assert ticker.possible[:-1] == []  # the last was cancelled by us


async def test_gateways_and_server_killed_together_lose_nothing_that_was_promised(
    server: RedisServer, tide: Publisher
) -> None:
    ticker = Ticker(tide)
    async with (
        GatewayProcess(server.url) as one,
        GatewayProcess(server.url) as other,
        nomads([one, other], CLIENTS) as them,
    ):
        async with ticker.going_on(0.002):
            await _everybody_is_somewhere(them)
            server.kill()
            one.kill()
            server.start()
            await one.start()
            await ready(other)
        await _everybody_has_everything(them, ticker)
