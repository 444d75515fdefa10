"""
docs/protocol.md against a real gateway.

A `json client` block is sent; its reply must have the fields of the `json server` block that follows it. Every other
`json server` block must have the fields of a frame of its type that a gateway really sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import typing
from pathlib import Path

import pytest
import redis.asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway import recalls
from gateway.close_codes import CloseCode
from gateway.commands import chat, reading
from gateway.errors import Reason
from gateway.settings import Settings
from gateway.wire import v1
from publisher import Publisher
from publisher.notification import NOTIFICATION, UNREAD_COUNT
from tests.docs.markdown import ROOT, Block, blocks, document, table_rows
from tests.support.gateway import running_gateway
from tests.support.waiting import wait_until

PAGE = "docs/protocol.md"
CLAIMS = {"name": "Ada", "groups": ["chat-1"], "tags": ["vip"], "topics": ["orders"]}
LOST_EPOCH = "1764930000000-0.0.0bad0bad"


def shape(value):
    """Return the names and JSON types in a value; of a list, the set of its items' shapes."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [json.loads(text) for text in sorted({json.dumps(shape(item), sort_keys=True) for item in value})]
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return kinds[type(value)]


def pairs():
    """Return each client example with the server example that follows it, and the server examples without one."""
    pairs, alone = [], []
    examples = iter(blocks(PAGE, "json client", "json server"))
    for example in examples:
        if example.info == "json client":
            reply = next(examples)
            assert reply.info == "json server", f"{example}: no reply follows"
            pairs.append((example, reply))
        else:
            alone.append(example)
    return pairs, alone


PAIRS, ALONE = pairs()


@contextlib.asynccontextmanager
async def client(gateway, user="42", **claims):
    """A connection past its welcome."""
    headers = {"Authorization": f"Bearer {gateway.token(user, **claims)}"}
    async with connect(gateway.url, additional_headers=headers, subprotocols=["tidegate.v1"]) as ws:
        welcome = await receive(ws)
        assert welcome["type"] == "welcome"
        ws.cursor = welcome["data"]["cursor"]
        yield ws


async def receive(ws):
    async with asyncio.timeout(30):
        return json.loads(await ws.recv())


async def receive_type(ws, kind):
    while True:
        frame = await receive(ws)
        if frame["type"] == kind:
            return frame


async def send(ws, kind, data=None, message_id="m"):
    await ws.send(json.dumps({"type": kind, "message_id": message_id, "data": data}))


async def reply_to(ws, frame):
    """Send a frame; return its reply, which is the only one."""
    await ws.send(json.dumps(frame))
    await send(ws, "ping", message_id="the end")
    replies = []
    while True:
        received = await receive(ws)
        if received["message_id"] == "the end":
            break
        if received["message_id"] == frame["message_id"]:
            replies.append(received)
    assert len(replies) == 1
    return replies[0]


def filled_in(example: Block, *, token, cursor):
    """Return an example with a real token and a real cursor in place of those it shows."""
    frame = json.loads(example.text)
    real = {"token": token, "cursor": cursor, "since": cursor}
    if isinstance(frame.get("data"), dict):
        frame["data"] |= {name: real[name] for name in frame["data"].keys() & real.keys()}
    return frame


async def write_what_is_read(ws):
    """Send the message that later examples are about."""
    (sent, _), *_ = [pair for pair in PAIRS if '"send_message"' in pair[0].text]
    assert (await reply_to(ws, json.loads(sent.text)))["type"] == "ack"


@pytest.mark.parametrize(("sent", "shown"), PAIRS, ids=str)
async def test_a_command_is_answered_as_shown(gateway, sent, shown):
    expected = json.loads(shown.text)
    async with client(gateway, **CLAIMS) as ws:
        frame = filled_in(sent, token=gateway.token("42", **CLAIMS), cursor=ws.cursor)
        if frame["type"] in {"recall_message", "get_history"}:
            await write_what_is_read(ws)
        reply = await reply_to(ws, frame)
    assert shape(reply) == shape(expected)
    assert (reply["type"], reply["message_id"]) == (expected["type"], expected["message_id"])
    if reply["type"] == "error":
        assert reply["data"]["code"] == expected["data"]["code"]
        assert reply["data"]["message"] == expected["data"]["message"]


