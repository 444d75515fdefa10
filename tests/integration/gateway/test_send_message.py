"""`send_message`: clients write to groups and users; stored once, delivered to everybody else, acked with the id."""

from __future__ import annotations

from typing import Any

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer

STREAM = "tg:{events:0}"


def contents(client: Client) -> list[Any]:
    """What was written to a client, in order."""
    return [frame.data["content"] for frame in client.of_type("new_message")]


async def test_a_message_to_a_group_reaches_every_member_but_the_connection_that_sent_it(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann", claims={"groups": ["g"]}) as ann,
        connected(other, "ann", claims={"groups": ["g"]}) as anns_phone,
        connected(gateway, "bob", claims={"groups": ["g"]}) as bob,
        connected(other, "cid", claims={"groups": ["g"]}) as cid,
        connected(other, "eve", claims={"groups": ["h"]}) as eve,
    ):
        assert (await ann.send("send_message", {"group_id": "g", "content": "hello"})).type == "ack"
        await settled(tide, ann, anns_phone, bob, cid, eve)
        assert [contents(client) for client in (ann, anns_phone, bob, cid, eve)] == [[], *[["hello"]] * 3, []]


async def test_a_message_to_a_user_reaches_their_devices_and_the_senders_others(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann") as ann,
        connected(other, "ann") as anns_phone,
        connected(gateway, "bob") as bob,
        connected(other, "bob") as bobs_phone,
        connected(other, "eve") as eve,
    ):
        await ann.send("send_message", {"to": "bob", "content": "hello"})
        await settled(tide, ann, anns_phone, bob, bobs_phone, eve)
        assert [contents(client) for client in (ann, anns_phone, bob, bobs_phone, eve)] == [[], *[["hello"]] * 3, []]


async def test_a_message_says_from_whom_it_is_and_where_it_was_written(
    gateway: RunningGateway, tide: Publisher
) -> None:
    claims = {"groups": ["g"], "name": "Ann"}
    async with (
        connected(gateway, "ann", claims=claims) as ann,
        connected(gateway, "bob", claims={"groups": ["g"]}) as bob,
    ):
        message = {"group_id": "g", "content": {"text": "hello", "n": 2**70}, "msg_type": "rich", "from": "eve"}
        ack = await ann.send("send_message", message, message_id="a-1")
        pushed = await bob.next("new_message")
        assert ack.data == {"success": True, "id": pushed.id}
        assert pushed.message_id == "a-1"
        assert pushed.data == {
            "from": "ann",
            "from_name": "Ann",
            "group_id": "g",
            "msg_type": "rich",
            "content": {"text": "hello", "n": 2**70},
        }
        await bob.send("send_message", {"to": "ann", "content": None})
        pushed = await ann.next("new_message")
        assert pushed.data == {"from": "bob", "to": "ann", "msg_type": "text", "content": None}


