"""No file descriptor is left: those who wait are refused, an operator is told, and it passes."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import websockets

from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@contextlib.contextmanager
def _silent_peers(port: int, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in silent:
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(("127.0.0.1", port))
        yield silent


def _was_let_go(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_too_many_open_files_are_reported_once_a_second_and_survived(server: RedisServer) -> None:
    async with GatewayProcess(server.url, limits__handshake_timeout_s=120) as gateway, connected(gateway) as alice:
        files = _open_files(gateway.pid)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (files + 10, files + 10))
        with _silent_peers(gateway.port, 50) as silent:
            await wait_until(lambda: gateway.log_events("no_file_to_open"))
            assert (await alice.send("echo", 1)).data == 1
            await wait_until(lambda: all(map(_was_let_go, silent)), 60)
        async with connected(gateway, "2") as bob:
            assert (await bob.send("echo", 2)).data == 2
        lines = gateway.log_events("no_file_to_open")
        assert len(lines) < 20
        assert len({line["timestamp"][:19] for line in lines}) >= len(lines) - 1


async def test_peers_that_say_nothing_give_way_to_one_who_speaks_where_there_are_too_many(server: RedisServer) -> None:
    async with GatewayProcess(server.url, limits__connections=10, limits__handshake_timeout_s=120) as gateway:
        with _silent_peers(gateway.port, 30):

            async def let_in() -> bool:
                with contextlib.suppress(OSError, websockets.WebSocketException):
                    async with connected(gateway) as alice:
                        return bool((await alice.send("echo", 1)).data == 1)
                return False

            await wait_until(let_in, 60)


async def test_a_handshake_may_take_its_time_while_there_is_room(server: RedisServer) -> None:
    async with GatewayProcess(server.url, limits__connections=10) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for byte in b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.06)  # over two seconds
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
