"""What comes over a WebSocket: handshakes, frames, commands."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from gateway.wire import v1
from tests.fuzz import values
from tests.fuzz.engine import Target
from tests.fuzz.sandbox import Failed, Peer, Sandbox, messages
from tests.support.frames import masked, upgrade

# docs/protocol.md
_CODES = {400, 401, 403, 404, 409, 413, 429, 503}
_REPLIES = {"ping": {v1.PONG}, "echo": {v1.ECHO}, "auth": {v1.AUTH_SUCCESS, v1.AUTH_FAILED}}
_ALL_REPLIES = {v1.ACK, v1.ERROR, v1.PONG, v1.ECHO, v1.AUTH_SUCCESS, v1.AUTH_FAILED}
_CLOSES = {1000, 1001, 1009, 1012, 1013, 4400, 4401, 4403, 4408, 4409, 4429}
_OF_THE_CORE = {1002, 1005, 1007}  # to whom breaks RFC 6455; 1005: an empty close frame, given back
_STATUSES = {101, 200, 400, 401, 403, 404, 405, 413, 414, 426, 429, 431, 503, 505}
_DEADLINE_S = 20.0


class Handshake(Target):
    """Bytes that should be an HTTP request."""

    name = "handshake"
    share = 8
    tokens = (
        b"\r\n", b"\r\n\r\n", b": ", b"GET ", b"POST ", b" HTTP/1.1", b"/ws", b"/health", b"?token=", b"&cursor=",
        b"Sec-WebSocket-Protocol: tidegate.v1, bearer.x\r\n", b"Authorization: Bearer x\r\n", b"Origin: null\r\n",
        b"Origin: http://[::1\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
        b"X-Forwarded-For: ::1\r\n",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n", b"Cookie: a=b\r\n",
        b"%ff", b"%00",
    )  # fmt: skip

    def __init__(self, place: Sandbox) -> None:
        self._place = place
        self._token = place.token()

    def seeds(self) -> list[bytes]:
        """Return good ones, each way to authenticate among them, and frames behind one."""
        token = self._token
        return [
            upgrade(f"/ws?token={token}"),
            upgrade("/ws", f"Authorization: Bearer {token}"),
            upgrade("/ws", f"Sec-WebSocket-Protocol: tidegate.v1, bearer.{token}", "Origin: http://localhost"),
            upgrade(f"/ws?token={token}&cursor=1-0.0.abcdef12", "Sec-WebSocket-Extensions: permessage-deflate"),
            upgrade(f"/ws?token={token}") + masked(b'{"type":"ping"}') + masked(b"", 9) + masked(b"", 8),
            upgrade("/ws") + masked(json.dumps({"type": "auth", "data": {"token": token}}).encode()),
            b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n",
        ]

    async def feed(self, data: bytes) -> None:
        """Whatever comes is answered with a documented status, or not at all."""
        peer = Peer(self._place.server)
        half = len(data) // 2
        await peer.send(data[:half])
        await peer.send(data[half:])
        peer.protocol.eof_received()
        peer.leave()
        output = peer.output
        at = output.find(b"HTTP/1.1 ")
        if at >= 0 and int(output[at + 9 : at + 12]) not in _STATUSES:
            raise Failed(f"answered with {output[:60]!r}")
        self._place.watch.check()


class Frames(Target):
    """Bytes behind a good handshake."""

    name = "frames"
    share = 12
    tokens = (
        b"\x81\x80\0\0\0\0", b"\x01\x80\0\0\0\0", b"\x80\x80\0\0\0\0", b"\x82\x80\0\0\0\0", b"\x89\x80\0\0\0\0",
        b"\x88\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8", b"\xc1\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 8,
        b"\x81\xfe\xff\xff",
        b"\x91\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x81\x05hello", b'{"type":"ping"}', b'"message_id":"1"',
    )  # fmt: skip

    def __init__(self, place: Sandbox) -> None:
        self._place = place
        self._token = place.token()

    def seeds(self) -> list[bytes]:
        """Return every kind of frame."""
        ping = b'{"type":"ping","message_id":"1"}'
        return [
            masked(ping),
            masked(ping, mask=b"\x12\x34\x56\x78"),
            masked(ping[:9], first=0x01) + masked(b"", 9) + masked(ping[9:], first=0x80),
            masked(b"\x00\xff", 2) + masked(b"beat", 10),
            masked(b"\x03\xe8bye", 8),
            masked(ping) + masked(b"", 8),
            masked("é".encode()[:1], first=0x01) + masked("é".encode()[1:], first=0x80),
            masked(b'{"type":"echo","data":"' + b"x" * 3_000 + b'"}'),
        ]

    async def feed(self, data: bytes) -> None:
        """What the server writes are frames; it closes with a documented code, or one of RFC 6455's for violations."""
        peer = Peer(self._place.server)
        await peer.open(self._token)
        cut = len(data) * 2 // 3
        await peer.send(data[:cut])
        await peer.send(data[cut:])
        _, code = messages(peer.output)
        peer.leave()
        received = peer.protocol._core.close_rcvd  # a code that the peer chose comes back to it
        if code is not None and code not in _CLOSES | _OF_THE_CORE and (received is None or received.code != code):
            raise Failed(f"closed with {code}")
        self._place.watch.check()