@pytest.mark.parametrize(("sent", "shown"), [p for p in PAIRS if '"auth"' in p[0].text], ids=str)
async def test_a_first_auth_frame_is_answered_as_shown(gateway, sent, shown):
    async with client(gateway) as known, connect(gateway.url, subprotocols=["tidegate.v1"]) as ws:
        frame = filled_in(sent, token=gateway.token("42"), cursor=known.cursor)
        await ws.send(json.dumps(frame))
        assert shape(await receive(ws)) == shape(json.loads(shown.text))
        welcome = await receive(ws)
        assert (welcome["type"], welcome["data"]["resumed"]) == ("welcome", True)


async def real_frames(redis_url):
    """Return frames that a gateway sends without being asked, or asked in ways that no example shows."""
    frames = []
    async with (
        running_gateway(redis_url, presence__groups=["*"], limits__messages_per_s=1) as gateway,
        Publisher(redis_url) as tide,
    ):
        async with connect(f"{gateway.url}?token={gateway.token('42')}&cursor={LOST_EPOCH}") as ws:
            frames += [await receive(ws), await receive(ws)]  # welcome, resync
        async with client(gateway, **CLAIMS) as ws, client(gateway, "7", name="Grace", groups=["chat-1"]) as grace:
            frames.append(await receive_type(ws, "presence"))  # of whom, and when, is not for this page to say
            await tide.publish("order.shipped", {"order": 7}, to="user:42")
            frames.append(await receive_type(ws, "order.shipped"))
            trace = f"00-{'4' * 32}-{'2' * 16}-01"
            await tide.publish("order.shipped", {"order": 7}, to="user:42", traceparent=trace)
            frames.append(await receive_type(ws, "order.shipped"))
            await send(grace, "send_message", {"group_id": "chat-1", "content": "Hello!"})
            frames.append(await receive_type(ws, "new_message"))
            await send(grace, "recall_message", {"group_id": "chat-1", "message_id": frames[-1]["id"]})
            frames.append(await receive_type(ws, "message_recalled"))
            await send(grace, "typing", {"group_id": "chat-1"})
            frames.append(await receive_type(ws, "typing"))
            await send(grace, "send_message", {"to": "42", "content": "Hello!"})
            frames.append(await receive_type(ws, "new_message"))
            await tide.notify("42", title="t", link="/", icon="i", data={"order": 7})
            frames += [await receive_type(ws, kind) for kind in ("notification", "unread_count")]
            await send(grace, "mark_read", {"group_id": "chat-1", "message_id": "m-1"})
            frames.append(await receive_type(ws, "message_read"))
            for _ in range(120):
                await send(ws, "ping")
            refused = [frame for frame in [await receive(ws) for _ in range(120)] if frame["type"] == "error"]
            frames.append(refused[0])
        async with client(gateway, ttl_s=20) as ws:
            frames.append(await receive_type(ws, "token_expiring"))
            await send(ws, "auth", {"token": "not one"})
            frames.append(await receive_type(ws, "auth_failed"))
        ws = await connect(f"{gateway.url}?token={gateway.token('42')}")
    await receive_type(ws, "welcome")
    frames.append(await receive_type(ws, "going_away"))
    await ws.close()
    return frames


async def test_each_frame_of_the_servers_own_looks_as_shown(redis_url):
    real = await real_frames(redis_url)
    for example in ALONE:
        shown = json.loads(example.text)
        candidates = [shape(frame) for frame in real if frame["type"] == shown["type"]]
        assert shape(shown) in candidates, f"{example}: {candidates}"
    assert {frame["type"] for frame in real} == {json.loads(example.text)["type"] for example in ALONE}


