"""`recall_message`: an author takes a message back; nobody else can, and nobody gets to read it after that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from publisher import Cursor, Publisher
from publisher.keys import history
from tests.support.clients import Client, Frame, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

IN_G = {"groups": ["g"]}
STREAM = "tg:{events:0}"
KEEPING = {"history__groups": ["g"]}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway on which the group `g` keeps a history, and no other does."""
    async with running_gateway(redis_url, **KEEPING) as running:
        yield running


@pytest.fixture
async def other(redis_url: str, gateway: RunningGateway) -> AsyncIterator[RunningGateway]:
    """A second instance beside `gateway`."""
    async with running_gateway(redis_url, **KEEPING) as running:
        yield running


async def write(client: Client, content: Any = "oops", *, message_id: str | None = None, group: str = "g") -> str:
    """Write to a group; return the id."""
    ack = await client.send("send_message", {"group_id": group, "content": content}, message_id=message_id)
    return str(ack.data["id"])


async def recall(client: Client, message_id: Any, group: str = "g") -> Frame:
    """Recall a message; return the reply."""
    return await client.send("recall_message", {"group_id": group, "message_id": message_id})


async def code(client: Client, message_id: Any, group: str = "g") -> int:
    """Try to recall a message, and return why that is refused; 0 where it is not."""
    reply = await recall(client, message_id, group)
    return int(reply.data["code"]) if reply.type == "error" else 0


async def kept(client: Client, group: str = "g") -> list[Any]:
    """What the group's history has, the newest first."""
    reply = await client.send("get_history", {"group_id": group})
    return [message["data"].get("content") for message in reply.data["messages"]]


@pytest.mark.parametrize("by", ["message_id", "id"])
@pytest.mark.parametrize("group", ["g", "keeps-none"])
async def test_everybody_in_the_group_is_told_and_the_history_has_it_no_more(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, by: str, group: str
) -> None:
    claims = {"groups": [group]}
    async with (
        connected(gateway, "ann", claims=claims) as ann,
        connected(other, "ann", claims=claims) as anns_phone,
        connected(other, "bob", claims=claims) as bob,
        connected(other, "eve") as eve,
    ):
        event_id = await write(ann, message_id="m-1", group=group)
        assert (await recall(ann, {"message_id": "m-1", "id": event_id}[by], group)).data == {"success": True}
        await settled(tide, ann, anns_phone, bob, eve)
        told = {"group_id": group, "message_id": "m-1", "id": event_id, "user_id": "ann"}
        assert [bob.events[1], anns_phone.events[1]] == [("message_recalled", told)] * 2
        assert ann.events == [("message_recalled", told)]
        assert eve.pushes == []
        assert await kept(bob, group) == []


async def test_an_author_can_take_it_back_from_another_device_on_another_instance(
    gateway: RunningGateway, other: RunningGateway
) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(other, "ann", claims=IN_G) as anns_phone:
        for number in range(30):  # at once: the other instance need not have read it
            await write(ann, message_id=f"m-{number}")
            assert await code(anns_phone, f"m-{number}") == 0
            event_id = await write(ann)
            assert await code(anns_phone, event_id) == 0
        assert await kept(ann) == []


