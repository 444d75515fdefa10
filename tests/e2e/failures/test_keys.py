"""No key outlives its use."""

from __future__ import annotations

from gateway.store.answers import give_answer
from gateway.store.connection import connect
from publisher import Publisher
from publisher.keys import epoch, stream
from tests.support.clients import connected, settled
from tests.support.gateway import running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

# The log, and its name, which is as good as long as the log is.
EVERLASTING = {stream(partition) for partition in range(2)} | {epoch(partition) for partition in range(2)}


async def test_every_key_but_the_log_and_its_epoch_ends_by_itself(server: RedisServer) -> None:
    async with (
        Publisher(server.url, partitions=2) as tide,
        running_gateway(server.url, log__partitions=2, history__groups=["*"], presence__groups=["*"]) as one,
        running_gateway(server.url, log__partitions=2, history__groups=["*"], presence__groups=["*"]) as other,
        connected(one, "1") as alice,
        connected(other, "2") as bob,
    ):
        for number in range(50):
            await tide.publish(
                "plain", number, to=f"user:{number}", expires_in=5, priority="low", collapse="c", receipt=True
            )
            await tide.publish("keyed", number, to=f"group:{number}", key=f"key-{number}", tenant=f"t{number % 3}")
        await tide.publish_many([{"event": "many", "data": None, "to": "all"}] * 20)
        for client in (alice, bob):
            await client.send("join_group", {"group_id": "ops"})
            await client.send("subscribe", {"topic": "orders"})
            await client.send("add_tag", {"tag": "vip"})
            await client.send("send_message", {"group_id": "ops", "content": "hello"})
            await client.send("send_message", {"to": "1", "content": "hello"})
            await client.send("typing", {"group_id": "ops"})
            await client.send("send_message", {"group_id": "ops", "content": "oops"}, message_id="oops")
            assert (await client.send("recall_message", {"group_id": "ops", "message_id": "oops"})).type == "ack"
            assert (await client.send("get_history", {"group_id": "ops"})).data["messages"]
        ids = await tide.notify(["1", "2", "5"], title="t", key="n")
        await tide.notify("5", title="t")
        await wait_until(lambda: sum(g.services.metrics.notifications for g in (one, other)) == 4)
        await alice.send("mark_read", {"notification_ids": ids[:1]})
        await bob.send("mark_read", {"all": True})
        await bob.send("mark_read", {"group_id": "ops", "message_id": "m"})
        await tide.groups.add("ops", "1", "2", tenant="acme")
        await tide.access("block", "203.0.113.0/24", lasts_s=60)
        await tide.kick("3", reason="test")
        await tide.revoke(jti="gone")
        await tide.revoke(user="4", lasts_s=60)
        redis = connect(server.url, 5)
        await give_answer(redis, "request", {"instance": one.instance_id})
        await redis.aclose()
        await settled(tide, alice, bob)
        receipts = one.services.log.outcomes.receipts
        await wait_until(lambda: len(receipts) == 50 and receipts.waiting == 0)
        with server.client() as client:
            await wait_until(lambda: list(client.scan_iter("tg:presence:*:group:ops")))
            everything = sorted(client.scan_iter(count=1_000))
            assert len(everything) > 60
            lasting = {key for key in everything if client.ttl(key) == -1}
            assert {key for key in lasting if not key.startswith("tg:members:")} == EVERLASTING
            assert [key for key in everything if not key.startswith("tg:")] == []
