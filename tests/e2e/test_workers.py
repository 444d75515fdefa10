"""`gateway serve --workers N`."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.support.clients import connected
from tests.support.gateway import SECRET, GatewayProcess, make_token
from tests.support.redis_server import free_port
from tests.support.terminal import Piped, clean_environment
from tests.support.waiting import wait_until

COMMAND = [sys.executable, "-m", "gateway", "serve", "--workers"]


class Pool:
    """Workers under one supervisor, in a folder of their own."""

    def __init__(self, folder, redis_url, redis_server):
        self.folder = folder
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self._redis_url = redis_url
        self._redis_server = redis_server

    def environ(self, **variables):
        own = {
            "GATEWAY_LISTEN__PORT": str(self.port),
            "GATEWAY_LISTEN__HOST": "127.0.0.1",
            "GATEWAY_HTTP__PORT": "0",
            "GATEWAY_REDIS__URL": self._redis_url,
            "GATEWAY_AUTH__SECRET": SECRET,
            "GATEWAY_INSTANCE__ID": "pool",
            "GATEWAY_SHUTDOWN__DRAIN_S": "0",
        }
        return clean_environment(**own, **variables)

    def run(self, count, **variables):
        return Piped([*COMMAND, str(count)], cwd=self.folder, environ=self.environ(**variables))

    def pids(self):
        """Return the process id of each live instance."""
        with self._redis_server.client() as client:
            keys = list(client.scan_iter("tg:instance:*"))
            return {key.removeprefix("tg:instance:"): int(client.hget(key, "pid") or 0) for key in keys}


@pytest.fixture
def pool(tmp_path, redis_url, redis_server):
    return Pool(tmp_path, redis_url, redis_server)


def lines(supervisor, event):
    """Return the lines of the log that report an event, the workers' included."""
    complete, _, _ = supervisor.err.rpartition("\n")
    parsed = [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
    return [line for line in parsed if line["event"] == event]


async def listening(supervisor, count):
    await wait_until(lambda: len(lines(supervisor, "listening")) >= count, 60)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_each_is_an_instance_and_they_share_the_port(pool):
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        assert set(pool.pids()) == {"pool-0", "pool-1"}
        seen = set()
        for number in range(40):
            async with connected(pool, number) as client:
                seen.add((await client.send("get_client_info")).data["instance"])
        assert seen == {"pool-0", "pool-1"}
        assert supervisor.out == ""  # production: no greeting


async def test_one_that_dies_is_started_again(pool):
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        before = pool.pids()
        os.kill(before["pool-1"], signal.SIGKILL)
        await listening(supervisor, 3)
        after = pool.pids()
        assert after["pool-0"] == before["pool-0"]
        assert after["pool-1"] != before["pool-1"]
        (died,) = lines(supervisor, "worker_died")
        assert (died["worker"], died["status"]) == (1, -signal.SIGKILL)


async def test_a_term_signal_drains_all_of_them(pool):
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        async with connected(pool, 1) as first, connected(pool, 2) as second, connected(pool, 3) as third:
            supervisor.signal(signal.SIGTERM)
            assert [(await client.closed())[0] for client in (first, second, third)] == [1012, 1012, 1012]
            assert await supervisor.ended() == 0
        assert pool.pids() == {}
        assert len(lines(supervisor, "stopped")) == 2


async def test_a_second_signal_kills(pool):
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        pids = pool.pids()
        os.kill(pids["pool-0"], signal.SIGSTOP)  # it cannot end in order
        supervisor.signal(signal.SIGTERM)
        await wait_until(lambda: lines(supervisor, "stopping_workers"))
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.ended() == signal.SIGKILL
        assert not any(map(alive, pids.values()))


async def test_none_outlives_a_killed_supervisor(pool):
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        pids = pool.pids()
        supervisor.signal(signal.SIGKILL)
        await wait_until(lambda: not any(map(alive, pids.values())))
        assert pool.pids() == {}
        await supervisor.ended()


async def test_what_is_wrong_for_all_is_said_once(pool, redis_url):
    async with GatewayProcess(redis_url, listen__port=pool.port), pool.run(3) as supervisor:
        assert await supervisor.ended() == 1
    assert supervisor.err == f"gateway: listen.port: cannot listen on 127.0.0.1:{pool.port}: Address already in use\n"


async def test_what_the_first_worker_meets_ends_the_start(tmp_path, redis_server):
    pool = Pool(tmp_path, "redis://127.0.0.1:1", redis_server)
    async with pool.run(3) as supervisor:
        assert await supervisor.ended() == 1
    assert supervisor.err.count("gateway: redis.url: the server cannot be used") == 1
    assert lines(supervisor, "worker_died") == []


async def test_the_kernel_may_choose_the_port(pool):
    pool.port = 0
    async with pool.run(2) as supervisor:
        await listening(supervisor, 2)
        first, second = lines(supervisor, "listening")
        assert first["port"] == second["port"] != 0


@pytest.mark.parametrize("count", ["0", "-1", "many", "1000"])
async def test_a_count_that_is_none_is_wrong_usage(pool, count):
    async with pool.run(count) as supervisor:
        assert await supervisor.ended() == 2
    assert "--workers" in supervisor.err


async def test_dev_mode_has_one_server_and_greets_once(tmp_path):
    port = free_port()
    ports = {"GATEWAY_LISTEN__PORT": str(port), "GATEWAY_HTTP__PORT": "0"}
    environ = clean_environment(GATEWAY_MODE="dev", GATEWAY_LOGGING__FORMAT="json", **ports)
    async with Piped([*COMMAND, "3"], cwd=tmp_path, environ=environ) as supervisor:
        await supervisor.shows("order.shipped")
        assert len(lines(supervisor, "listening")) == 3
        assert supervisor.out.count("Tidegate serves") == 1
        assert f"ws://127.0.0.1:{port}/ws" in supervisor.out
        secret = (tmp_path / ".tidegate" / "secret").read_text()
        pool = Pool(tmp_path, "", None)
        pool.port, pool.url = port, f"ws://127.0.0.1:{port}/ws"
        async with connected(pool, token=make_token("42", secret=secret)) as client:
            supervisor.signal(signal.SIGINT)
            assert (await client.closed())[0] == 1012
        assert await supervisor.ended() == 0
    assert sorted(path.name for path in (tmp_path / ".tidegate").iterdir()) == [
        "redis",
        "redis.lock",
        "running",
        "secret",
    ]
    assert list((tmp_path / ".tidegate" / "running").iterdir()) == []
