"""`gateway connect`."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from websockets.asyncio.server import serve

from gateway.settings import load
from gateway.terminal import connect
from gateway.terminal.joined import REPLY_TIMEOUT_S
from gateway.terminal.screen import JsonScreen
from tests.support.gateway import GatewayProcess, make_token
from tests.support.redis_server import kept_port
from tests.support.terminal import CTRL_C, CTRL_D
from tests.support.waiting import wait_until


def frames(piped):
    return parsed(piped.lines())


def parsed(lines):
    """Return the frames of lines, but for the `unread_count` that follows where Redis was too slow for `welcome`."""
    return [frame for frame in map(json.loads, lines) if frame["type"] != "unread_count"]


async def of_type(piped, kind, count=1):
    await wait_until(lambda: [frame["type"] for frame in frames(piped)].count(kind) >= count, 60)
    return [frame for frame in frames(piped) if frame["type"] == kind]


# In a pipe.


async def test_json_prints_frames_as_they_are(shell, tide):
    async with shell.piped("connect", "--json") as client:
        await of_type(client, "welcome")
        event_id = await tide.publish("order.shipped", {"order": 7}, to="user:42")
        (push,) = await of_type(client, "order.shipped")
        assert (push["id"], push["data"]) == (event_id, {"order": 7})
        assert [frame["type"] for frame in frames(client)] == ["auth_success", "welcome", "order.shipped"]
        assert "\x1b" not in client.out + client.err


async def test_commands_come_from_standard_input_and_quit_waits_for_the_answers(shell):
    typed = '/join ops\n/send ops hello there\n/echo [1, 2]\n/to 42 {"a": 1}\n/ping\n/quit\n'
    done = await shell.gateway("connect", "--json", stdin=typed.encode())
    answers = parsed(done.out.splitlines())[2:]
    assert done.status == 0
    assert sorted(answer["type"] for answer in answers if "id" not in answer) == ["ack", "ack", "ack", "echo", "pong"]
    assert next(answer["data"] for answer in answers if answer["type"] == "echo") == [1, 2]


async def test_a_raw_frame_is_sent_as_it_is(shell):
    typed = '{"type": "subscribe", "message_id": "mine", "data": {"topic": "orders"}}\n/info\n/quit\n'
    done = await shell.gateway("connect", "--json", stdin=typed.encode())
    answers = {frame["message_id"]: frame for frame in parsed(done.out.splitlines())}
    info = list(answers.values())[-1]
    assert answers["mine"]["data"]["success"] is True
    assert info["data"]["topics"] == ["orders"]


async def test_the_end_of_a_pipe_is_not_the_end_of_the_connection(shell, tide):
    async with shell.piped("connect", "--json") as client:
        client.close_input()
        await of_type(client, "welcome")
        await tide.publish("e", 1, to="user:42")
        await of_type(client, "e")


async def test_it_works_with_standard_input_closed(shell, tide, gateway):
    running = asyncio.create_task(shell.gateway("connect", "--json", stdin=None))
    await wait_until(lambda: gateway.services.metrics.connections_opened, 60)
    await tide.kick("42")
    done = await running
    assert done.status == 1
    assert json.loads(done.out.splitlines()[1])["type"] == "welcome"


async def test_what_is_not_understood_is_said_and_sent_nowhere(shell):
    done = await shell.gateway("connect", "--json", stdin=b"hello\n/fly\n/join\n{nonsense\n{}\n/send g\n/quit\n")
    assert done.status == 0
    types = [json.loads(line)["type"] for line in done.out.splitlines()]
    assert types == ["auth_success", "welcome"][: len(types)]  # it may have left before they came
    for text in (
        "/help lists them",
        "there is no /fly",
        "/join needs",
        "not JSON",
        'needs a "type"',
        "nothing to send",
    ):
        assert text in done.err


async def test_claims_come_from_the_command_line(shell):
    asked = ["--user", "7", "--tenant", "acme", "--name", "Ada", "--group", "g", "--tag", "vip", "--topic", "o"]
    done = await shell.gateway("connect", "--json", *asked, stdin=b"/info\n/quit\n")
    info = parsed(done.out.splitlines())[-1]["data"]
    assert (info["user_id"], info["tenant"], info["name"]) == ("7", "acme", "Ada")
    assert (info["groups"], info["tags"], info["topics"]) == (["g"], ["vip"], ["o"])


async def test_it_resumes_from_a_cursor(shell, tide):
    first = await tide.publish("e", 1, to="user:42")
    await tide.publish("e", 2, to="user:42")
    async with shell.piped("connect", "--json", "--cursor", first) as client:
        assert [frame["data"] for frame in await of_type(client, "e")] == [2]


async def test_no_token_is_ever_printed(shell):
    token = make_token("42")
    async with shell.terminal("connect", "--token", token) as terminal:
        await terminal.shows("welcome")
        terminal.type('{"type": "auth", "data": {"token": "' + token + '"}}')
        await terminal.shows("auth_success", times=2)
        terminal.press(CTRL_D)
        assert await terminal.ended() == 0
    sent = [line for line in terminal.shown.splitlines() if "→" in line]
    assert len(sent) == 1
    assert token not in sent[0]
    assert '"token":"***"' in sent[0]


# Ends.


@pytest.mark.parametrize(("code", "name"), [(4400, "protocol"), (4403, "forbidden"), (4409, "replaced")])
async def test_it_does_not_come_back_after_a_final_close_code(shell, tide, code, name):
    async with shell.piped("connect", "--json") as client:
        await of_type(client, "welcome")
        await tide.kick("42", code=code, reason="because")
        assert await client.ended() == 1
        assert f"closed with {code} ({name}): because; not connecting again" in client.err


async def test_it_comes_back_after_any_other(shell, tide):
    async with shell.piped("connect", "--json") as client:
        await of_type(client, "welcome")
        await tide.kick("42", code=4429)
        await of_type(client, "welcome", 2)
        await client.shows("closed with 4429 (rate)", err=True)


async def test_a_refused_token_ends_it(shell):
    done = await shell.gateway("connect", "--json", "--token", make_token("42", secret="x" * 40))
    assert done.status == 1
    assert json.loads(done.out)["type"] == "auth_failed"
    assert "closed with 4401 (unauthenticated)" in done.err


async def test_what_is_no_gateway_ends_it(shell, gateway):
    wrong_path = await shell.gateway("connect", "--json", "--url", gateway.url.replace("/ws", "/elsewhere"))
    no_url = await shell.gateway("connect", "--json", "--url", "http://127.0.0.1:1/ws")
    assert (wrong_path.status, no_url.status) == (1, 1)
    assert "answered 404 Not Found; not connecting again" in wrong_path.err
    assert "--url: 'http://127.0.0.1:1/ws' is not a WebSocket address" in no_url.err


async def test_an_interrupt_ends_it_without_a_word(shell):
    async with shell.piped("connect", "--json") as client:
        await of_type(client, "welcome")
        client.signal(signal.SIGINT)
        assert await client.ended() == 130
        assert client.err == ""


async def test_without_a_reader_it_ends(shell, tide):
    async with shell.piped("connect", "--json") as client:
        await of_type(client, "welcome")
        client.close_output()
        await tide.publish("e", 1, to="user:42")
        assert await client.ended() == 1


async def test_what_was_lost_with_its_connection_is_not_waited_for():
    async def hang_up(socket):
        await socket.recv()  # auth
        await socket.send('{"type": "welcome", "message_id": "w", "timestamp": 1, "data": {}}')
        await socket.recv()
        await socket.close(1013)

    async with serve(hang_up, "127.0.0.1", 0, subprotocols=["tidegate.v1"]) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        client = connect.Client(url, lambda: "token", JsonScreen(), renews=False, cursor=None)
        staying = asyncio.create_task(client._stay_connected())
        await client._send("/ping")
        async with asyncio.timeout(30):
            await client._answered.wait()
        staying.cancel()
        await asyncio.gather(staying, return_exceptions=True)


def test_an_answer_is_waited_for_as_long_as_the_gateway_may_take_for_it():
    assert load(mode="dev").redis.timeout_s < REPLY_TIMEOUT_S


# Reconnecting.


@pytest.fixture
def port():
    """A port that nobody else takes while no gateway listens on it."""
    with kept_port() as keeper:
        yield keeper.getsockname()[1]


async def test_it_comes_back_by_itself_and_misses_nothing(redis_shell, redis_url, tide, port):
    async with (
        GatewayProcess(redis_url, listen__port=port) as gateway,
        redis_shell.piped("connect", "--json", GATEWAY_LISTEN__PORT=str(port)) as client,
    ):
        await of_type(client, "welcome")
        await tide.publish("e", 1, to="user:42")
        await of_type(client, "e")
        gateway.kill()
        await client.shows("closed with 1006 (no goodbye)", err=True)
        await tide.publish("e", 2, to="user:42")
        await client.shows("nobody listens there", err=True)
        await gateway.start()
        assert [frame["data"] for frame in await of_type(client, "e", 2)] == [1, 2]
        assert (await of_type(client, "welcome", 2))[1]["data"]["resumed"] is True


async def test_it_joins_again_what_it_had_joined_and_misses_nothing(redis_shell, redis_url, tide, port):
    filtered = '{"type": "subscribe", "data": {"topic": "orders", "filter": {"region": "eu"}}}\n'
    async with (
        GatewayProcess(redis_url, listen__port=port) as gateway,
        redis_shell.piped("connect", "--json", GATEWAY_LISTEN__PORT=str(port)) as client,
    ):
        client.write(f"/join gg\n{filtered}/tag vip\n/join gone\n/leave gone\n")
        await of_type(client, "ack", 5)
        gateway.kill()
        await client.shows("closed with 1006 (no goodbye)", err=True)
        for number, address in enumerate(["group:gg", "topic:orders", "tag:vip", "group:gone"]):
            await tide.publish("e", {"region": "eu", "number": number}, to=address)
            await tide.publish("e", {"region": "us", "number": number}, to="topic:orders")
        await gateway.start()
        await client.shows("joined again: group gg, topic orders, tag vip", err=True)
        await tide.publish("last", 1, to="group:gg")
        await of_type(client, "last")
        assert sorted(frame["data"]["number"] for frame in await of_type(client, "e")) == [0, 1, 2]
        assert len(await of_type(client, "ack", 5)) == 5


class HangingUp:
    """A server that hangs up on each connection after some commands, having pushed one event and acknowledged them."""

    def __init__(self, *commands):
        self.taken = []
        self._commands = list(commands)

    async def __call__(self, socket):
        frames = [json.loads(await socket.recv())]
        self.taken.append(frames)
        await socket.send(json.dumps({"type": "welcome", "data": {"cursor": f"c{len(self.taken)}"}}))
        await socket.send(json.dumps({"type": "e", "id": f"e{len(self.taken)}"}))
        for _ in range(self._commands.pop(0)):
            frames.append(json.loads(await socket.recv()))
            answer = {"type": "ack", "message_id": frames[-1]["message_id"], "data": {"success": True}}
            await socket.send(json.dumps(answer))
        await socket.close(4403 if not self._commands else 1013)


async def taken_by(server, *lines):
    """Return what a server that hangs up takes on its connections from a client into which lines are typed."""
    async with serve(server, "127.0.0.1", 0, subprotocols=["tidegate.v1"]) as listening:
        url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/ws"
        client = connect.Client(url, lambda: "token", JsonScreen(), renews=False, cursor=None)
        staying = asyncio.create_task(client._stay_connected())
        for line in lines:
            await client._send(line)
            await client._answered.wait()
            await wait_until(lambda: not client._ready.is_set())
        assert await staying == 1
    return server.taken


async def test_a_join_whose_replay_may_be_lost_is_resumed_from_before_it():
    first, second, third = await taken_by(HangingUp(1, 1, 1), "/join g")
    assert first[1]["data"] == {"group_id": "g"}
    assert (second[0]["data"]["cursor"], second[1]["data"]) == ("e1", {"group_id": "g", "since": "e1"})
    assert (third[0]["data"]["cursor"], third[1]["data"]) == ("e1", {"group_id": "g", "since": "e1"})


async def test_what_is_typed_waits_for_what_is_joined_again():
    _, second = await taken_by(HangingUp(1, 2), "/join g", "/send g hello")
    assert [frame["type"] for frame in second] == ["auth", "join_group", "send_message"]


async def test_it_tries_again_until_there_is_a_gateway(redis_shell, redis_url, port):
    async with redis_shell.piped("connect", "--json", GATEWAY_LISTEN__PORT=str(port)) as client:
        await client.shows("nobody listens there", err=True)
        async with GatewayProcess(redis_url, listen__port=port):
            await of_type(client, "welcome")


async def test_it_renews_the_token_that_it_made(shell):
    async with shell.piped("connect", "--json", "--ttl", "25") as client:
        await of_type(client, "token_expiring")
        first, second = await of_type(client, "auth_success", 2)
        assert second["data"]["expires_at"] >= first["data"]["expires_at"]


# On a terminal.


async def test_a_person_sees_a_line_for_each_frame(shell, tide):
    async with shell.terminal("connect") as terminal:
        await terminal.shows("/help")
        await terminal.shows("welcome")
        event_id = await tide.publish("order.shipped", {"order": 7}, to="user:42")
        await terminal.shows(f'← order.shipped    {{"order":7}}  {event_id}')
        terminal.type("/join ops")
        await terminal.shows('→ join_group       {"group_id":"ops"}')
        await terminal.shows('← ack              {"success":true')
        terminal.type("/help")
        await terminal.shows("/unsub TOPIC")
        terminal.type("/quit")
        assert await terminal.ended() == 0
        assert "\x1b[1;36morder.shipped" in terminal.painted


async def test_a_payload_cannot_play_with_the_terminal(shell, tide):
    async with shell.terminal("connect") as terminal:
        await terminal.shows("welcome")
        await tide.publish("e", "\x1b[2J\x9b31m\u202e" + "x" * 5000, to="user:42")
        await terminal.shows("(4.9 KiB)")
        line = next(line for line in terminal.shown.split("\n") if "\\u009b" in line)
        assert "\\u202e" in line
        assert "\x1b[2J" not in terminal.painted
        assert terminal.shown.count("x") < 2100


@pytest.mark.parametrize(("key", "status"), [(CTRL_D, 0), (CTRL_C, 130)])
async def test_a_person_ends_it_with_a_key(shell, gateway, key, status):
    async with shell.terminal("connect") as terminal:
        await terminal.shows("welcome")
        terminal.press(key)
        assert await terminal.ended() == status
        assert "Traceback" not in terminal.shown
    await wait_until(lambda: [departed.code for departed in gateway.services.departed] == [1000])


async def test_it_needs_a_secret_or_a_token(bare_shell, gateway):
    done = await bare_shell.gateway("connect", "--url", gateway.url)
    assert done.status == 1
    assert "auth.secret: is not set" in done.err
    token = make_token("7")
    ready = await bare_shell.gateway(
        "connect", "--json", "--url", gateway.url, "--token", token, stdin=b"/ping\n/quit\n"
    )
    assert ready.status == 0
    assert [frame["type"] for frame in parsed(ready.out.splitlines())] == ["auth_success", "welcome", "pong"]
