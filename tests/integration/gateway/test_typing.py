"""`typing`: shown to the others in a group who are there now, and to nobody later."""

from __future__ import annotations

import asyncio
from typing import Any

from publisher import Publisher
from publisher.keys import inbox_work
from tests.support.clients import Client, connected, settled
from tests.support.gateway import PRODUCTION_POLICY, RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

IN_G = {"groups": ["g"]}
STREAM = "tg:{events:0}"


def typers(client: Client) -> list[tuple[str, str]]:
    """Who was seen to type, and where, in order."""
    return [(frame.data["user_id"], frame.data["group_id"]) for frame in client.of_type("typing")]


async def test_the_others_in_the_group_see_it_on_every_instance_and_the_one_who_types_does_not(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(other, "ann", claims=IN_G) as anns_phone,
        connected(gateway, "bob", claims=IN_G) as bob,
        connected(other, "cid", claims=IN_G) as cid,
        connected(other, "eve", claims={"groups": ["h"]}) as eve,
        connected(other, "eve", claims={"groups": ["g"], "tenant": "acme"}) as stranger,
    ):
        assert (await ann.send("typing", {"group_id": "g"})).data == {"success": True}
        await settled(tide, ann, anns_phone, bob, cid, eve)
        await settled(tide, stranger, tenant="acme")
        assert [typers(client) for client in (bob, cid)] == [[("ann", "g")]] * 2
        assert [client.pushes for client in (ann, anns_phone, eve, stranger)] == [[]] * 4


async def test_it_is_never_replayed(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "bob", claims=IN_G) as bob:
        cursor = bob.cursor
    async with connected(gateway, "ann", claims=IN_G) as ann:
        await ann.send("typing", {"group_id": "g"})
        await tide.publish("after", 1, to="group:g")
        await settled(tide, ann)
    async with connected(gateway, "bob", cursor=cursor, claims=IN_G) as bob, connected(gateway, "cid") as cid:
        await cid.send("join_group", {"group_id": "g", "since": cursor})
        await settled(tide, bob, cid)
        assert [client.events for client in (bob, cid)] == [[("after", 1)]] * 2


async def test_it_costs_one_entry_and_no_key(redis_server: RedisServer, gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        with redis_server.client() as redis:
            before = _keys_of_events(redis)
            await ann.send("typing", {"group_id": "g"})
            [(_, fields)] = redis.xrange(STREAM)
            assert _keys_of_events(redis) == before
        assert (fields["k"], fields["p"]) == ("ephemeral", "low")


def _keys_of_events(redis: Any) -> set[str]:
    """Return all keys but those that a gateway keeps beside the log, in its own time."""
    housekeeping = ("tg:presence:", "tg:instance:", inbox_work(0))
    return {key for key in redis.scan_iter() if not key.startswith(housekeeping)}


async def test_who_goes_on_typing_is_shown_once_a_second_and_acked_each_time(
    redis_server: RedisServer, gateway: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann", claims={"groups": ["g", "h"]}) as ann,
        connected(gateway, "ann", claims=IN_G) as anns_phone,
        connected(gateway, "bob", claims={"groups": ["g", "h"]}) as bob,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        replies = [await client.send("typing", {"group_id": "g"}) for client in (*[ann] * 40, anns_phone)]
        most = 1 + int(loop.time() - began)
        await ann.send("typing", {"group_id": "h"})
        await settled(tide, bob)
        assert {reply.type for reply in replies} == {"ack"}
        seen = typers(bob)
        assert 1 <= seen.count(("ann", "g")) <= most
        assert seen.count(("ann", "h")) == 1

        async def again() -> bool:
            await ann.send("typing", {"group_id": "g"})
            return len(typers(bob)) > len(seen)

        await wait_until(again, 20)


async def test_only_members_who_may_write_to_the_group_are_shown(redis_url: str, tide: Publisher) -> None:
    policy = {**PRODUCTION_POLICY, "policy__join_group": ({"allow": "anyone"},)}
    async with running_gateway(redis_url, **policy) as gateway, connected(gateway, "bob", claims=IN_G) as bob:
        async with connected(gateway, "eve") as eve:
            assert (await eve.send("typing", {"group_id": "g"})).data["code"] == 403
            await eve.send("join_group", {"group_id": "g"})
            assert (await eve.send("typing", {"group_id": "g"})).data["code"] == 403
        await settled(tide, bob)
        assert bob.pushes == []


async def test_what_cannot_be_read_is_refused_with_400(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        for data in (None, [], "g", {}, *({"group_id": name} for name in (None, "", 7, "a\nb", "x" * 257, ["g"]))):
            assert (await ann.send("typing", data)).data["code"] == 400, data


async def test_without_redis_it_is_answered_with_503_and_the_connection_stays() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            connected(gateway, "ann", claims=IN_G) as ann,
        ):
            server.kill()
            refused = await ann.send("typing", {"group_id": "g"})
            assert refused.data["code"] == 503
            assert refused.data["retry_after_ms"] > 0
            assert (await ann.send("echo", 1)).data == 1