async def test_it_is_recalled_once_however_often_it_is_asked_for(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(other, "ann", claims=IN_G) as anns_phone:
        event_id = await write(ann, message_id="m-1")
        for name in ("m-1", event_id):
            await ann.post("recall_message", {"group_id": "g", "message_id": name}, message_id=f"r-{name}")
            await anns_phone.post("recall_message", {"group_id": "g", "message_id": name}, message_id=f"r-{name}")
        replies = [await client.reply(f"r-{name}") for client in (ann, anns_phone) for name in ("m-1", event_id)]
        await settled(tide, ann, anns_phone)
        replies += [await recall(client, name) for client in (ann, anns_phone) for name in ("m-1", event_id)]
        await settled(tide, ann, anns_phone)
        assert [reply.data for reply in replies] == [{"success": True}] * 8
        assert len(ann.of_type("message_recalled")) == len(anns_phone.of_type("message_recalled")) == 1


async def test_nobody_else_can_take_it_back(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    async with (
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(other, "bob", claims=IN_G) as bob,
        connected(other, "eve", claims={"groups": ["h"]}) as eve,
        connected(other, "ann", claims={"groups": ["g"], "tenant": "acme"}) as namesake,
    ):
        event_id = await write(ann, message_id="m-1")
        for name in ("m-1", event_id):
            assert await code(bob, name) == 403
            assert await code(eve, name) == 403  # not in the group
            assert await code(eve, name, "h") == 404
            assert await code(namesake, name) == 404
        await settled(tide, ann, bob)
        assert bob.of_type("message_recalled") == []
        assert await kept(bob) == ["oops"]


async def test_a_claimed_sender_is_not_believed(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(gateway, "bob", claims=IN_G) as bob:
        message = {"group_id": "g", "content": "x", "from": "bob", "user_id": "bob"}
        await ann.send("send_message", message, message_id="m-1")
        forged = {"group_id": "g", "message_id": "m-1", "from": "ann", "user_id": "ann"}
        assert (await bob.send("recall_message", forged)).data["code"] == 403


async def test_users_who_chose_the_same_message_id_take_back_their_own(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(gateway, "bob", claims=IN_G) as bob:
        anns = await write(ann, "ann's", message_id="1")
        bobs = await write(bob, "bob's", message_id="1")
        named_like_another = await write(bob, "bob's other", message_id=anns)
        assert await code(ann, "1") == 0
        assert await kept(bob) == ["bob's other", "bob's"]
        assert await code(bob, anns) == 0  # his own, which has Ann's id for a name
        assert await code(bob, "1") == 0
        await settled(tide, bob)
        recalled = [frame.data["id"] for frame in bob.of_type("message_recalled")]
        assert recalled == [anns, named_like_another, bobs]


async def test_of_ones_own_of_the_same_name_the_newest_is_taken_back(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        await write(ann, "first", message_id="1")
        await write(ann, "second", message_id="1")
        assert [await code(ann, "1") for _ in range(2)] == [0, 0]
        assert await kept(ann) == ["first"]


async def test_the_newest_is_taken_back_also_where_its_ack_is_here_before_itself(
    redis_url: str, redis_server: RedisServer
) -> None:
    reading = ("xreadgroup", "xread")
    with redis_server.client() as redis:

        def may(*commands: str) -> None:
            redis.acl_setuser("one-of-us", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=commands)

        may("+@all")
        try:
            async with (
                running_gateway(redis_url.replace("//", "//one-of-us:any@"), **KEEPING) as gateway,
                connected(gateway, "ann", claims=IN_G) as ann,
            ):
                health = gateway.application.parts.consumers[0].health
                await write(ann, "first", message_id="1")
                may(*(f"-{command}" for command in reading))
                await wait_until(lambda: health.problem == "NoPermissionError")
                await write(ann, "second", message_id="1")
                await ann.post("recall_message", {"group_id": "g", "message_id": "1"}, message_id="r")
                may(*(f"+{command}" for command in reading))
                reply = await ann.reply("r")
                while reply.type == "error" and reply.data["code"] == 503:  # it takes longer than the gateway waits
                    reply = await recall(ann, "1")
                assert reply.data == {"success": True}
                assert await kept(ann) == ["first"]
        finally:
            redis.acl_deluser("one-of-us")


async def test_what_is_no_message_of_a_client_cannot_be_recalled(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        anonymous = await tide.publish("new_message", {"content": 1}, to="group:g", message_id="a", history=True)
        odd = await tide.publish("new_message", [1], to="group:g", message_id="b")
        stranger = await tide.publish("order", {"from": "ann"}, to="group:g", message_id="c", history=True)
        private = await tide.publish("new_message", {"from": "ann"}, to="user:ann", message_id="d")
        await settled(tide, ann)
        assert [await code(ann, name) for name in (anonymous, "a", odd, "b")] == [403] * 4
        assert [await code(ann, name) for name in (stranger, "c", private, "d")] == [404] * 4


async def test_what_a_service_wrote_in_a_users_name_is_theirs(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        event_id = await tide.publish("new_message", {"from": "ann", "content": "x"}, to="group:g", history=True)
        assert await code(ann, event_id) == 0
        assert await kept(ann) == []


async def test_after_the_time_it_is_too_late(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, chat__recall_within_s=0.05, **KEEPING) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
    ):
        event_id = await write(ann, message_id="m-1")
        await wait_until(lambda: time.time() * 1000 > Cursor.parse(event_id).ms + 100)
        assert [await code(ann, name) for name in (event_id, "m-1")] == [409, 409]
        assert await kept(ann) == ["oops"]


async def test_what_was_recalled_in_time_is_recalled_for_good(redis_url: str) -> None:
    async with (
        running_gateway(redis_url) as gateway,
        running_gateway(redis_url, chat__recall_within_s=0.05) as strict,
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(strict, "ann", claims=IN_G) as anns_phone,
    ):
        event_id, late_id = await write(ann, message_id="m-1"), await write(ann, message_id="m-2")
        assert await code(ann, "m-1") == 0
        await anns_phone.next("message_recalled")
        await wait_until(lambda: time.time() * 1000 > Cursor.parse(late_id).ms + 100)
        assert await code(anns_phone, late_id) == 409
        assert [await code(anns_phone, name) for name in (event_id, "m-1")] == [0, 0]


async def test_what_is_older_than_memory_is_found_in_the_log_by_its_id(redis_url: str, tide: Publisher) -> None:
    async with (
        running_gateway(redis_url, log__memory_entries=5) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(gateway, "bob", claims=IN_G) as bob,
    ):
        event_id = await write(ann, message_id="m-1")
        for number in range(20):
            await tide.publish("noise", number, to="group:g")
        await settled(tide, ann, bob)
        assert await code(bob, event_id) == 403
        assert await code(ann, "m-1") == 404  # by name only where there is a history
        assert [await code(ann, event_id) for _ in range(2)] == [0, 0]
        await settled(tide, bob)
        assert [frame.data["message_id"] for frame in bob.of_type("message_recalled")] == ["m-1"]


async def test_what_is_older_than_memory_is_found_in_the_history_by_either_name(
    redis_url: str, redis_server: RedisServer, tide: Publisher
) -> None:
    async with (
        running_gateway(redis_url, log__memory_entries=5, **KEEPING) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
        connected(gateway, "bob", claims=IN_G) as bob,
    ):
        ids = [await write(ann, number, message_id=f"m-{number}") for number in range(4)]
        for number in range(20):
            await tide.publish("noise", number, to="group:g")
        await settled(tide, ann, bob)
        with redis_server.client() as redis:
            assert redis.xdel(STREAM, *(one.partition(".")[0] for one in ids)) == 4
        assert [await code(bob, name) for name in (ids[0], "m-1")] == [403, 403]
        assert [await code(ann, name) for name in (ids[0], "m-1")] == [0, 0]
        assert await kept(bob) == [3, 2]


async def test_a_history_with_ids_of_its_own_loses_it_too(
    redis_url: str, redis_server: RedisServer, tide: Publisher
) -> None:
    """A log that began anew under a clock that is behind: see `publish_kept.lua`."""
    async with (
        running_gateway(redis_url, **KEEPING) as gateway,
        connected(gateway, "ann", claims=IN_G) as ann,
    ):
        await write(ann, "first")
        key = history(0, "default", "g")
        with redis_server.client() as redis:
            [(entry_id, fields)] = redis.xrange(key)
            ahead = f"{int(entry_id.partition('-')[0]) + 3_600_000}-0"
            redis.xadd(key, {**fields, "m": "ahead"}, id=ahead)
        ids = [await write(ann, content, message_id=content) for content in ("a", "b", "c")]
        assert await kept(ann) == ["c", "b", "a", "first", "first"]
        page = (await ann.send("get_history", {"group_id": "g", "limit": 2})).data
        shown = [message["id"] for message in page["messages"]]
        older = (await ann.send("get_history", {"group_id": "g", "before": shown[-1]})).data
        assert [message["message_id"] for message in older["messages"]][:2] == ["a", "ahead"]
        assert [await code(ann, name) for name in (ids[0], "b", shown[0])] == [0, 0, 0]
        await settled(tide, ann)
        assert [frame.data["id"] for frame in ann.of_type("message_recalled")] == ids
        assert await kept(ann) == ["first", "first"]


async def test_who_resumes_is_told_of_the_recall_and_does_not_get_what_was_recalled(
    gateway: RunningGateway, other: RunningGateway, redis_url: str, tide: Publisher
) -> None:
    async with connected(gateway, "bob", claims=IN_G) as bob:
        cursor = bob.cursor
    async with connected(gateway, "ann", claims=IN_G) as ann:
        await write(ann, "before")
        event_id = await write(ann, "oops")
        await write(ann, "after")
        await recall(ann, event_id)
        async with connected(other, "witness") as witness:
            await settled(tide, ann, witness)
    async with running_gateway(redis_url) as late:  # which finds all of it there
        for instance in (gateway, other, late):
            async with (
                connected(instance, "bob", cursor=cursor, claims=IN_G) as bob,
                connected(instance, "cid") as cid,
            ):
                await cid.send("join_group", {"group_id": "g", "since": cursor})
                for client in (bob, cid):
                    await settled(tide, client)
                    assert [(frame.type, frame.data.get("content")) for frame in client.pushes] == [
                        ("new_message", "before"),
                        ("new_message", "after"),
                        ("message_recalled", None),
                    ]


async def test_who_resumes_from_before_memory_does_not_get_it_either(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=3) as gateway:
        async with connected(gateway, "bob", claims=IN_G) as bob:
            cursor = bob.cursor
        async with connected(gateway, "ann", claims=IN_G) as ann:
            event_id = await write(ann, "oops")
            await recall(ann, event_id)
            for number in range(10):
                await tide.publish("noise", number, to="group:g")
            await settled(tide, ann)
        async with connected(gateway, "bob", cursor=cursor, claims=IN_G) as bob:
            await settled(tide, bob)
            assert bob.events[0][0] == "message_recalled"
            assert [data for _, data in bob.events[1:]] == list(range(10))


async def test_what_was_recalled_under_one_message_id_is_not_stored_again_under_it(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann, connected(gateway, "bob", claims=IN_G) as bob:
        event_id = await write(ann, message_id="m-1")
        await recall(ann, "m-1")
        assert await write(ann, message_id="m-1") == event_id  # a retry that was under way
        await settled(tide, bob)
        assert [frame.type for frame in bob.pushes] == ["new_message", "message_recalled"]
        assert await kept(bob) == []


async def test_bad_arguments_are_refused_with_400(gateway: RunningGateway) -> None:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        for name in (None, "", 7, [], {}, "a\nb", "x" * 257, True):
            assert await code(ann, name) == 400, name
        for data in (None, [], {}, {"message_id": "m"}, {"group_id": 7, "message_id": "m"}):
            assert (await ann.send("recall_message", data)).data["code"] == 400, data
        epoch = Cursor.parse(ann.cursor).epoch
        unknown = (
            f"1-1.0.{epoch}",
            f"0-0.0.{epoch}",
            f"1-{2**64}.0.{epoch}",
            f"1-1.9.{epoch}",
            "1-1.0.x",
            "*",
            "ü" * 256,
        )
        for name in unknown:
            assert await code(ann, name) == 404, name


async def test_without_redis_it_is_answered_with_503_and_the_connection_stays() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url, **KEEPING) as gateway,
            connected(gateway, "ann", claims=IN_G) as ann,
        ):
            event_id = await write(ann)
            server.kill()
            for name in (event_id, "unknown"):
                refused = await recall(ann, name)
                assert (refused.type, refused.data["code"]) == ("error", 503)
                assert refused.data["retry_after_ms"] > 0
            assert (await ann.send("echo", 1)).data == 1