async def test_a_refused_handshake_is_answered_as_shown(gateway):
    (shown,) = blocks(PAGE, "json http 401")
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{gateway.url}?token={gateway.token('42', exp=time.time() - 60)}")
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body) == json.loads(shown.text)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/", {}, 404), ("/ws", {"Origin": "https://elsewhere.example"}, 403), ("/ws", {"Upgrade": None}, 426)],
)
async def test_the_statuses_of_a_refused_handshake_are_those_listed(gateway, path, headers, status):
    asked = {
        "Host": f"127.0.0.1:{gateway.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items() if value is not None)]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    assert int(answer.split(b" ")[1]) == status
    assert any(str(status) in row[0] for row in table_rows(PAGE))


async def test_all_four_ways_to_authenticate_lead_to_a_welcome(gateway):
    token = gateway.token("42")
    ways = [
        {"uri": f"{gateway.url}?token={token}"},
        {"uri": gateway.url, "additional_headers": {"Authorization": f"Bearer {token}"}},
        {"uri": gateway.url, "subprotocols": ["tidegate.v1", f"bearer.{token}"]},
    ]
    for way in ways:
        async with connect(**way) as ws:
            assert (await receive(ws))["type"] == "welcome"
            assert ws.subprotocol in (None, "tidegate.v1")
    async with connect(gateway.url) as ws:
        await send(ws, "echo")
        assert (await receive(ws))["data"]["code"] == 401
        await send(ws, "ping")
        assert (await receive(ws))["data"] == {}
        await send(ws, "auth", {"token": token})
        assert [(await receive(ws))["type"], (await receive(ws))["type"]] == ["auth_success", "welcome"]


async def test_priority_and_collapse_work_as_the_table_says_after_a_reconnect(gateway, redis_url):
    async with client(gateway) as ws:
        cursor = ws.cursor
    async with client(gateway) as watcher, Publisher(redis_url) as tide:
        await tide.publish("plain", 1, to="user:42")
        await tide.publish("low", 2, to="user:42", priority="low")
        await tide.publish("collapsed", 3, to="user:42", collapse="order-7")
        await tide.publish("over", 4, to="user:42", expires_in=0.05)
        await tide.publish("collapsed", 5, to="user:42", collapse="order-7")
        over_at = time.time() + 0.05
        while (await receive(watcher))["data"] != 5:
            pass  # so that the gateway has read all of it: what is replayed is what has been replaced
    await wait_until(lambda: time.time() > over_at)
    async with connect(f"{gateway.url}?token={gateway.token('42')}&cursor={cursor}") as ws:
        assert (await receive(ws))["data"]["resumed"] is True
        assert [(await receive(ws))["data"] for _ in range(3)] == [1, 2, 5]
        assert (await reply_to(ws, {"type": "ping", "message_id": "m"}))["type"] == "pong"


# What the page must not leave out.


def shown_types(info):
    return {json.loads(block.text)["type"] for block in blocks(PAGE, info)}


async def test_every_command_has_an_example(gateway):
    missing = set(gateway.services.commands) - shown_types("json client")
    assert not missing, f"{PAGE} lacks {missing}"


def test_every_frame_of_the_servers_has_an_example():
    frames = {
        value
        for name, value in vars(v1).items()
        if name.isupper() and isinstance(value, str) and name not in {"SUBPROTOCOL"} and not name.startswith("_")
    }
    assert "welcome" in frames
    chatting = {chat.NEW_MESSAGE, chat.TYPING, recalls.MESSAGE_RECALLED, reading.MESSAGE_READ}
    missing = {*frames, *chatting, NOTIFICATION, UNREAD_COUNT} - shown_types("json server")
    assert not missing, f"{PAGE} lacks {missing}"


def test_every_close_code_is_explained():
    explained = {code for row in table_rows(PAGE) for code in row[0].split(", ")}
    missing = {str(code.value) for code in CloseCode} - explained
    assert not missing, f"{PAGE} lacks {missing}"


def test_every_reason_to_refuse_a_token_is_listed():
    listed = {reason for row in table_rows(PAGE) for reason in row[0].split(", ")}
    assert set(typing.get_args(Reason)) <= listed


def test_every_error_code_and_every_reason_of_a_resync_in_the_code_is_listed():
    source = "\n".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    codes = set(re.findall(r"CommandError\(\s*(\d{3})", source))
    calls = (r"Unknown\(", r"_Unobtainable\(", r"_start_over\(\w+, ", r"_give_up\(\w+, ", r"resync\(")
    reasons = {reason for call in calls for reason in re.findall(call + r'"(\w+)"', source)}
    assert codes
    assert reasons
    listed = {row[0] for row in table_rows(PAGE)}
    assert codes | reasons <= listed


def test_the_limits_have_the_defaults_that_the_page_says():
    rows = [row for row in table_rows(PAGE) if re.fullmatch(r"[a-z]+\.[a-z_]+", row[0])]
    assert len(rows) >= 10
    for name, default, *_ in rows:
        section, _, option = name.partition(".")
        fields = Settings.model_fields[section].annotation.model_fields
        assert float(default) == float(fields[option].default), name


def test_the_links_within_the_page_lead_somewhere():
    text = document(PAGE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


# The clients at the end of the page.


async def test_the_python_client_survives_a_restart_without_losing_an_event(redis_url):
    (example,) = blocks(PAGE, "python")
    scope: dict = {}
    exec(compile(example.text, str(example), "exec"), scope)
    received = []

    async def collect(gateway):
        async for frame in scope["events"](gateway.url, lambda: gateway.token("42")):
            received.append(frame["data"])

    async with Publisher(redis_url) as tide:
        async with running_gateway(redis_url) as gateway:
            task = asyncio.create_task(collect(gateway))
            await wait_until(lambda: gateway.services.connections and gateway.services.hub.count("default", "user:42"))
            await tide.publish("order", 1, to="user:42")
            await wait_until(lambda: received == [1])
        await tide.publish("order", 2, to="user:42")
        async with running_gateway(redis_url, listen__port=gateway.port):
            await tide.publish("order", 3, to="user:42")
            await wait_until(lambda: len(received) == 3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert received == [1, 2, 3]


async def test_the_python_client_stops_where_reconnecting_is_of_no_use(gateway):
    (example,) = blocks(PAGE, "python")
    scope: dict = {}
    exec(compile(example.text, str(example), "exec"), scope)
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(anext(scope["events"](gateway.url, lambda: "not a token")), 30)
    assert closed.value.rcvd.code == 4401


BROWSER = """
const Native = WebSocket
globalThis.WebSocket = class extends Native {
  constructor(...parameters) {
    super(...parameters)
    let closed = false
    this.addEventListener('close', () => { closed = true })
    this.addEventListener('error', () => setTimeout(() => closed || this.onclose({ code: 1006 })))
  }
}
"""  # after a connection that failed, a browser says `close` (HTML, section 9.3.1); the WebSocket of Node 20 does not


async def test_the_javascript_client_survives_a_restart_without_losing_an_event(redis_url, node, tmp_path: Path):
    script = tmp_path / "client.mjs"
    example = blocks(PAGE, "js")[-1]
    show = "(type, data) => console.log(JSON.stringify([type, data]))"
    async with Publisher(redis_url) as tide:
        async with running_gateway(redis_url) as gateway:
            token = gateway.token("42")
            script.write_text(f"{BROWSER}\n{example.text}\ntidegate('{gateway.url}', async () => '{token}', {show})\n")
            process = await asyncio.create_subprocess_exec(
                *node, str(script), stdout=asyncio.subprocess.PIPE, limit=2**20
            )
            await wait_until(lambda: gateway.services.hub.count("default", "user:42"))
            await tide.publish("order", 1, to="user:42")
            lines = [await asyncio.wait_for(process.stdout.readline(), 30)]
        await tide.publish("order", 2, to="user:42")
        async with running_gateway(redis_url, listen__port=gateway.port) as gateway:
            await tide.publish("order", 3, to="user:42")
            lines += [await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(2)]
            await tide.kick("42")
            lines.append(await asyncio.wait_for(process.stdout.readline(), 30))
            async with asyncio.timeout(30):
                assert await process.wait() == 0
    assert [json.loads(line) for line in lines] == [
        ["order", 1],
        ["order", 2],
        ["order", 3],
        ["stopped", {"code": 4403}],
    ]


async def test_a_cursor_that_is_too_old_brings_a_resync_that_says_expired(redis_url):
    async with redis.asyncio.Redis.from_url(redis_url) as server, Publisher(redis_url) as tide:
        first = await tide.publish("order", 1, to="user:42")
        for number in range(5):
            await tide.publish("order", number, to="user:42")
        await server.xtrim("tg:{events:0}", maxlen=2, approximate=False)
        async with (
            running_gateway(redis_url) as gateway,
            connect(f"{gateway.url}?token={gateway.token('42')}&cursor={first}") as ws,
        ):
            assert (await receive_type(ws, "resync"))["data"]["reason"] == "expired"


async def test_a_message_sent_again_is_stored_once_and_another_one_with_its_number_is_not_lost(gateway):
    message = {"type": "send_message", "message_id": "1"}
    async with client(gateway, **CLAIMS) as ws, client(gateway, "7", groups=["chat-1"]) as other:
        first, again, another = [
            await reply_to(ws, {**message, "data": {"group_id": "chat-1", "content": content}})
            for content in ("Hello!", "Hello!", "How are you?")
        ]
        assert first["data"]["id"] == again["data"]["id"] != another["data"]["id"]
        contents = [(await receive_type(other, "new_message"))["data"]["content"] for _ in range(2)]
    assert contents == ["Hello!", "How are you?"]
