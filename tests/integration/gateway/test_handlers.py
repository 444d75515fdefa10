"""Plug-in handlers: what they see and decide, and what they cannot do to others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import ConfigError
from publisher import Publisher
from tests.integration.gateway.raw_socket import raw_socket
from tests.support import handlers
from tests.support.clients import connected, opened, settled
from tests.support.gateway import RunningGateway, make_token, running_gateway
from tests.support.handlers import CALLS, gate
from tests.support.waiting import wait_until

EVERYTHING = "tests.support.handlers:Everything"
SECOND = "tests.support.handlers:Second"
WRONG = "tests.support.handlers:Wrong"


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()
    handlers.GATES.clear()


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with a handler that takes note of everything, and much patience."""
    async with running_gateway(redis_url, handlers=[EVERYTHING], limits__handler_timeout_s=30) as running:
        yield running


@pytest.fixture
async def wrong(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with a handler that does everything wrong, and little patience."""
    async with running_gateway(redis_url, handlers=[WRONG], limits__handler_timeout_s=0.2) as running:
        yield running


async def called(*call: Any) -> None:
    await wait_until(lambda: call in CALLS)


def of_handlers(logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines about what went wrong; not that this process stood still, which is a warning."""
    return [line for line in logs if line["log_level"] == "error"]


# Commands


async def test_a_handler_answers_its_own_command(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        reply = await client.send("vote", {"choice": "b"})
    assert (reply.type, reply.data) == ("ack", {"success": True, "counted": "b"})


async def test_it_sees_the_gateways_commands_first_and_lets_them_through(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        assert (await client.send("echo", [1])).data == [1]
        assert (await client.send("join_group", {"group_id": "g"})).data["success"]
        await client.send("ping")
    assert CALLS[1:3] == [("echo", "42", [1]), ("join_group", "42", {"group_id": "g"})]
    assert "ping" not in [call[0] for call in CALLS]


async def test_it_refuses_a_command_of_the_gateways(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        reply = await client.send("echo", "forbidden")
    assert (reply.type, reply.data) == ("error", {"code": 409, "message": "not this word"})


async def test_a_command_that_nobody_knows_is_404_and_not_shown(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        assert (await client.send("dance")).data["code"] == 404
    assert "dance" not in [call[0] for call in CALLS]


async def test_a_command_before_auth_is_401_and_not_shown(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        assert (await client.send("vote", {"choice": "b"})).data["code"] == 401
    assert CALLS == []


async def test_replies_and_effects_keep_the_order_of_the_commands(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        names = [
            await client.post("wait", {"for": "first"}),
            await client.post("join_group", {"group_id": "g"}),
            await client.post("ping"),
            await client.post("send_message", {"group_id": "g", "content": "after the join"}),
            await client.post("where"),
        ]
        await called("wait", "42", {"for": "first"})
        gate("first").set()
        replies = [await client.reply(name) for name in names]
        assert [frame.message_id for frame in client.frames if frame.message_id in names] == names
    assert [reply.type for reply in replies] == ["ack", "ack", "pong", "ack", "ack"]
    assert replies[-1].data["groups"] == ["g"]


async def test_one_clients_wait_keeps_nobody_else(gateway: RunningGateway) -> None:
    async with connected(gateway, "1") as one, connected(gateway, "2") as two:
        waiting = await one.post("wait", {"for": "never mind"})
        assert (await two.send("vote", {"choice": 1})).data["counted"] == 1
        gate("never mind").set()
        assert (await one.reply(waiting)).data["waited"] == "never mind"


async def test_unanswered_commands_are_bounded(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, handlers=[EVERYTHING], limits__pending_commands=5) as gateway,
        connected(gateway, "42") as client,
    ):
        names = [await client.post("wait", {"for": "all"}) for _ in range(50)]
        await called("wait", "42", {"for": "all"})
        gate("all").set()
        assert len([await client.reply(name) for name in names]) == 50


# Several handlers


async def test_handlers_are_asked_in_order_until_one_answers(redis_url: str) -> None:
    async with running_gateway(redis_url, handlers=[EVERYTHING, SECOND]) as gateway:
        async with connected(gateway, "42") as client:
            assert (await client.send("vote", {"choice": "b"})).data["counted"] == "b"
            assert (await client.send("echo", "for the second")).data == {"success": True, "by": "second"}
            assert (await client.send("echo", "for nobody")).data == "for nobody"
            assert (await client.send("second")).data == {"success": True}
            assert (await client.send("add_tag", {"tag": "t"})).type == "ack"
        await called("second close", "42", 1000)
    seen = [call[0] for call in CALLS]
    assert seen == [
        *("connect", "second connect", "vote", "echo", "second echo", "echo", "second echo"),
        *("second", "second second", "add_tag", "close", "second close"),
    ]


async def test_who_let_a_connection_in_hears_of_its_end_and_nobody_else(redis_url: str) -> None:
    async with running_gateway(redis_url, handlers=[EVERYTHING, SECOND]) as gateway:
        async with connected(gateway, "half", welcomed=False) as client:
            assert await client.closed() == (4403, "the second says no")
        await called("close", "half", 4403)
    assert [call[0] for call in CALLS] == ["connect", "second connect", "close"]


# Connecting


@pytest.mark.parametrize("way", ["query", "auth"])
async def test_a_veto_closes_before_anything_is_sent(gateway: RunningGateway, way: Any) -> None:
    async with connected(gateway, "banned", way=way, welcomed=False) as client:
        assert await client.closed() == (4403, "you are banned")
    assert [frame.type for frame in client.frames] == (["auth_success"] if way == "auth" else [])
    assert not gateway.services.hub.match("default", ("all",))


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_what_on_connect_does_is_there_from_the_welcome_on(
    gateway: RunningGateway, tide: Publisher, way: Any
) -> None:
    async with connected(gateway, "greeted", way=way, claims={"name": "Ada", "groups": ["g"]}) as client:
        assert (await client.next()).type in {"auth_success", "greeting"}
        await client.until(lambda: bool(client.of_type("greeting")))
        kinds = [frame.type for frame in client.frames if frame.type != "auth_success"]
        assert kinds[:2] == ["welcome", "greeting"]
        assert client.of_type("greeting")[0].data == {"hello": "Ada"}
        await tide.publish("e", 1, to="group:greeted")
        await settled(tide, client)
        assert client.events == [("e", 1)]
    assert CALLS[0] == ("connect", "greeted", ("g",))


async def test_a_resume_covers_what_on_connect_joins(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "greeted") as client:
        cursor = client.cursor
    await tide.publish("missed", 1, to="group:greeted")
    async with connected(gateway, "greeted", cursor=cursor) as client:
        await settled(tide, client)
        assert client.events == [("missed", 1)]


async def test_commands_that_come_while_the_handlers_are_asked_wait(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        await client.post("auth", {"token": make_token("waits")})
        name = await client.post("echo", "early")
        await client.post_text(b"binary")
        await called("connect", "waits", ())
        gate("connect").set()
        assert (await client.reply(name)).data == "early"
        await client.until(lambda: bool(client.of_type("error")))
    kinds = [frame.type for frame in client.frames]
    assert kinds == ["auth_success", "welcome", "echo", "error"]


async def test_a_client_that_leaves_meanwhile_is_not_let_in(gateway: RunningGateway) -> None:
    async with connected(gateway, "waits", welcomed=False) as client:
        await called("connect", "waits", ())
        client.socket.transport.abort()
    await wait_until(lambda: not gateway.services.connections)
    gate("connect").set()
    await called("close", "waits", 1006)
    assert not gateway.services.hub.match("default", ("all",))


async def test_a_revocation_while_the_handlers_are_asked_holds(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "waits", claims={"jti": "j"}, welcomed=False) as client:
        await called("connect", "waits", ())
        await tide.revoke(jti="j")
        await wait_until(lambda: len(gateway.services.revocations))
        gate("connect").set()
        assert await client.closed() == (4403, "revoked")
    assert client.of_type("welcome") == []


async def test_a_handler_closes_a_connection_with_a_code_of_its_own(gateway: RunningGateway) -> None:
    async with connected(gateway, "closed", welcomed=False) as client:
        assert await client.closed() == (4000, "not today")
    async with connected(gateway, "42") as client:
        await client.post("act", {"do": "close", "code": 4001, "reason": "enough " * 50})
        code, reason = await client.closed()
    assert (code, reason) == (4001, ("enough " * 50)[:123])
    assert client.of_type("welcome")


# What a session can do


async def test_a_session_joins_leaves_sends_and_publishes(gateway: RunningGateway, redis_url: str) -> None:
    async with (
        running_gateway(redis_url) as other,
        connected(gateway, "1", claims={"topics": ["t"]}) as one,
        connected(other, "2", claims={"groups": ["g"]}) as two,
    ):
        await one.send("act", {"do": "join", "address": "group:g"})
        await one.send("act", {"do": "join", "address": "tag:vip"})
        where = (await one.send("where")).data
        assert (where["groups"], where["tags"], where["topics"]) == (["g"], ["vip"], ["t"])
        reply = await one.send("act", {"do": "publish", "event": "poll", "data": {"n": 1}, "to": "group:g"})
        for client in (one, two):
            frame = await client.next("poll")
            assert (frame.id, frame.data) == (reply.data["result"], {"n": 1})
        await one.send("act", {"do": "leave", "address": "group:g"})
        assert (await one.send("where")).data["groups"] == []
        await one.send("act", {"do": "send", "type": "private", "data": [1]})
        assert (await one.next("private")).data == [1]
        assert two.of_type("private") == []


@pytest.mark.parametrize(
    "action",
    [
        {"do": "join", "address": "user:1"},
        {"do": "join", "address": "all"},
        {"do": "leave", "address": 7},
        {"do": "send", "type": "ack"},
        {"do": "send", "type": ""},
        {"do": "send", "type": "x", "data": "x" * 300_000},
        {"do": "close", "code": 1006},
        {"do": "publish", "event": "e", "data": 1, "to": "nobody"},
    ],
)
async def test_a_wrong_use_of_a_session_is_the_handlers_failure(redis_url: str, action: dict[str, Any]) -> None:
    async with (
        running_gateway(redis_url, handlers=[EVERYTHING], limits__max_message_bytes=1_000_000) as gateway,
        connected(gateway, "42") as client,
    ):
        with capture_logs() as logs:
            assert (await client.send("act", action)).data == {"code": 500, "message": "a handler failed"}
        assert [line["event"] for line in of_handlers(logs)] == ["handler_failed"]
        assert (await client.send("echo", 1)).data == 1


async def test_too_many_joins_are_a_409(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, handlers=[EVERYTHING], limits__addresses=1) as gateway,
        connected(gateway, "42") as client,
    ):
        assert (await client.send("act", {"do": "join", "address": "tag:a"})).type == "ack"
        assert (await client.send("act", {"do": "join", "address": "tag:b"})).data["code"] == 409


# What a handler cannot do


@pytest.mark.parametrize("command", ["raise", "unwritable", "number"])
async def test_an_exception_is_one_line_and_a_500(wrong: RunningGateway, command: str) -> None:
    async with connected(wrong, "42") as client:
        with capture_logs() as logs:
            reply = await client.send(command)
        assert (reply.type, reply.data) == ("error", {"code": 500, "message": "a handler failed"})
        (line,) = of_handlers(logs)
        assert (line["event"], line["handler"], line["client"]) == ("handler_failed", WRONG, client.client_id)
        assert (await client.send("echo", 1)).data == 1
    assert wrong.services.metrics.handler_failures == 1


@pytest.mark.parametrize("command", ["hang", "stubborn", "flood"])
async def test_what_does_not_end_is_given_up(wrong: RunningGateway, tide: Publisher, command: str) -> None:
    async with connected(wrong, "42") as client, connected(wrong, "43") as other:
        with capture_logs() as logs:
            stuck = await client.post(command)
            await tide.publish("e", 1, to="user:43")
            await settled(tide, other)
            reply = await client.reply(stuck)
        assert other.events == [("e", 1)]
        assert reply.data == {"code": 500, "message": "a handler failed"}
        (line,) = of_handlers(logs)
        assert (line["event"], line["hook"]) == ("handler_timed_out", "on_message")
        assert (await client.send("echo", 1)).data == 1
        gate("stubborn").set()


async def test_a_flood_to_a_client_that_does_not_read_is_no_buffer(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, handlers=[WRONG], limits__handler_timeout_s=4) as gateway,
        raw_socket(gateway, gateway.token("slow reader"), receive_buffer=8 * 1024) as raw,
    ):
        (connection,) = await wait_until(lambda: [*gateway.services.connections])
        await raw.send_text('{"type": "flood"}')
        await wait_until(lambda: gateway.services.metrics.handler_failures)
        assert connection.paused
        assert connection.socket._transport.get_write_buffer_size() < 64 * 1024


@pytest.mark.parametrize(("user", "event"), [("hangs", "handler_timed_out"), ("raises", "handler_failed")])
async def test_a_failure_of_on_connect_closes_with_1011(wrong: RunningGateway, user: str, event: str) -> None:
    with capture_logs() as logs:
        async with connected(wrong, user, welcomed=False) as client:
            assert await client.closed() == (1011, "")
    assert [line["event"] for line in of_handlers(logs)] == [event]
    assert client.frames == []


async def test_a_failure_of_on_close_is_one_line(wrong: RunningGateway) -> None:
    with capture_logs() as logs:
        async with connected(wrong, "bad"):
            pass
        await wait_until(lambda: any(line["event"] == "handler_failed" for line in logs))
    assert len(of_handlers(logs)) == 1


async def test_redis_down_is_a_503(redis_url: str) -> None:
    from tests.support.redis_server import RedisServer

    with RedisServer() as server:
        async with (
            running_gateway(server.url, handlers=[EVERYTHING], limits__handler_timeout_s=30) as gateway,
            connected(gateway, "42") as client,
        ):
            server.kill()
            reply = await client.send("act", {"do": "publish", "event": "e", "data": 1, "to": "all"})
            assert reply.data["code"] == 503


async def test_on_close_may_take_its_time_at_the_end(redis_url: str) -> None:
    async with running_gateway(redis_url, handlers=[WRONG]) as gateway:
        async with connected(gateway, "slow"):
            pass
        await called("close", "slow", 1000)
        asyncio.get_running_loop().call_later(0.2, gate("close").set)
    assert ("closed", "slow") in CALLS


async def test_an_on_close_that_hangs_delays_the_end_by_one_deadline(redis_url: str) -> None:
    async with running_gateway(redis_url, handlers=[WRONG], limits__handler_timeout_s=0.3) as gateway:
        for _ in range(20):
            async with connected(gateway, "slow"):
                pass
        await wait_until(lambda: CALLS.count(("close", "slow", 1000)) == 20)
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert ("closed", "slow") not in CALLS


# Starting


async def test_a_handler_need_not_inherit(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, handlers=["tests.support.handlers:Plain", EVERYTHING]) as gateway,
        connected(gateway, "42") as client,
    ):
        assert (await client.send("where")).data["state"] == {"seen": True}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("chat_handler", "use `package.module:Class`"),
        ("no.such.module:Chat", "No module named 'no'"),
        ("tests.support.handlers:Chat", "has no attribute 'Chat'"),
        ("tests.support.handlers:Broken", "OSError: no database"),
        ("tests.support.handlers:Nothing", "none of on_connect, on_message and on_close"),
        ("tests.support.handlers:Blocking", "on_message has to be `async def`"),
        ("tests.support.handlers:Taken", "there is a command 'echo' already"),
        ("tests.support.handlers:Mute", "no on_message to answer them"),
    ],
)
async def test_a_handler_that_cannot_be_used_refuses_to_start(redis_url: str, path: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        async with running_gateway(redis_url, handlers=[path]):
            pass
    assert refused.value.setting.startswith("handlers")
    assert problem in str(refused.value)


async def test_without_handlers_commands_are_the_gateways_own(redis_url: str) -> None:
    async with running_gateway(redis_url) as gateway, connected(gateway, "42") as client:
        assert gateway.services.plugins is None
        assert (await client.send("echo", 1)).data == 1
        assert all(connection.handled is None for connection in gateway.services.connections)
