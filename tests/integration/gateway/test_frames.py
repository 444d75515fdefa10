"""What a peer may send wrong, or too much of: answered or closed, and never anybody else's trouble."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.integration.gateway.raw_socket import raw_socket, tcp_socket
from tests.support.clients import connected, opened
from tests.support.frames import masked, upgrade
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until


async def test_a_binary_frame_is_answered_with_400(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for payload in (b"", b'{"type": "ping"}', b"\xff\xfe"):
            await client.post_text(payload)
            answer = await client.next()
            assert (answer.type, answer.data["code"], answer.message_id) == ("error", 400, None)
        assert (await client.send("ping")).type == "pong"


async def test_a_binary_frame_before_auth_is_answered_with_400(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        await client.post_text(b"x")
        assert (await client.next("error")).data["code"] == 400


async def test_a_command_just_before_a_close_is_carried_out_and_answered(gateway: RunningGateway) -> None:
    command = json.dumps({"type": "join_group", "message_id": "1", "data": {"group_id": "g"}}).encode()
    ping = json.dumps({"type": "ping", "message_id": "2"}).encode()
    async with raw_socket(gateway, gateway.token("42")) as raw:
        await raw.send(masked(command) + masked(ping) + masked(b"\x03\xe8", 8))
        await raw.read_until_end()

    assert [(frame.type, frame.message_id) for frame in raw.frames[1:]] == [("ack", "1"), ("pong", "2")]
    assert raw.close_code == 1000
    assert gateway.services.metrics.commands["join_group"] == 1


async def test_a_message_just_before_a_close_reaches_the_others(gateway: RunningGateway) -> None:
    message = {"type": "send_message", "message_id": "1", "data": {"to": "43", "content": "bye"}}
    async with connected(gateway, "43") as other, raw_socket(gateway, gateway.token("42")) as raw:
        await raw.send(masked(json.dumps(message).encode()) + masked(b"", 8))
        assert (await other.next("new_message")).data["content"] == "bye"


@pytest.mark.parametrize(
    "behind",
    [b"hello, this is no frame", b"\xff" * 8, masked(b"", 8), masked(b"\xff", 8)],
    ids=["text", "bits", "close", "bad close"],
)
@pytest.mark.parametrize("path", ["/health", "/ready", "/ws", "/ws?token=x.y.z", "/elsewhere"])
async def test_what_stands_behind_a_request_ends_the_connection_without_an_error(
    gateway: RunningGateway, path: str, behind: bytes
) -> None:
    with capture_logs() as logs:
        async with tcp_socket(gateway.port) as tcp:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(tcp, upgrade(path) + behind)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(tcp, 65_536):
                        pass

    assert [line for line in logs if line["log_level"] == "error"] == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nonsense", "'{}'", '{"type": "ping"} x', '{"type": "ping",}', '\ufeff{"type": "ping"}', "\0"),
        *(
            "null",
            "1",
            '"ping"',
            "[]",
            '[{"type": "ping"}]',
            "{}",
            '{"type": null}',
            '{"type": 7}',
            '{"type": ["ping"]}',
        ),
        '{"type": "echo", "data": ' + "[" * 100 + "]" * 100 + "}",
        "[" * 60_000,
        r'{"type": "echo", "data": "\ud800"}',
    ],
    ids=lambda text: text[:20],
)
async def test_what_is_not_a_command_is_answered_with_400(gateway: RunningGateway, text: str) -> None:
    async with connected(gateway, "42") as client:
        await client.post_text(text)
        answer = await client.next()
        assert (answer.type, answer.data["code"]) == ("error", 400)
        assert (await client.send("ping")).type == "pong"


async def test_a_broken_command_is_answered_with_its_message_id_where_that_can_be_read(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.post_text('{"message_id": "m1", "type": 7}')
        assert (await client.next("error")).message_id == "m1"


async def test_a_frame_of_the_largest_size_is_taken_and_one_byte_more_closes_with_1009(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__max_message_bytes=2_000) as gateway:
        async with connected(gateway, "42") as client:
            await client.post_text(json.dumps({"type": "echo", "data": ""}).ljust(2_000))
            assert (await client.next("echo")).data == ""
            await client.post_text(json.dumps({"type": "echo", "data": ""}).ljust(2_001))
            assert (await client.closed())[0] == 1009
        async with connected(gateway, "42") as client:
            await client.socket.send(["x" * 1_500, "x" * 1_500])
            assert (await client.closed())[0] == 1009


async def test_a_frame_that_inflates_beyond_the_limit_closes_with_1009(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, compression__enabled=True) as gateway,
        connected(gateway, "42", extensions=[ClientPerMessageDeflateFactory()]) as client,
    ):
        await client.post_text(json.dumps({"type": "echo", "data": "x" * 10_000_000}))
        assert (await client.closed())[0] == 1009


@pytest.mark.parametrize(
    "payload", [b"\xff", b'{"type": "echo", "data": "\xc3"}', b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
)
async def test_a_text_frame_that_is_not_utf_8_closes_with_1007(gateway: RunningGateway, payload: bytes) -> None:
    async with connected(gateway, "42") as client:
        await client.socket.send(payload, text=True)
        assert (await client.closed())[0] == 1007


async def test_a_command_in_fragments_is_one_command(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        for pieces in (1, 2, 7):
            text = '{"type": "echo", "data": "漢字 é"}'
            step = len(text) // pieces
            await client.socket.send([text[at : at + step] for at in range(0, len(text), step)])
            assert (await client.next("echo")).data == "漢字 é"


async def test_a_character_may_be_cut_by_the_fragments(gateway: RunningGateway) -> None:
    async with raw_socket(gateway, gateway.token("42")) as raw:
        payload = '{"type":"echo","data":"é"}'.encode()
        cut = payload.index(b"\xc3") + 1
        await raw.send(_frame(0x01, payload[:cut]) + _frame(0x89, b"") + _frame(0x80, payload[cut:]))
        await _read_until(raw, "echo")
        assert raw.frames[-1].data == "é"


async def test_a_control_frame_between_the_fragments_is_answered(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        pong = await client.socket.ping()
        await pong
        assert (await client.send("echo", 1)).data == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02{}", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # a reserved opcode
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x80\x80\0\0\0\0", 1002),  # a continuation of nothing
        (b"\x09\x80\0\0\0\0", 1002),  # a ping in fragments
        (b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126, 1002),  # a ping that is too long
        (b"\x88\x81\0\0\0\0x", 1002),  # half a close code
    ],
)
async def test_a_violation_of_the_websocket_protocol_closes_with_its_code(
    gateway: RunningGateway, data: bytes, code: int
) -> None:
    async with raw_socket(gateway, gateway.token("42")) as raw:
        await raw.send(data)
        await raw.read_until_end()
        assert raw.close_code == code
    await wait_until(lambda: not gateway.services.connections)


async def test_the_peers_close_is_answered_with_its_code(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.socket.close(4000, "bye")
        assert await client.closed() == (4000, "bye")
    await wait_until(lambda: gateway.services.metrics.closed[4000] == 1)


async def test_a_peer_that_vanishes_is_noted_as_1006(gateway: RunningGateway) -> None:
    async with raw_socket(gateway, gateway.token("42")) as raw:
        raw.tcp.close()
        await wait_until(lambda: gateway.services.metrics.closed[1006] == 1)
    assert not gateway.services.connections


async def test_commands_beyond_the_rate_are_answered_with_429_and_the_time_to_wait(redis_url: str) -> None:
    settings: dict[str, Any] = {"limits__messages_per_s": 1.0, "limits__messages_burst": 5}
    async with running_gateway(redis_url, **settings) as gateway, raw_socket(gateway, gateway.token("42")) as raw:
        echo = masked(b'{"type": "echo"}')
        await raw.send(echo * 8)  # read at once, so in no time
        while len(raw.frames) < 9:
            assert await raw.read()
        replies = raw.frames[1:]
        assert [reply.type for reply in replies] == ["echo"] * 5 + ["error"] * 3
        refused = replies[-1].data
        assert refused["code"] == 429
        assert 0 < refused["retry_after_ms"] <= 1_001
        await asyncio.sleep(refused["retry_after_ms"] / 1_000)
        await raw.send(echo)
        while len(raw.frames) < 10:
            assert await raw.read()
        assert raw.frames[-1].type == "echo"


async def test_who_does_not_stop_is_closed_with_4429_and_others_are_not(redis_url: str) -> None:
    settings: dict[str, Any] = {"limits__messages_per_s": 0.001, "limits__messages_burst": 5}
    async with (
        running_gateway(redis_url, **settings) as gateway,
        connected(gateway, "42") as flooding,
        connected(gateway, "42") as calm,
    ):
        for _ in range(11):
            await flooding.post("echo")
        assert (await flooding.closed())[0] == 4429
        assert len(flooding.of_type("error")) == 5
        assert (await calm.send("echo", 1)).data == 1


async def test_frames_that_are_no_commands_count_as_well(redis_url: str) -> None:
    settings: dict[str, Any] = {"limits__messages_per_s": 0.001, "limits__messages_burst": 5}
    for junk in ("{", b"\0"):
        async with running_gateway(redis_url, **settings) as gateway, connected(gateway, "42") as client:
            for _ in range(11):
                await client.post_text(junk)
            assert (await client.closed())[0] == 4429


async def test_a_peer_from_which_nothing_comes_is_cut_off_and_who_answers_pings_is_not(redis_url: str) -> None:
    settings: dict[str, Any] = {"heartbeat__ping_interval_s": 0.5, "heartbeat__timeout_s": 5}
    async with (
        running_gateway(redis_url, **settings) as gateway,
        connected(gateway, "1") as quiet,  # `websockets` answers pings by itself
        raw_socket(gateway, gateway.token("2")) as gone,
    ):
        await wait_until(lambda: gateway.services.metrics.closed[1006] == 1)
        await gone.read_until_end()
        assert b"\x89\x00" in gone.received  # it was asked
        assert (await quiet.send("ping")).type == "pong"


def _frame(first: int, payload: bytes) -> bytes:
    """Return a short frame, masked with zeros."""
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


async def _read_until(raw: Any, kind: str) -> None:
    while not raw.frames or raw.frames[-1].type != kind:
        assert await raw.read(), f"the connection ended: {raw.close_code}"
