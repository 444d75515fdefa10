"""
A WebSocket client for tests: commands and their replies, pushes in order, the cursor to resume from.

    async with connected(gateway, "42") as alice:
        reply = await alice.send("join_group", {"group_id": "ops"})
        event = await alice.next("notice")

    await settled(tide, alice, bob)       # whatever was published before has been delivered by now, or never will be
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlencode

import websockets
from websockets.asyncio.client import ClientConnection, connect

from publisher import Publisher
from tests.support.gateway import make_token

TIMEOUT_S = 30.0
SUBPROTOCOL = "tidegate.v1"
MARKER = "test_marker"

Way = Literal["query", "header", "subprotocol", "auth"]


class Endpoint(Protocol):
    """What a client connects to: a `RunningGateway` or a `GatewayProcess`."""

    @property
    def url(self) -> str:
        """Its WebSocket endpoint."""


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One frame from the server.

    Attributes:
        type, data, message_id, timestamp: As in the envelope.
        id: The cursor of a push from the log, else None.
        traceparent: The trace that a push belongs to, or None.
    """

    type: str
    data: Any
    message_id: str | None
    timestamp: int
    id: str | None = None
    traceparent: str | None = None

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read one; fail where its envelope is not that of the protocol."""
        envelope = json.loads(text)
        assert set(envelope) - {"id", "traceparent"} == {"type", "message_id", "timestamp", "data"}, envelope
        return cls(**envelope)


class Closed(Exception):
    """The connection ended while a frame was awaited."""


class Client:
    """
    One open connection. Frames are read as they come.

    Attributes:
        socket: The `websockets` connection below.
        frames: Everything that came, in order.
        welcome: The data of the first `welcome`, once it is there.
    """

    _numbers = itertools.count(1)

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []
        self._unread: list[Frame] = []
        self._posted: set[str] = set()
        self._replies: dict[str, Frame] = {}
        self._ended = False
        self._arrival = asyncio.Condition()
        self._reader = asyncio.create_task(self._read(), name="client")

    @property
    def welcome(self) -> dict[str, Any]:
        """What the server said first."""
        return next(frame.data for frame in self.frames if frame.type == "welcome")

    @property
    def client_id(self) -> str:
        """The connection's own id."""
        return str(self.welcome["client_id"])

    @property
    def pushes(self) -> list[Frame]:
        """What came from the log, in order, markers left out."""
        return [frame for frame in self.frames if frame.id is not None and frame.type != MARKER]

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Type and data of each push, in order."""
        return [(frame.type, frame.data) for frame in self.pushes]

    @property
    def cursor(self) -> str:
        """What to resume from: the newest cursor that came, in a push, `welcome`, `pong` or `resync`."""
        for frame in reversed(self.frames):
            if frame.id is not None:
                return frame.id
            if frame.type in {"welcome", "pong", "resync"}:
                return str(frame.data["cursor"])
        raise AssertionError("no cursor yet")

    def of_type(self, kind: str) -> list[Frame]:
        """Return the frames of one type, in order."""
        return [frame for frame in self.frames if frame.type == kind]

    async def send(self, kind: str, data: Any = None, *, message_id: str | None = None) -> Frame:
        """Send a command and return its reply."""
        return await self.reply(await self.post(kind, data, message_id=message_id))

    async def post(self, kind: str, data: Any = None, *, message_id: str | None = None) -> str:
        """Send a command and wait for nothing; return its `message_id`."""
        message_id = message_id or f"m{next(self._numbers)}"
        self._posted.add(message_id)
        await self.post_text(json.dumps({"type": kind, "message_id": message_id, "data": data}))
        return message_id

    async def post_text(self, text: str | bytes) -> None:
        """Send a frame as it is: text or binary."""
        await self.socket.send(text)

    async def reply(self, message_id: str) -> Frame:
        """Wait for the reply to a command that was posted."""
        await self.until(lambda: message_id in self._replies)
        self._posted.discard(message_id)
        return self._replies.pop(message_id)

    async def next(self, kind: str | None = None) -> Frame:
        """Wait for, and take, the first frame that was not taken yet: of one type, or any but replies to `send`."""

        def first() -> Frame | None:
            return next((frame for frame in self._unread if kind in (None, frame.type)), None)

        await self.until(lambda: first() is not None)
        frame = first()
        assert frame is not None
        self._unread.remove(frame)
        return frame

    async def received(self, count: int) -> list[Frame]:
        """Wait until so many pushes came from the log; return all there are."""
        await self.until(lambda: len(self.pushes) >= count)
        return self.pushes

    async def until(self, condition: Callable[[], bool]) -> None:
        """
        Wait until a frame makes `condition` true.

        Raises:
            Closed: The connection ended before.
        """
        async with asyncio.timeout(TIMEOUT_S), self._arrival:
            await self._arrival.wait_for(lambda: condition() or self._ended)
        if not condition():
            raise Closed(f"{self.socket.close_code} {self.socket.close_reason}; the last frames: {self.frames[-5:]}")

    async def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection; return its code and reason."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.socket.wait_closed()
        await self._reader
        code, reason = self.socket.close_code, self.socket.close_reason
        assert code is not None
        return code, reason or ""

    async def close(self) -> None:
        """Close the connection, if it is open, and wait for its end."""
        await self.socket.close()
        await self._reader

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self.socket:
                self._take(Frame.parse(text))
                await self._wake()
        self._ended = True
        await self._wake()

    async def _wake(self) -> None:
        async with self._arrival:
            self._arrival.notify_all()

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.id is None and frame.message_id in self._posted:
            assert frame.message_id not in self._replies, f"two replies: {frame}"
            self._replies[frame.message_id] = frame
        else:
            self._unread.append(frame)


@contextlib.asynccontextmanager
async def connected(
    to: Endpoint,
    user: str | int = "1",
    *,
    way: Way = "query",
    token: str | None = None,
    cursor: str | None = None,
    welcomed: bool = True,
    claims: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Client]:
    """
    Connect, authenticate in one of the four ways, and be welcome, for as long as the context lasts.

    Args:
        token: Instead of a new one for `user` with `claims`.
        welcomed: Wait for the `welcome`.
        options: For `websockets`' own `connect`.
    """
    token = make_token(user, **(claims or {})) if token is None else token
    async with opened(to, **_offer(way, token, cursor), **options) as client:
        if way == "auth":
            await client.post("auth", {"token": token} | ({"cursor": cursor} if cursor is not None else {}))
        if welcomed:
            await client.next("welcome")
        yield client


@contextlib.asynccontextmanager
async def opened(
    to: Endpoint, *, query: str = "", subprotocols: list[str] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Open a connection and do nothing more. `query` goes behind `?`; options are for `websockets`' `connect`."""
    offered: Any = [SUBPROTOCOL] if subprotocols is None else subprotocols
    defaults: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None, "proxy": None}
    defaults["open_timeout"] = TIMEOUT_S
    url = to.url + (f"?{query}" if query else "")
    socket = await connect(url, subprotocols=offered or None, **{**defaults, **options})
    client = Client(socket)
    try:
        yield client
    finally:
        await client.close()


async def settled(tide: Publisher, *clients: Client, tenant: str = "default") -> None:
    """
    Wait until each client has had everything that was published before this call.

    A marker to each comes last: the log's order is that of delivery. For clients of one tenant and one partition.
    """
    before = [len(client.of_type(MARKER)) for client in clients]
    await tide.publish(MARKER, None, to=[f"client:{client.client_id}" for client in clients], tenant=tenant)
    for client, count in zip(clients, before, strict=True):
        await client.until(lambda client=client, count=count: len(client.of_type(MARKER)) > count)


def _offer(way: Way, token: str, cursor: str | None) -> dict[str, Any]:
    """Return how a token (and a cursor) stand in the handshake."""
    if way == "auth":
        return {}
    parameters = {"cursor": cursor} if cursor is not None else {}
    if way == "query":
        return {"query": urlencode({"token": token, **parameters})}
    if way == "header":
        return {"query": urlencode(parameters), "additional_headers": {"Authorization": f"Bearer {token}"}}
    return {"query": urlencode(parameters), "subprotocols": [SUBPROTOCOL, f"bearer.{token}"]}
