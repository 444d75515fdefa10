"""Notifications over sockets of two instances: pushed with their id, counted on every device, kept for who is away."""

from __future__ import annotations

import contextlib
import json

import pytest

from gateway.store.inbox import Inbox
from publisher import Publisher
from publisher.keys import inbox_work
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def inbox_of(gateway: RunningGateway) -> Inbox:
    assert gateway.services.inbox is not None
    return gateway.services.inbox


def counts(client: Client) -> list[int]:
    return [frame.data["unread_count"] for frame in client.pushes if frame.type == "unread_count"]


async def told(count: int, *clients: Client) -> None:
    """Wait until each client was last told this count."""
    for client in clients:
        await client.until(lambda client=client: counts(client)[-1:] == [count])


@contextlib.asynccontextmanager
async def all_devices(gateway: RunningGateway, other: RunningGateway, user: str = "42"):
    async with connected(gateway, user) as phone, connected(other, user) as tablet, connected(other, user) as laptop:
        yield phone, tablet, laptop


async def test_it_is_pushed_with_the_id_that_notify_returned_and_the_inbox_has(gateway, other, tide) -> None:
    async with all_devices(gateway, other) as devices, connected(other, "7") as stranger:
        notification_id = await tide.notify("42", title="Shipped", type="order", link="/7", data={"n": 7})
        for device in devices:
            frame = await device.next("notification")
            assert frame.id == frame.data["id"] == notification_id
            assert frame.data == {
                "id": notification_id,
                "type": "order",
                "title": "Shipped",
                "content": "",
                "level": "info",
                "priority": "normal",
                "link": "/7",
                "data": {"n": 7},
            }
        await told(1, *devices)
        item = await inbox_of(other).get("default", "42", notification_id)
        assert {"id": notification_id, **json.loads(item.text)} == frame.data
        await settled(tide, stranger)
        assert stranger.pushes == []


async def test_a_push_has_its_id_in_a_replay_and_when_read_from_redis_and_compressed(redis_url, gateway, tide) -> None:
    async with connected(gateway, "42") as before:
        cursor = before.welcome["cursor"]
    notification_id = await tide.notify("42", title="t")
    for number in range(20):
        await tide.publish("filler", number, to="user:7")
    async with running_gateway(redis_url, log__memory_entries=5, compression__enabled=True) as small:
        for place in (gateway, small):
            for compression in (None, "deflate"):
                async with connected(place, "42", cursor=cursor, compression=compression) as client:
                    frame = await client.next("notification")
                    assert frame.id == frame.data["id"] == notification_id


async def test_who_was_away_finds_it_in_the_inbox_of_any_instance(gateway, other, tide) -> None:
    ids = [await tide.notify("42", title=str(number)) for number in range(3)]

    async def there() -> bool:
        return await inbox_of(gateway).unread_count("default", "42") == 3

    await wait_until(there)
    page = await inbox_of(other).page("default", "42", page=1, size=10)
    assert [item.id for item in page.items] == ids[::-1]


async def test_marking_tells_every_device_on_every_instance(gateway, other, tide) -> None:
    async with all_devices(gateway, other) as devices:
        ids = [await tide.notify("42", title=str(number)) for number in range(4)]
        await told(4, *devices)
        phone, tablet, _ = devices
        reply = await phone.send("mark_read", {"notification_ids": ids[:2]})
        assert (reply.type, reply.data) == ("ack", {"success": True, "unread_count": 2})
        await told(2, *devices)
        reply = await tablet.send("mark_read", {"all": True})
        assert reply.data == {"success": True, "unread_count": 0}
        await told(0, *devices)


async def test_marking_again_or_what_is_not_ones_own_changes_and_tells_nothing(gateway, other, tide) -> None:
    async with connected(gateway, "42") as ann, connected(other, "7") as bob:
        (anns, bobs) = await tide.notify("42", title="t"), await tide.notify("7", title="t")
        await told(1, ann, bob)
        for ids, left in (([bobs, "1-0.0.none"], 1), ([anns, anns], 0), ([anns], 0), ([bobs], 0)):
            assert (await ann.send("mark_read", {"notification_ids": ids})).data["unread_count"] == left
        assert (await ann.send("mark_read", {"all": True})).data["unread_count"] == 0
        await settled(tide, ann, bob)
        assert (counts(ann), counts(bob)) == ([1, 0], [1])


async def test_tenants_are_apart(gateway, other, tide) -> None:
    acme = {"tenant": "acme"}
    async with connected(gateway, "42") as ours, connected(other, "42", claims=acme) as theirs:
        await tide.notify("42", title="t", tenant="acme")
        await told(1, theirs)
        assert (await ours.send("mark_read", {"all": True})).data["unread_count"] == 0
        await settled(tide, ours)
        assert ours.pushes == []
        assert await inbox_of(gateway).unread_count("acme", "42") == 1


