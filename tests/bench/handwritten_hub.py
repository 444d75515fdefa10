"""
Baseline (a): the hub that a product team writes by hand, as well as the straightforward way can be written.

redis-py's XREADGROUP, `json`, `websockets.asyncio.server.serve`, `broadcast()` for everybody and for groups,
`ws.send()` for one user, pyjwt at the connect. It reads the same stream, with the same entries, as a gateway,
and its frames are of the same size. Fair choices: no compression, NOACK by default, raw bytes from Redis, compact JSON,
a bounded pool of connections for its XADDs; nothing that one would find only with a profiler.

Usage: python -m tests.bench.handwritten_hub --redis URL --port PORT --secret SECRET --loop asyncio|uvloop
       [--ack none|batch|each]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from collections import defaultdict
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import redis.asyncio as redis
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.http11 import Request, Response

from publisher import keys

STREAM = keys.stream(0)
GROUP = "handwritten"
READ_COUNT = 100
BLOCK_MS = 2000
POOL_SIZE = 20


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Hub:
    """Sockets by user and by group, the loop that feeds them from the stream, and the handler of each."""

    def __init__(self, redis_url: str, secret: str, ack: str) -> None:
        self._reader = redis.from_url(redis_url, protocol=2, socket_timeout=None)
        pool = redis.BlockingConnectionPool.from_url(redis_url, protocol=2, max_connections=POOL_SIZE)
        self._writer = redis.Redis.from_pool(pool)
        self._secret = secret
        self._ack = ack
        self._everybody: set[ServerConnection] = set()
        self._by_id: dict[bytes, ServerConnection] = {}
        self._users: defaultdict[str, set[ServerConnection]] = defaultdict(set)
        self._groups: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def create_group(self) -> None:
        await self._reader.xgroup_create(STREAM, GROUP, id="$", mkstream=True)

    async def consume(self) -> None:
        """Deliver what the stream brings, for ever."""
        while True:
            reply = await self._reader.xreadgroup(
                GROUP, "hub", {STREAM: ">"}, count=READ_COUNT, block=BLOCK_MS, noack=self._ack == "none"
            )
            for _, entries in reply:
                for entry_id, fields in entries:
                    await self._deliver(entry_id, fields)
                    if self._ack == "each":
                        await self._reader.xack(STREAM, GROUP, entry_id)
                if self._ack == "batch":
                    await self._reader.xack(STREAM, GROUP, *(entry_id for entry_id, _ in entries))

    async def _deliver(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        message = dumps(
            {
                "type": fields[b"e"].decode(),
                "message_id": fields[b"m"].decode(),
                "timestamp": int(entry_id.partition(b"-")[0]),
                "id": entry_id.decode(),
                "data": json.loads(fields[b"d"]),
            }
        )
        for address in json.loads(fields[b"to"]):
            kind, _, name = address.partition(":")
            if kind == "all":
                broadcast(self._everybody, message)
            elif kind == "group":
                members = self._groups.get(name, set())
                if b"x" in fields:  # the sender of a message does not get it back
                    members = members - {self._by_id.get(fields[b"x"])}
                broadcast(members, message)
            elif kind == "user":
                for socket in tuple(self._users.get(name, ())):
                    await socket.send(message)

    def authenticate(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer the readiness probe, and refuse whoever has no valid token."""
        url = urlsplit(request.path)
        if url.path == "/ready":
            return socket.respond(HTTPStatus.OK, "ready\n")
        try:
            token = parse_qs(url.query)["token"][0]
            socket.claims = jwt.decode(token, self._secret, ["HS256"], options={"require": ["exp", "sub"]})
        except (KeyError, jwt.InvalidTokenError):
            return socket.respond(HTTPStatus.UNAUTHORIZED, "a valid token is needed\n")
        return None

    async def handle(self, socket: ServerConnection) -> None:
        """Serve one socket until it closes."""
        user, groups = socket.claims["sub"], socket.claims.get("groups", ())
        indices = [self._everybody, self._users[user], *(self._groups[group] for group in groups)]
        for index in indices:
            index.add(socket)
        client_id = str(socket.id)
        self._by_id[client_id.encode()] = socket
        try:
            await socket.send(dumps({"type": "welcome", "data": {"client_id": client_id, "user_id": user}}))
            async for message in socket:
                await self._command(socket, user, json.loads(message))
        finally:
            del self._by_id[client_id.encode()]
            for index in indices:
                index.discard(socket)

    async def _command(self, socket: ServerConnection, user: str, command: dict[str, Any]) -> None:
        if command["type"] != "send_message" or command["data"]["group_id"] not in socket.claims["groups"]:
            await socket.send(dumps({"type": "error", "message_id": command["message_id"], "data": {"code": 403}}))
            return
        data = {"from": user, **command["data"]}
        fields = {
            "v": 1,
            "t": "default",
            "to": dumps([f"group:{data['group_id']}"]),
            "e": "new_message",
            "m": secrets.token_hex(12),
            "d": dumps(data),
            "x": str(socket.id),
        }
        entry_id = await self._writer.xadd(STREAM, fields)
        reply = {"success": True, "id": entry_id.decode()}
        envelope = {"type": "ack", "message_id": command["message_id"], "timestamp": int(time.time() * 1000)}
        await socket.send(dumps({**envelope, "data": reply}))


async def run(options: argparse.Namespace) -> None:
    """Serve until the process is stopped."""
    hub = Hub(options.redis, options.secret, options.ack)
    await hub.create_group()
    async with serve(
        hub.handle,
        "127.0.0.1",
        options.port,
        process_request=hub.authenticate,
        compression=None,
        backlog=4096,
    ):
        await hub.consume()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), required=True)
    parser.add_argument("--ack", choices=("none", "batch", "each"), default="none")
    options = parser.parse_args()
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(options))


if __name__ == "__main__":
    main()