class Commands(Target):
    """Commands with hostile arguments, one a line; all that there are."""

    name = "commands"
    share = 14

    def __init__(self, place: Sandbox, names: list[str] | None = None) -> None:
        self._place = place
        self._token = place.token(groups=["g1"])
        self._names = names or sorted(place.services.commands)
        self.tokens = (
            *(json.dumps(name).encode() for name in (*self._names, *values.FIELDS, *values.NAMES)),
            b"\n", b'"data":', b'"message_id":', b"null", b"[", b"{", b"}", b"]", b"\\ud800", b"-1", b"1e400",
        )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """Return each command with every field that any has, well-formed; and a few scripts."""
        good = {
            "group_id": "g1", "topic": "t1", "tag": "vip", "content": {"text": "hi"}, "message_id": "m1", "limit": 5,
            "token": self._token, "user_id": "1", "all": True,
        }  # fmt: skip
        lines = [
            json.dumps({"type": name, "message_id": f"{number}", "data": good}).encode()
            for number, name in enumerate(self._names)
        ]
        recall = {"type": "recall_message", "message_id": "r", "data": {"group_id": "g1", "message_id": "0"}}
        written = {"type": "send_message", "message_id": "0", "data": {"group_id": "g1", "content": 1}}
        return [*lines, b"\n".join(lines), json.dumps(written).encode() + b"\n" + json.dumps(recall).encode()]

    def make(self, chance: random.Random) -> bytes:
        """Return some commands whose arguments are partly right."""
        return b"\n".join(
            values.text(self._command(chance, number), chance).replace(b"\n", b" ")
            for number in range(1 + int(chance.expovariate(0.7)))
        )

    def _command(self, chance: random.Random, number: int) -> Any:
        if chance.random() < 0.03:
            return values.value(chance)
        data = {chance.choice(values.FIELDS): values.value(chance) for _ in range(chance.randrange(4))}
        for field, names in (("group_id", "g1"), ("topic", "t1"), ("tag", "vip"), ("user_id", "1")):
            if chance.random() < 0.4:
                data[field] = names if chance.random() < 0.8 else chance.choice(values.NAMES)
        name = chance.choice(self._names) if chance.random() < 0.97 else values.value(chance)
        envelope = {"type": name, "message_id": f"m{number}", "data": data}
        if chance.random() < 0.05:
            envelope[chance.choice(tuple(envelope))] = values.value(chance)
        return envelope

    async def feed(self, data: bytes) -> None:
        """Every command has exactly one reply, in order and of a documented kind, until the connection is closed."""
        peer = Peer(self._place.server)
        await peer.open(self._token)
        lines = data.split(b"\n")
        for line in lines:
            await peer.send(masked(line))
        said, code = await _until(peer, lambda said: len(_replies(said)) >= len(lines))
        replies = _replies(said)
        peer.leave()
        if code is None and len(replies) != len(lines):
            raise Failed(f"{len(lines)} commands, {len(replies)} replies")
        if code is not None and code not in _CLOSES | {1007}:
            raise Failed(f"closed with {code}")
        for line, reply in zip(lines, replies, strict=False):
            _check_reply(line, reply)
        self._place.watch.check()


async def _until(peer: Peer, enough: Callable[[list[dict[str, Any]]], bool]) -> tuple[list[dict[str, Any]], int | None]:
    """Wait until enough was said, or the connection was closed; then for nothing more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _DEADLINE_S
    while True:
        said, code = messages(peer.output)
        if code is not None or enough(said) or peer.transport.closing:
            return said, code
        if loop.time() > deadline:
            raise Failed(f"no reply within {_DEADLINE_S:g} s; there are {_replies(said)}")
        await asyncio.sleep(0.0002)


def _replies(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [frame for frame in said if frame["type"] in _ALL_REPLIES and "id" not in frame]


def _check_reply(line: bytes, reply: dict[str, Any]) -> None:
    try:
        envelope = json.loads(line)
    except (ValueError, RecursionError):
        envelope = None
    envelope = envelope if isinstance(envelope, dict) else {}
    kind, data = reply["type"], reply["data"]
    if kind == v1.ERROR:
        if data["code"] not in _CODES or not isinstance(data["message"], str):
            raise Failed(f"{line[:300]!r} was answered with {data}")
    else:
        name = envelope.get("type")
        wanted = _REPLIES.get(name, {v1.ACK}) if isinstance(name, str) else set()
        if kind not in wanted or (kind == v1.ACK and data.get("success") is not True):
            raise Failed(f"{line[:300]!r} was answered with {reply}")
    unread = kind == v1.ERROR and data["code"] == 400 and reply["message_id"] is None
    if reply["message_id"] != envelope.get("message_id") and not unread:
        raise Failed(f"{line[:300]!r} was answered under the name {reply['message_id']!r}")