async def test_ten_thousand_users_have_one_each(gateway, other, tide, redis_server) -> None:
    users = [str(number) for number in range(10_000)]
    async with connected(gateway, "0") as first, connected(other, "9999") as last:
        ids = await tide.notify(users, title="t")
        for client, place in ((first, 0), (last, 9999)):
            assert (await client.next("notification")).id == ids[place]
        await wait_until(lambda: notified(gateway, other) == 10_000, 60)
        await told(1, first, last)
    seen = {user async for _, user in inbox_of(gateway).owners()}
    assert seen == set(users)
    with redis_server.client() as client:
        assert client.xlen(inbox_work(0)) == 0


def notified(*gateways: RunningGateway) -> int:
    """Return how many notifications the instances have written."""
    return sum(gateway.services.metrics.notifications for gateway in gateways)


async def test_with_several_partitions_each_inbox_is_beside_its_users_log(redis_url, redis_server) -> None:
    settings = {"log__partitions": 4}
    async with (
        running_gateway(redis_url, **settings) as one,
        running_gateway(redis_url, **settings) as two,
        Publisher(redis_url, partitions=4) as tide,
    ):
        users = [str(number) for number in range(40)]
        ids = await tide.notify(users, title="t")
        await wait_until(lambda: notified(one, two) == 40)
        for user, notification_id in zip(users, ids, strict=True):
            assert await inbox_of(one).get("default", user, notification_id) is not None
        async with connected(two, "5") as client:
            reply = await client.send("mark_read", {"notification_ids": [ids[5]]})
            assert reply.data["unread_count"] == 0
            await told(0, client)


async def test_where_notifications_are_not_kept_they_are_pushed_only(redis_url, redis_server, tide) -> None:
    async with running_gateway(redis_url, inbox__enabled=False) as gateway, connected(gateway, "42") as client:
        await tide.notify("42", title="t")
        await client.next("notification")
        with redis_server.client() as redis:
            await wait_until(lambda: redis.xlen(inbox_work(0)) == 0)
            assert redis.keys("tg:inbox:*") == []
        refused = await client.send("mark_read", {"all": True})
        assert (refused.type, refused.data["code"]) == ("error", 404)
        await settled(tide, client)
        assert counts(client) == []


@pytest.mark.parametrize(
    "data",
    [
        *(None, [], "x", {}, {"all": False}, {"all": 1}, {"all": None}),
        *({"notification_ids": ids} for ids in (None, [], "x", [1], [""], ["x" * 129], ["a\nb"], ["x"] * 1001, {})),
        {"all": True, "notification_ids": ["x"]},
        {"all": True, "group_id": "g", "message_id": "m"},
        {"notification_ids": ["x"], "group_id": "g"},
        *({"group_id": "g"}, {"message_id": "m"}, {"group_id": "", "message_id": "m"}),
        *({"group_id": "g", "message_id": one} for one in (None, "", 7, "a\nb", "x" * 257)),
    ],
    ids=lambda data: str(data)[:60],
)
async def test_what_cannot_be_read_is_refused_with_400(gateway, data) -> None:
    async with connected(gateway, "42", claims={"groups": ["g"]}) as client:
        refused = await client.send("mark_read", data)
        assert (refused.type, refused.data["code"]) == ("error", 400)


async def test_that_a_message_was_read_is_told_to_the_group(gateway, other, tide) -> None:
    member = {"groups": ["g"]}
    async with (
        connected(gateway, "ann", claims=member) as ann,
        connected(other, "ann", claims=member) as anns_tablet,
        connected(other, "bob", claims=member) as bob,
        connected(other, "eve") as eve,
    ):
        reply = await ann.send("mark_read", {"group_id": "g", "message_id": "m-1"})
        assert (reply.type, reply.data["success"]) == ("ack", True)
        again = await ann.send("mark_read", {"group_id": "g", "message_id": "m-1"})
        assert again.data["id"] == reply.data["id"]
        await settled(tide, ann, anns_tablet, bob, eve)
        read = ("message_read", {"group_id": "g", "user_id": "ann", "message_id": "m-1"})
        assert [client.events for client in (ann, anns_tablet, bob, eve)] == [[], [read], [read], []]


async def test_who_is_not_in_the_group_has_not_read_it(gateway) -> None:
    async with connected(gateway, "eve") as eve:
        refused = await eve.send("mark_read", {"group_id": "g", "message_id": "m"})
        assert (refused.type, refused.data["code"]) == ("error", 403)


async def test_without_redis_marking_is_refused_with_503_and_the_connection_stays() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            connected(gateway, "42", claims={"groups": ["g"]}) as client,
        ):
            server.kill()
            for data in ({"all": True}, {"notification_ids": ["x"]}, {"group_id": "g", "message_id": "m"}):
                refused = await client.send("mark_read", data)
                assert (refused.type, refused.data["code"]) == ("error", 503)
                assert refused.data["retry_after_ms"] > 0
            server.start()

            async def marked() -> bool:
                return (await client.send("mark_read", {"all": True})).type == "ack"

            await wait_until(marked, 20)


async def test_replies_keep_their_order_while_one_waits_for_redis(gateway) -> None:
    async with connected(gateway, "42") as client:
        posted = []
        for number in range(20):
            posted.append(await client.post("mark_read", {"all": True}))
            posted.append(await client.post("echo", number))
        await client.reply(posted[-1])
        came = [frame.message_id for frame in client.frames if frame.type in {"ack", "echo"}]
        assert came == posted
