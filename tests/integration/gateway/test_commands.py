"""Each command: what it answers, what it refuses, and that every one has exactly one reply, in order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from publisher import Publisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until

JOINING = [("join_group", "group_id", "group"), ("subscribe", "topic", "topic"), ("add_tag", "tag", "tag")]
LEAVING = [("leave_group", "group_id", "group"), ("unsubscribe", "topic", "topic"), ("remove_tag", "tag", "tag")]


async def refused(client: Client, command: str, data: Any) -> int:
    """Send a command that is refused; return the code."""
    reply = await client.send(command, data)
    assert reply.type == "error", reply
    assert isinstance(reply.data["message"], str)
    code: int = reply.data["code"]
    return code


async def test_ping_gives_the_position_in_the_log(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as client:
        event_id = await tide.publish("notice", 1, to="user:somebody-else")
        await settled(tide, client)
        pong = await client.send("ping")
        assert pong.type == "pong"
        assert pong.data["cursor"] > event_id


async def test_get_client_info_tells_the_connection_of_itself(gateway: RunningGateway) -> None:
    claims = {"name": "Ann", "groups": ["b", "a"], "tags": ["vip"], "topics": ["news"], "tenant": "acme"}
    async with connected(gateway, "42", claims=claims) as client:
        await client.send("join_group", {"group_id": "c"})
        info = (await client.send("get_client_info")).data
        assert info.pop("connected_at") <= info.pop("expires_at")
        assert info.pop("cursor")
        assert info == {
            "success": True,
            "client_id": client.client_id,
            "session_id": client.welcome["session_id"],
            "user_id": "42",
            "name": "Ann",
            "tenant": "acme",
            "instance": gateway.instance_id,
            "remote": "127.0.0.1",
            "groups": ["a", "b", "c"],
            "durable_groups": [],
            "tags": ["vip"],
            "topics": ["news"],
        }


@pytest.mark.parametrize(("command", "field", "kind"), JOINING)
async def test_joining_selects_what_is_sent_from_then_on(
    gateway: RunningGateway, tide: Publisher, command: str, field: str, kind: str
) -> None:
    async with connected(gateway, "42") as client:
        await tide.publish("notice", "before", to=f"{kind}:x")
        await settled(tide, client)
        reply = await client.send(command, {field: "x"})
        assert (reply.type, reply.data["success"]) == ("ack", True)
        await tide.publish("notice", "after", to=f"{kind}:x")
        assert (await client.next("notice")).data == "after"
        assert client.events == [("notice", "after")]


@pytest.mark.parametrize(("command", "field", "kind"), JOINING)
async def test_joining_twice_is_acknowledged_and_delivers_once(
    gateway: RunningGateway, tide: Publisher, command: str, field: str, kind: str
) -> None:
    async with connected(gateway, "42") as client:
        for _ in range(2):
            assert (await client.send(command, {field: "x"})).type == "ack"
        await tide.publish("notice", 1, to=f"{kind}:x")
        await settled(tide, client)
        assert client.events == [("notice", 1)]


@pytest.mark.parametrize(
    ("join", "leave"), list(zip(JOINING, LEAVING, strict=True)), ids=[name for name, *_ in LEAVING]
)
async def test_leaving_ends_delivery(
    gateway: RunningGateway, tide: Publisher, join: tuple[str, str, str], leave: tuple[str, str, str]
) -> None:
    name, field, kind = join
    async with connected(gateway, "42") as client:
        await client.send(name, {field: "x"})
        await tide.publish("notice", "in", to=f"{kind}:x")
        await settled(tide, client)
        for _ in range(2):  # the second time there is nothing to leave
            left = await client.send(leave[0], {field: "x"})
            assert (left.type, left.data) == ("ack", {"success": True})
        await tide.publish("notice", "out", to=f"{kind}:x")
        await settled(tide, client)
        assert client.events == [("notice", "in")]


@pytest.mark.parametrize(("command", "field", "_kind"), [*JOINING, *LEAVING])
async def test_a_name_that_is_none_is_refused_with_400(
    gateway: RunningGateway, command: str, field: str, _kind: str
) -> None:
    async with connected(gateway, "42") as client:
        for name in (None, "", 7, "a\nb", "x" * 257, ["x"], "\x7f"):
            assert await refused(client, command, {field: name}) == 400
        for data in ({}, [], "x", 1):
            assert await refused(client, command, data) == 400


@pytest.mark.parametrize(("command", "field", "_kind"), JOINING)
async def test_a_since_that_is_no_cursor_is_refused_with_400_and_joins_nothing(
    gateway: RunningGateway, command: str, field: str, _kind: str
) -> None:
    async with connected(gateway, "42") as client:
        for since in (7, "nonsense", "", "1-1.0", "1-1.0.é", "1-1.0.a,", "1-1.0.a" * 1_000):
            assert await refused(client, command, {field: "x", "since": since}) == 400
        info = (await client.send("get_client_info")).data
        assert info["groups"] == info["tags"] == info["topics"] == []


async def test_a_connection_has_only_so_many_addresses(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__addresses=2) as gateway, connected(gateway, "42") as client:
        # `all`, its user's and its own do not count
        for topic in ("a", "b"):
            assert (await client.send("subscribe", {"topic": topic})).type == "ack"
        assert await refused(client, "subscribe", {"topic": "c"}) == 409
        assert (await client.send("subscribe", {"topic": "b"})).type == "ack"
        await client.send("unsubscribe", {"topic": "a"})
        assert (await client.send("subscribe", {"topic": "c"})).type == "ack"


async def test_echo_gives_back_what_came(gateway: RunningGateway) -> None:
    texts = [
        *("null", "true", '""', "{}", "[]"),
        *('{"": {"a": [1, 2, {"b": null}]}}', '{"type": "echo", "message_id": "nested"}'),
        r'"\u0000\u001f\"\\\/ \ud83d\ude00 \u2028 é 漢字 😀"',
    ]
    async with connected(gateway, "42") as client:
        for text in texts:
            await client.post_text(f'{{"type": "echo", "message_id": "e1", "data": {text}}}')
            echo = await client.next("echo")
            assert (echo.message_id, echo.data) == ("e1", json.loads(text))


async def test_echo_without_data_gives_an_empty_object(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.post_text('{"type": "echo"}')
        echo = await client.next("echo")
        assert (echo.data, echo.message_id) == ({}, None)


async def test_echo_keeps_every_number_as_it_came(gateway: RunningGateway) -> None:
    integers = ("0", "9007199254740993", "18446744073709551615", "-9223372036854775808", "18446744073709551616")
    async with connected(gateway, "42") as client:
        for number in (*integers, "1e308", "5e-324", "0.1", "-0.0", "1.0", "1.7976931348623157e308"):
            await client.post_text(f'{{"type": "echo", "data": {number}}}')
            echo = await client.next("echo")
            assert repr(echo.data) == repr(json.loads(number))


async def test_a_number_that_cannot_be_kept_is_refused_and_never_changed(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "1" * 5_000):
            await client.post_text(f'{{"type": "echo", "message_id": "e1", "data": {number}}}')
            answer = await client.next()
            assert (answer.type, answer.data["code"]) == ("error", 400), number


async def test_a_command_that_does_not_exist_is_answered_with_404(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for name in ("unheard_of", "", "welcome", "new_message", "Ping", "x" * 1_000, "__class__", "é\n"):
            assert await refused(client, name, {}) == 404


async def test_unknown_fields_are_ignored(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.post_text(
            '{"type":"subscribe","x":1,"timestamp":"?","id":[],"data":{"topic":"t","y":2},"message_id":"a"}'
        )
        answer = await client.next("ack")
        assert answer.message_id == "a"


async def test_the_message_id_comes_back_as_it_was(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for message_id in ("a", "x" * 256, "漢字 😀", '"\\'):
            for command in ("echo", "unheard_of", "subscribe", "ping", "send_message"):
                assert (await client.send(command, {}, message_id=message_id)).message_id == message_id


async def test_a_message_id_that_is_none_is_refused(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for message_id in (7, "", "x" * 257, "a\nb", [], {}, True):
            await client.post_text(json.dumps({"type": "echo", "message_id": message_id, "data": 1}))
            answer = await client.next()
            assert (answer.type, answer.data["code"], answer.message_id) == ("error", 400, None)


async def test_a_burst_of_commands_is_answered_once_each_and_in_order(redis_url: str) -> None:
    limits = {"limits__messages_per_s": 1e6, "limits__messages_burst": 1e6, "limits__pending_commands": 16}
    async with running_gateway(redis_url, **limits) as gateway, connected(gateway, "42") as client:
        await client.send("join_group", {"group_id": "g"})
        before = len(client.frames)
        kinds: list[tuple[str, Any, str]] = [
            ("send_message", {"group_id": "g", "content": "x"}, "ack"),
            ("echo", 1, "echo"),
            ("send_message", {"group_id": "not-joined", "content": "x"}, "error"),
            ("ping", None, "pong"),
            ("send_message", {"to": "43", "content": "x"}, "ack"),
            ("unheard_of", None, "error"),
            ("subscribe", {"topic": "t"}, "ack"),
            ("unsubscribe", {"topic": "t"}, "ack"),
        ]
        sent = []
        for number in range(200):
            command, data, reply = kinds[number % len(kinds)]
            sent.append((await client.post(command, data), reply))
        await client.reply(sent[-1][0])
        replies = [frame for frame in client.frames[before:] if frame.id is None]
        assert [(frame.message_id, frame.type) for frame in replies] == sent


async def test_commands_behind_one_that_waits_for_redis_wait_for_it(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        first = await client.post("send_message", {"to": "42", "content": "x"})
        second = await client.post("echo", 2)
        await client.reply(second)
        replies = [frame.message_id for frame in client.frames if frame.type in {"ack", "echo"}]
        assert replies == [first, second]


async def test_a_client_that_leaves_amid_its_commands_leaves_nothing_behind(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await client.send("join_group", {"group_id": "g"})
        for _ in range(20):
            await client.post("send_message", {"group_id": "g", "content": "x"})
    await wait_until(lambda: not gateway.services.connections)
    assert gateway.services.hub.count("default", "group:g") == 0
    async with connected(gateway, "43") as client:
        await settled(tide, client)
