"""Clients that this project did not write, against two instances on one Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import websocket

from publisher import Publisher
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.javascript import npm_packages
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Pair:
    """Two instances on one Redis, one with compression, and a publisher."""

    one: GatewayProcess
    two: GatewayProcess
    tide: Publisher


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    """Both instances, for the whole module."""
    with RedisServer() as server:
        async with (
            GatewayProcess(server.url, compression__enabled=True, shutdown__drain_s=0.1) as one,
            GatewayProcess(server.url, compression__enabled=True, shutdown__drain_s=0.1) as two,
            Publisher(server.url) as tide,
        ):
            yield Pair(one, two, tide)


# websocket-client: blocking, so in a thread.


@contextlib.contextmanager
def blocking_client(url: str, **options: Any) -> Iterator[websocket.WebSocket]:
    """Connect with `websocket-client`."""
    client = websocket.create_connection(url, timeout=_TIMEOUT_S, **options)
    try:
        yield client
    finally:
        client.close()
        client.shutdown()  # `close` does nothing once the peer's close was read


def receive(client: websocket.WebSocket, kind: str) -> dict[str, Any]:
    """Read as far as a frame of this type."""
    while True:
        frame: dict[str, Any] = json.loads(client.recv())
        if frame["type"] == kind:
            return frame


def request(client: websocket.WebSocket, kind: str, data: Any) -> dict[str, Any]:
    """Send a command and read as far as its reply."""
    client.send(json.dumps({"type": kind, "message_id": f"wc-{kind}", "data": data}))
    while True:
        frame: dict[str, Any] = json.loads(client.recv())
        if frame["message_id"] == f"wc-{kind}" and "id" not in frame:
            return frame


def offers(token: str) -> list[dict[str, Any]]:
    """The ways to offer a token, as options of `websocket-client` and what to put behind the URL."""
    return [
        {"url": f"?token={token}"},
        {"url": "", "header": {"Authorization": f"Bearer {token}"}},
        {"url": "", "subprotocols": ["tidegate.v1", f"bearer.{token}"]},
    ]


async def test_websocket_client_talks_resumes_and_is_told_why_it_is_closed(pair: Pair) -> None:
    def go_to_one() -> str:
        with blocking_client(f"{pair.one.url}?token={pair.one.token('wc', groups=['g'])}") as client:
            receive(client, "welcome")
            text = {"é": ["漢字 😀", 2**70, 1.5, None], "big": "x" * 50_000}
            assert request(client, "echo", text)["data"] == text
            ack = request(client, "send_message", {"group_id": "g", "content": "hi"})
            assert ack["data"]["success"] is True
            client.ping("still there?")
            return str(ack["data"]["id"])

    def go_to_two(cursor: str) -> list[Any]:
        with blocking_client(pair.two.url, subprotocols=["tidegate.v1"]) as client:
            assert client.getsubprotocol() == "tidegate.v1"
            auth = request(client, "auth", {"token": pair.two.token("wc", groups=["g"]), "cursor": cursor})
            assert auth["type"] == "auth_success"
            assert receive(client, "welcome")["data"]["resumed"] is True
            return [receive(client, "e")["data"] for _ in range(50)]

    cursor = await asyncio.to_thread(go_to_one)
    await pair.tide.publish_many([{"event": "e", "data": n, "to": "group:g"} for n in range(50)])
    assert await asyncio.to_thread(go_to_two, cursor) == list(range(50))


async def test_websocket_client_can_offer_its_token_in_each_way(pair: Pair) -> None:
    def try_all() -> None:
        for offer in offers(pair.one.token("wc")):
            behind = offer.pop("url")
            with blocking_client(pair.one.url + behind, **offer) as client:
                assert receive(client, "welcome")["data"]["user_id"] == "wc"
        for offer in offers("nonsense"):
            behind = offer.pop("url")
            with (
                pytest.raises(websocket.WebSocketBadStatusException) as refused,
                blocking_client(pair.one.url + behind, **offer),
            ):
                pass
            assert refused.value.status_code == 401
            assert b"malformed" in (refused.value.resp_body or b"")

    await asyncio.to_thread(try_all)


async def test_websocket_client_reads_the_close_code_of_a_kick(pair: Pair) -> None:
    def wait_for_the_kick() -> tuple[int, str]:
        with blocking_client(f"{pair.two.url}?token={pair.two.token('kicked')}") as client:
            receive(client, "welcome")
            asyncio.run_coroutine_threadsafe(pair.tide.kick("kicked", reason="bye"), loop).result(_TIMEOUT_S)
            _, payload = _last_frame(client)
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    loop = asyncio.get_running_loop()
    assert await asyncio.to_thread(wait_for_the_kick) == (4403, "bye")


# aiohttp.


@pytest.mark.parametrize("compress", [0, 15, 10])
async def test_aiohttp_talks_with_and_without_compression(pair: Pair, compress: int) -> None:
    headers = {"Authorization": f"Bearer {pair.one.token('aio')}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(pair.one.url, headers=headers, protocols=["tidegate.v1"], compress=compress) as client,
    ):
        assert client.protocol == "tidegate.v1"
        welcome = await client.receive_json(timeout=_TIMEOUT_S)
        assert welcome["type"] == "welcome"
        await client.send_json({"type": "subscribe", "message_id": "s", "data": {"topic": "news"}})
        assert (await client.receive_json(timeout=_TIMEOUT_S))["message_id"] == "s"
        await pair.tide.publish_many(
            [{"event": "e", "data": [n, "words " * 500], "to": "topic:news"} for n in range(200)]
        )
        received = [(await client.receive_json(timeout=_TIMEOUT_S))["data"] for _ in range(200)]
        assert received == [[n, "words " * 500] for n in range(200)]
        await client.send_bytes(b"binary")
        assert (await client.receive_json(timeout=_TIMEOUT_S))["data"]["code"] == 400
        await client.close(code=4001, message=b"done")
        assert client.close_code == 4001


async def test_aiohttp_resumes_on_the_other_instance(pair: Pair) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{pair.one.url}?token={pair.one.token('aio2')}"
        async with session.ws_connect(url) as client:
            cursor = (await client.receive_json(timeout=_TIMEOUT_S))["data"]["cursor"]
        await pair.tide.publish_many([{"event": "e", "data": n, "to": "user:aio2"} for n in range(20)])
        params = {"token": pair.two.token("aio2"), "cursor": cursor}
        async with session.ws_connect(pair.two.url, params=params) as client:
            assert (await client.receive_json(timeout=_TIMEOUT_S))["data"]["resumed"] is True
            assert [(await client.receive_json(timeout=_TIMEOUT_S))["data"] for _ in range(20)] == list(range(20))


async def test_aiohttp_reads_health_and_refusals(pair: Pair) -> None:
    async with aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{pair.one.port}"
        async with session.get(f"{base}/health") as response:
            assert (response.status, (await response.json())["status"]) == (200, "ok")
        async with session.get(f"{base}/ready") as response:
            assert (response.status, await response.json()) == (200, {"ready": True, "reasons": []})
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{pair.one.url}?token=nonsense")
        assert refused.value.status == 401


# Node's `ws`.


async def test_nodes_ws_talks_moves_to_the_other_instance_and_is_refused(pair: Pair) -> None:
    script = Path(__file__).with_name("foreign_client.mjs")
    token = pair.one.token("node")
    packages = npm_packages()
    process = await asyncio.create_subprocess_exec(
        *("node", str(script), str(packages), pair.one.url, pair.two.url, token),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []

    async def line(**wanted: Any) -> dict[str, Any]:
        """Read as far as a line that says this."""
        while True:
            assert process.stdout is not None
            async with asyncio.timeout(_TIMEOUT_S):
                text = await process.stdout.readline()
            assert text, f"node has ended: {lines[-5:]}"
            lines.append(json.loads(text))
            if all(lines[-1].get(name) == value for name, value in wanted.items()):
                return lines[-1]

    async def frame(where: str, kind: str) -> dict[str, Any]:
        while (found := await line(where=where, isBinary=False))["frame"]["type"] != kind:
            pass
        data: dict[str, Any] = found["frame"]
        return data

    try:
        async with connected(pair.two, "other", claims={"groups": ["g"]}) as other:
            opened = await line(where="A", opened="tidegate.v1")
            assert "permessage-deflate" in opened["extensions"]
            await frame("A", "welcome")
            assert (await frame("A", "ack"))["message_id"] == "A-join_group"
            assert (await frame("A", "echo"))["data"] == {"text": "grüße 漢字 😀", "big": "x" * 50_000}
            assert (await frame("A", "ack"))["message_id"] == "A-send_message"
            assert (await other.next("new_message")).data["content"] == "from node"
        await pair.tide.publish("move", None, to="group:g")
        await line(where="A", closed=1000, reason="moving")
        await pair.tide.publish_many([{"event": "e", "data": ["😀", n], "to": "user:node"} for n in range(30)])
        assert (await frame("B", "auth_success"))["data"]["user_id"] == "node"
        assert (await frame("B", "welcome"))["data"]["resumed"] is True
        assert [(await frame("B", "e"))["data"] for _ in range(30)] == [["😀", n] for n in range(30)]
        await pair.tide.publish("leave", None, to="user:node")
        await line(where="B", closed=4000, reason="left")
        refused = await line(where="C", status=401)
        assert refused["body"]["reason"] == "malformed"
        assert any(said.get("pong") for said in lines)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# The shell.


async def run(*command: str, feed: str = "", until: str = "") -> str:
    """Run a program; return its output: all of it, or, where the program would go on, what there is with `until`."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            if until:
                assert process.stdout is not None
                output = await process.stdout.readuntil(until.encode())
            else:
                output, _ = await process.communicate(feed.encode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return output.decode(errors="replace")


async def test_curl_reads_health_and_upgrades(pair: Pair) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    base = f"http://127.0.0.1:{pair.one.port}"
    assert json.loads(await run("curl", "-s", f"{base}/health"))["status"] == "ok"
    assert (await run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/nowhere")) == "404"
    upgrade = ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"]
    key = ["-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    url = f"{base}/ws?token={pair.one.token('curl')}"
    answered = await run("curl", "-s", "-i", "-N", "--http1.1", *upgrade, *key, url, until='"type":"welcome"')
    assert answered.startswith("HTTP/1.1 101 Switching Protocols")
    assert "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answered  # RFC 6455, section 1.3


async def test_websocat_talks(pair: Pair) -> None:
    if shutil.which("websocat") is None:
        pytest.skip("no websocat on this machine")
    feed = '{"type": "echo", "message_id": "w", "data": "from websocat"}\n'
    output = await run("websocat", "-n1", f"{pair.one.url}?token={pair.one.token('cat')}", feed=feed)
    assert "welcome" in output or "from websocat" in output


async def test_both_instances_end_in_good_order_with_clients_of_all_kinds_connected() -> None:
    with RedisServer() as server:
        async with (
            GatewayProcess(server.url, shutdown__drain_s=0.2, logging__level="debug") as gateway,
            aiohttp.ClientSession() as session,
        ):
            url = f"{gateway.url}?token={gateway.token('42')}"
            client = await session.ws_connect(url)
            blocking = await asyncio.to_thread(websocket.create_connection, url, timeout=_TIMEOUT_S)
            await wait_until(lambda: len(gateway.log_events("connection_opened")) == 2)
            ending = asyncio.create_task(gateway.terminate())
            message = await client.receive(timeout=_TIMEOUT_S)
            while message.type is aiohttp.WSMsgType.TEXT:
                message = await client.receive(timeout=_TIMEOUT_S)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
            opcode, payload = await asyncio.to_thread(_last_frame, blocking)
            assert (opcode, payload[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1012).to_bytes(2, "big"))
            blocking.shutdown()
            assert await ending == 0


def _last_frame(client: websocket.WebSocket) -> tuple[int, bytes]:
    while True:
        opcode, payload = client.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return opcode, payload
