"""Redis ends, comes back, is replaced by its replica, or loses the log."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable

from publisher.keys import stream
from tests.chaos.crowd import Crowd
from tests.chaos.lab import Lab, Scenario, apart, gateways, publishing
from tests.chaos.ledger import SOON_S, UNKNOWN, Ledger
from tests.chaos.producer import Producer
from tests.chaos.report import Outcome
from tests.support.gateway import GatewayProcess
from tests.support.proxy import Proxy
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_CLIENTS = 100
_RATE = 100.0
_STREAM = stream(0)
_TRIES = 3
_PATIENCE_S = 20.0  # of a publisher none of whose tries is repeated: FLUSHALL takes the keys that tell them to be one


async def kill_redis(lab: Lab, outcome: Outcome) -> None:
    """Kill -9 the server under load and start it again, with both ways to write an append-only file."""
    kills = lab.pick(3, 100)
    outcome.count(kills_each=kills, clients=_CLIENTS)
    for fsync in ("always", "everysec"):
        with RedisServer(appendonly="yes", appendfsync=fsync) as server:
            await _kill_one_server(server, fsync, kills, lab, outcome)


async def _kill_one_server(server: RedisServer, fsync: str, kills: int, lab: Lab, outcome: Outcome) -> None:
    ledger = Ledger()
    async with (
        gateways([server.url] * 2) as them,
        publishing(server.url) as tide,
        Crowd([gateway.port for gateway in them], _CLIENTS, [ledger], rng=lab.rng) as crowd,
    ):
        await crowd.open()
        waits = []
        async with Producer(tide, ledger, rate=_RATE).going_on():
            for number in range(kills):
                lab.say(f"{fsync}: kill {number + 1} of {kills}")
                await asyncio.sleep(lab.rng.uniform(0.3, 1.0))
                await apart(server.kill)
                await asyncio.sleep(lab.rng.uniform(0.0, 0.5))
                await apart(server.start)  # until it answers
                waits.append(await _goes_on(crowd, ledger))
        complete = await crowd.settled()
        outcome.count_publishes(ledger)
        stored = await _stored(server)
        missing = [number for number, name in ledger.acknowledged().items() if name not in stored]
        if fsync == "everysec" and missing:  # it may: a write waits while the one before it is being synced
            outcome.notes.append(f"everysec: the server has lost {len(missing)} events which it had acknowledged")
            for number in missing:
                ledger.settle(number, UNKNOWN)
            missing = []
        tally = crowd.tally()
        outcome.require_zero(
            **{
                f"{fsync}:_acknowledged,_not_stored": len(missing),
                f"{fsync}:_lost": tally.lost + tally.signalled,
                f"{fsync}:_doubled_or_out_of_order": tally.doubled + tally.misplaced + tally.phantom,
                f"{fsync}:_sockets_closed": crowd.drops,
                f"{fsync}:_incomplete_after_30_s": int(not complete),
            }
        )
        # The middle one: a busy machine may stand still after a kill.
        outcome.require(f"{fsync}: delivery goes on", statistics.median(waits), at_most=3, unit=" s")
        outcome.require(f"{fsync}: at the latest", max(waits), at_most=10, unit=" s")


async def _goes_on(crowd: Crowd, ledger: Ledger) -> float:
    """Wait until everybody had an event that was published from now on; return how long that took."""
    began = time.monotonic()
    first = ledger.last + 1
    await wait_until(lambda: all(record.last >= first for record in crowd.records(ledger)), 30)
    return time.monotonic() - began


async def _all_told(crowd: Crowd) -> int:
    """Wait until everybody had a `resync`, or will have none; return how many had."""
    with contextlib.suppress(AssertionError):
        await wait_until(lambda: len(crowd.told) == len(crowd.clients), 10)
    return len(crowd.told)


async def _stored(server: RedisServer) -> set[str]:
    """Return the ids of everything in the stream, as publishers were told them."""

    def read() -> set[str]:
        with server.client() as client:
            epoch = client.get("tg:{events:0}:epoch")
            return {f"{entry}.0.{epoch}" for entry, _ in client.xrange(_STREAM)}

    return await apart(read)


async def failover(lab: Lab, outcome: Outcome) -> None:
    """
    Promote a replica that has not got everything, under load.

    The link to the replica is held for a moment before, or nothing would be lost and nothing shown.
    """
    promotions = lab.pick(1, 30)
    with RedisServer(repl_diskless_sync_delay=0) as one, RedisServer(repl_diskless_sync_delay=0) as other:
        ledger = Ledger()
        async with (
            Proxy(one.port) as front,
            Proxy(one.port) as link,
            gateways([front.url] * 2) as them,
            publishing(front.url) as tide,
            Crowd([gateway.port for gateway in them], _CLIENTS, [ledger], rng=lab.rng) as crowd,
        ):
            await crowd.open()
            master, replica = one, other
            lost = 0
            async with Producer(tide, ledger, rate=_RATE).going_on():
                for number in range(promotions):
                    lab.say(f"promotion {number + 1} of {promotions}")
                    await _follow(master, replica, link)
                    await asyncio.sleep(lab.rng.uniform(0.3, 1.0))
                    lost += await _promote(replica, master, front, link, ledger, lab)
                    await _goes_on(crowd, ledger)
                    told = await _all_told(crowd)
                    outcome.require(f"promotion {number + 1}: told", told, at_least=_CLIENTS, at_most=_CLIENTS)
                    crowd.told.clear()
                    master, replica = replica, master
            complete = await crowd.settled()
            tally = crowd.tally()
            outcome.count(promotions=promotions, clients=_CLIENTS, acknowledged_and_lost_by_the_failover=lost)
            outcome.count_publishes(ledger)
            outcome.require("lost by the failover", lost, at_least=1)
            outcome.require_delivery(tally, signalled=True, doubled=True)
            outcome.require_zero(sockets_closed=crowd.drops, incomplete_after_30_s=int(not complete))


async def _follow(master: RedisServer, replica: RedisServer, link: Proxy) -> None:
    """Make a server the replica of another, and wait until it is."""
    link.target_port = master.port

    def follow() -> None:
        with replica.client() as client:
            client.replicaof("127.0.0.1", link.port)

    await apart(follow)

    def linked() -> bool:
        with replica.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")

    async def up() -> bool:
        return await apart(linked)

    await wait_until(up, 20)


async def _promote(
    replica: RedisServer, master: RedisServer, front: Proxy, link: Proxy, ledger: Ledger, lab: Lab
) -> int:
    """Promote the replica; return how many acknowledged events only the old master has."""
    link.hold()
    before = ledger.last
    await wait_until(lambda: ledger.last_acknowledged() > before + lab.rng.randrange(5, 40), 20)
    front.refuse()
    acknowledged = set(ledger.acknowledged().values())

    def promote() -> None:
        with replica.client() as client:
            client.replicaof("NO", "ONE")

    await apart(promote)
    stored = await _stored(replica)
    link.cut()
    link.restore()
    front.target_port = replica.port
    front.restore()
    await apart(_forget, master)
    return len({name for name in acknowledged - stored if name.endswith(_epoch_of(stored))})


def _epoch_of(stored: set[str]) -> str:
    return "." + next(iter(stored)).rsplit(".", 1)[1] if stored else ""


def _forget(old: RedisServer) -> None:
    with old.client() as client:
        client.flushall()


async def lose_log(lab: Lab, outcome: Outcome) -> None:
    """FLUSHALL, DEL of the stream, a trim past a live reader and past the cursors of those who are away."""
    ledger = Ledger()
    with RedisServer() as server:
        async with (
            # Little in memory, or the instances would serve everything that Redis has forgotten.
            gateways([server.url] * 2, log__memory_entries=50) as them,
            publishing(server.url, timeout_s=_PATIENCE_S) as tide,
            Crowd([gateway.port for gateway in them], _CLIENTS, [ledger], rng=lab.rng) as crowd,
        ):
            await crowd.open()
            producer = Producer(tide, ledger, rate=_RATE)
            for name, lose in (("FLUSHALL", _flush), ("DEL", _delete), ("trim", _trim), ("away", _trim_while_away)):
                lasts: list[float] = []
                while len(lasts) < _TRIES and min(lasts, default=99.0) > 1:  # a busy machine may stand still in one
                    lab.say(name)
                    await producer.publish(100)
                    complete = await crowd.settled()
                    await asyncio.sleep(SOON_S)  # so that the `resync` of one loss excuses no other
                    crowd.told.clear()
                    began = await lose(server, them, crowd, producer)
                    await _all_told(crowd)
                    times = [at - began for at in crowd.told.values()]
                    outcome.require(f"{name}: told", len(times), at_least=_CLIENTS, at_most=_CLIENTS)
                    lasts.append(max(times, default=99.0))
                    await producer.publish(1)
                    outcome.require_zero(**{f"{name}:_incomplete_after_30_s": 2 - complete - await crowd.settled()})
                outcome.require(f"{name}: the last one after", min(lasts), at_most=1, unit=" s")
            outcome.count(clients=_CLIENTS)
            outcome.count_publishes(ledger)
            outcome.require_delivery(crowd.tally(), signalled=True)


async def _flush(server: RedisServer, _them: list[GatewayProcess], _crowd: Crowd, producer: Producer) -> float:
    return await _do_under_load(server, lambda client: client.flushall(), producer)


async def _delete(server: RedisServer, _them: list[GatewayProcess], _crowd: Crowd, producer: Producer) -> float:
    return await _do_under_load(server, lambda client: client.delete(_STREAM), producer)


async def _do_under_load(server: RedisServer, do: Callable[..., object], producer: Producer) -> float:
    """Let the log be lost while events come; return when."""
    async with producer.going_on():
        await asyncio.sleep(0.5)
        with server.client() as client:
            do(client)
        began = time.monotonic()
        await asyncio.sleep(0.5)
    return began


async def _trim(server: RedisServer, them: list[GatewayProcess], _crowd: Crowd, producer: Producer) -> float:
    """Trim what gateways that stood still had not read."""
    for gateway in them:
        gateway.pause()
    await producer.publish(100)
    with server.client() as client:
        client.xtrim(_STREAM, maxlen=10, approximate=False)
    for gateway in them:
        gateway.resume()
    began = time.monotonic()
    await producer.publish(1)
    return began


async def _trim_while_away(server: RedisServer, _them: list[GatewayProcess], crowd: Crowd, producer: Producer) -> float:
    """Trim past the cursors of clients who are not there."""
    crowd.staying = False
    for client in crowd.clients:
        client.drop()
    await wait_until(lambda: crowd.inside == 0)
    await producer.publish(200)
    with server.client() as client:
        client.xtrim(_STREAM, maxlen=10, approximate=False)
    crowd.staying = True
    began = time.monotonic()
    await crowd.open()
    return began


SCENARIOS = (
    Scenario("kill-redis", "kill -9 the Redis server and start it again", kill_redis),
    Scenario("failover", "a replica promoted under load", failover),
    Scenario("lose-log", "FLUSHALL, DEL of the stream, trim past a cursor", lose_log),
)