async def test_a_message_comes_back_to_its_sender_when_they_resume(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann:
        await ann.send("send_message", {"to": "bob", "content": 1})
    async with connected(gateway, "ann", cursor=ann.cursor) as ann:
        await settled(tide, ann)
        assert contents(ann) == [1]


async def test_the_same_message_sent_twice_is_stored_once_and_acked_twice_with_one_id(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    message = {"to": "bob", "content": "hello"}
    async with connected(gateway, "bob") as bob:
        async with connected(gateway, "ann") as ann:
            first = await ann.send("send_message", message, message_id="m-1")
            again = await ann.send("send_message", message, message_id="m-1")
        async with connected(other, "ann") as ann:  # after a reconnect, elsewhere
            third = await ann.send("send_message", message, message_id="m-1")
        await settled(tide, bob)
        assert first.data == again.data == third.data
        assert contents(bob) == ["hello"]


async def test_the_message_id_is_the_senders_own(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann, connected(gateway, "eve") as eve, connected(gateway, "bob") as bob:
        one = await ann.send("send_message", {"to": "bob", "content": "x"}, message_id="m-1")
        two = await eve.send("send_message", {"to": "bob", "content": "x"}, message_id="m-1")
        await settled(tide, bob)
        assert one.data["id"] != two.data["id"]
        assert [frame.data["from"] for frame in bob.pushes] == ["ann", "eve"]


async def test_another_message_under_a_used_message_id_is_not_lost(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann, connected(gateway, "bob") as bob:
        for content in ("one", "two"):
            await ann.send("send_message", {"to": "bob", "content": content}, message_id="1")
        await settled(tide, bob)
        assert contents(bob) == ["one", "two"]


async def test_messages_without_a_message_id_are_each_stored(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann, connected(gateway, "bob") as bob:
        for _ in range(2):
            await ann.post_text('{"type": "send_message", "data": {"to": "bob", "content": "x"}}')
            assert (await ann.next("ack")).message_id is None
        await settled(tide, bob)
        assert contents(bob) == ["x", "x"]


async def test_messages_keep_the_order_in_which_they_were_sent(gateway: RunningGateway, other: RunningGateway) -> None:
    async with connected(gateway, "ann") as ann, connected(other, "bob") as bob:
        for number in range(90):
            await ann.post("send_message", {"to": "bob", "content": number})
        await bob.received(90)
        assert contents(bob) == list(range(90))


async def test_a_message_that_cannot_be_read_is_refused_with_400(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims={"groups": ["g"]}) as ann:
        for data in (
            *(None, [], "x", {}, {"group_id": "g"}, {"to": "bob"}, {"content": "x"}),
            {"group_id": "g", "to": "bob", "content": "x"},
            *({"group_id": name, "content": "x"} for name in (None, "", 7, "a\nb", "x" * 257)),
            *({"to": name, "content": "x"} for name in (None, "", 7, "a\nb", "x" * 257)),
            *({"group_id": "g", "content": "x", "msg_type": kind} for kind in ("", 7, "a\nb", "x" * 65)),
        ):
            refused = await ann.send("send_message", data)
            assert (refused.type, refused.data["code"]) == ("error", 400), data


async def test_a_message_that_is_too_large_for_the_log_is_refused_with_413(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__max_event_bytes=2_000) as gateway, connected(gateway, "ann") as ann:
        refused = await ann.send("send_message", {"to": "bob", "content": "x" * 2_000})
        assert (refused.type, refused.data["code"]) == ("error", 413)
        assert (await ann.send("send_message", {"to": "bob", "content": "x" * 1_000})).type == "ack"


async def test_a_message_that_redis_does_not_take_is_refused_with_503_and_the_connection_stays() -> None:
    with RedisServer() as server:
        async with running_gateway(server.url) as gateway, connected(gateway, "ann") as ann:
            server.kill()
            refused = await ann.send("send_message", {"to": "bob", "content": "x"})
            assert (refused.type, refused.data["code"]) == ("error", 503)
            assert refused.data["retry_after_ms"] > 0
            assert (await ann.send("echo", 1)).data == 1


async def test_a_message_that_redis_refuses_is_told_without_anything_internal() -> None:
    with RedisServer() as server:
        async with running_gateway(server.url) as gateway, connected(gateway, "ann") as ann:
            with server.client() as redis:
                redis.config_set("maxmemory", "1mb")
            refused = await ann.send("send_message", {"to": "bob", "content": "x" * 50_000})
            assert (refused.type, refused.data["code"]) == ("error", 503)
            assert not {"OOM", "redis", "maxmemory"} & set(refused.data["message"].split())


async def test_what_clients_write_is_kept_in_the_log_with_their_tenant(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    async with connected(gateway, "ann", claims={"tenant": "acme"}) as ann:
        await ann.send("send_message", {"to": "bob", "content": "x"})
    with redis_server.client() as redis:
        [(_, fields)] = redis.xrange(STREAM)
        assert (fields["t"], fields["e"], fields["to"]) == ("acme", "new_message", '["user:bob","user:ann"]')
