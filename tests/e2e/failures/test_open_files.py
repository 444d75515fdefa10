"""No file descriptor is left: those who wait are refused, an operator is told, and it passes."""

from __future__ import annotations

import contextlib
import resource
import socket
from pathlib import Path

from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_too_many_open_files_are_reported_once_a_second_and_survived(server: RedisServer) -> None:
    async with GatewayProcess(server.url, limits__handshake_timeout_s=2) as gateway, connected(gateway) as alice:
        files = _open_files(gateway.pid)
        resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (files + 10, files + 10))
        with contextlib.ExitStack() as silent:
            for _ in range(50):
                each = silent.enter_context(socket.socket())
                each.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    each.connect(("127.0.0.1", gateway.port))
            await wait_until(lambda: gateway.log_events("no_file_to_open"), 10)
            assert (await alice.send("echo", 1)).data == 1
            await wait_until(lambda: _open_files(gateway.pid) <= files, 20)
        async with connected(gateway, "2") as bob:
            assert (await bob.send("echo", 2)).data == 2
        lines = gateway.log_events("no_file_to_open")
        assert len(lines) < 20
        assert len({line["timestamp"][:19] for line in lines}) >= len(lines) - 1
