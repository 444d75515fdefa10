"""`make run`: what a newcomer types first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.redis_server import RedisServer, free_port
from tests.support.terminal import CTRL_C, Piped, Terminal, clean_environment, run
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Clone:
    """A clone of the repository with everything installed, whose gateway has a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.http_port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        for name in ("Makefile", "pyproject.toml", "etc", "gateway", "publisher"):
            (folder / name).symlink_to(ROOT / name)
        environment = folder / ".venv"
        environment.mkdir()
        for path in Path(sys.prefix).iterdir():
            if path.name not in {"installed", "runnable"}:
                (environment / path.name).symlink_to(path)
        (environment / "installed").touch()
        (environment / "runnable").touch()

    def environ(self, **variables: str) -> dict[str, str]:
        """Return an environment for `make run`."""
        environ = clean_environment(
            **{"GATEWAY_LISTEN__PORT": str(self.port), "GATEWAY_HTTP__PORT": str(self.http_port), **variables}
        )
        del environ["PYTHONPATH"]  # a newcomer has none
        return environ

    def make_run(self, **variables: str) -> Terminal:
        """Return `make run` on a terminal."""
        return Terminal(["make", "run"], cwd=self.folder, environ=self.environ(**variables))

    def serve(self, *arguments: str, **variables: str) -> Piped:
        """Return what `make run` runs, without make."""
        command = [".venv/bin/python", "-m", "gateway", "serve", *(arguments or ("-c", "etc/gateway.dev.yaml"))]
        return Piped(command, cwd=self.folder, environ=self.environ(**variables))

    def another_shell(self) -> dict[str, str]:
        """Return the environment of another shell, which has been told nothing."""
        environ = clean_environment()
        del environ["PYTHONPATH"]
        return environ

    async def paste(self, line: str, **options):
        """Run a line in another shell, in the repository's folder."""
        return await run(["sh", "-c", line], cwd=self.folder, environ=self.another_shell(), **options)

    @property
    def server_answers(self) -> bool:
        """Whether the embedded server runs."""
        try:
            with _client(self.folder / ".tidegate" / "redis.sock") as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop_server(self) -> None:
        """Stop the embedded servers, which outlive a gateway that a test has killed."""
        for path in self.folder.glob("*/redis.sock"):
            with contextlib.suppress(redis.RedisError), _client(path) as client:
                client.shutdown(nosave=True)

    def left_behind(self) -> list[str]:
        """Return what of a run is still there."""
        state = self.folder / ".tidegate"
        return sorted(path.name for path in [*state.glob("*.sock"), *state.glob("running/*")])


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket.resolve()), retry=None)


@pytest.fixture
def clone(tmp_path):
    clone = Clone(tmp_path)
    yield clone
    clone.stop_server()


def line_of(shown, name):
    """Return what stands behind a name in the greeting."""
    (found,) = re.findall(rf"^  {name} +(.*)$", shown, re.MULTILINE)
    return found


async def greeted(process):
    """Wait for the end of the greeting; return all of it."""
    await process.shows("publish  ")
    await process.shows("order.shipped")
    return process.shown if isinstance(process, Terminal) else process.out


async def pastes_work(clone, shown):
    """Connect and publish with the lines of the greeting."""
    client = Piped(
        ["sh", "-c", f"exec env {line_of(shown, 'connect')} --json"], cwd=clone.folder, environ=clone.another_shell()
    )
    async with client:
        await client.shows("welcome")
        done = await clone.paste(line_of(shown, "publish"))
        assert done.status == 0, done.err
        await client.shows('"type":"order.shipped"')
        assert json.loads(client.lines()[-1])["id"] == done.out.strip()


async def test_it_greets_with_what_comes_next(clone):
    async with clone.make_run() as terminal:
        shown = await greeted(terminal)
        assert line_of(shown, "WebSocket") == clone.url
        assert line_of(shown, "Health") == clone.url.replace("ws:", "http:").replace("/ws", "/health")
        assert line_of(shown, "Console") == f"http://127.0.0.1:{clone.http_port}/console"
        assert line_of(shown, "Token") == "of user 42, for 24 h:"
        assert line_of(shown, "connect") == ".venv/bin/python -m gateway connect --user 42"
        assert line_of(shown, "publish") == """.venv/bin/python -m publisher user:42 order.shipped '{"order": 7}'"""
        assert "\x1b[1;32mTidegate serves" in terminal.painted
        token = shown.replace("\n", "").partition("for 24 h:  ")[2].partition("  ")[0]
        async with connected(clone, token=token) as client:
            assert client.welcome["user_id"] == "42"
        await pastes_work(clone, shown)


async def test_ctrl_c_stops_everything(clone):
    async with clone.make_run() as terminal:
        await greeted(terminal)
        assert clone.server_answers
        async with connected(clone, token=(await clone.paste(".venv/bin/python -m gateway token")).out.strip()):
            terminal.press(CTRL_C)
            assert await terminal.ended() == 130  # make ends as what interrupted it
        assert "Traceback" not in terminal.shown
        assert "***" not in terminal.shown  # nor has make anything to complain of
    assert not clone.server_answers
    assert clone.left_behind() == []


async def test_ctrl_c_during_the_start_stops_everything(clone):
    async with clone.make_run() as terminal:
        await wait_until(lambda: clone.server_answers)
        terminal.press(CTRL_C)
        assert await terminal.ended() == 130
        assert "Traceback" not in terminal.shown
    assert not clone.server_answers


async def test_the_second_start_takes_less_than_two_seconds(clone):
    times = []
    imports = []
    for _ in range(4):
        began = time.monotonic()
        assert (await clone.paste(".venv/bin/python -c 'import gateway.app'")).status == 0
        imports.append(time.monotonic() - began)
        began = time.monotonic()
        async with clone.make_run() as terminal:
            await greeted(terminal)
            times.append(time.monotonic() - began)
            terminal.press(CTRL_C)
            await terminal.ended()
    assert min(times[1:]) < max(2, 3 * min(imports)), (times, imports)  # the latter on a slow machine


async def test_the_log_is_there_after_a_restart(clone):
    async with clone.make_run() as terminal:
        await greeted(terminal)
        event_id = (await clone.paste(".venv/bin/python -m publisher user:42 e 1")).out.strip()
        terminal.press(CTRL_C)
        await terminal.ended()
    async with clone.make_run() as terminal:
        await greeted(terminal)
        done = await clone.paste(f".venv/bin/python -m gateway explain {event_id} --user 42")
        assert "started only after the event" in done.out


async def test_what_a_killed_gateway_left_is_taken_over(clone):
    async with clone.serve() as first:
        await greeted(first)
        event_id = (await clone.paste(".venv/bin/python -m publisher user:42 e 1")).out.strip()
        first.signal(signal.SIGKILL)
        await first.ended()
    assert clone.server_answers
    async with clone.serve() as second:
        await greeted(second)
        done = await clone.paste(f".venv/bin/python -m gateway explain {event_id} --user 42")
        assert "started only after the event" in done.out
        second.signal(signal.SIGTERM)
        assert await second.ended() == 0
    assert not clone.server_answers
    assert clone.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_every_usual_signal_stops_it_in_order(clone, number):
    async with clone.serve() as gateway:
        await greeted(gateway)
        gateway.signal(number)
        assert await gateway.ended() == 0
    assert not clone.server_answers


async def test_a_second_signal_stops_it_at_once(clone):
    async with clone.serve(GATEWAY_SHUTDOWN__DRAIN_S="60") as gateway:
        await greeted(gateway)
        token = (await clone.paste(".venv/bin/python -m gateway token")).out.strip()
        async with asyncio.TaskGroup() as clients:
            for _ in range(70):  # over the 64 that are sent away together
                clients.create_task(_stay(clone, token))
            await gateway.shows("connection_opened", err=True)
            await wait_until(lambda: gateway.err.count("connection_opened") == 70)
            gateway.signal(signal.SIGTERM)
            await gateway.shows("stopping", err=True)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 1
        assert "stopped_at_once" in gateway.err
    assert not clone.server_answers


async def _stay(clone, token):
    async with connected(clone, token=token) as client:
        await client.closed()


async def test_two_gateways_share_the_server_and_the_last_one_stops_it(clone):
    other_port = str(free_port())
    other_http_port = str(free_port())
    async with (
        clone.serve() as first,
        clone.serve(GATEWAY_LISTEN__PORT=other_port, GATEWAY_HTTP__PORT=other_http_port) as second,
    ):
        await greeted(first)
        await greeted(second)
        first.signal(signal.SIGTERM)
        assert await first.ended() == 0
        assert clone.server_answers
        await pastes_work(clone, second.out)
        second.signal(signal.SIGTERM)
        assert await second.ended() == 0
    assert not clone.server_answers
    assert clone.left_behind() == []


async def test_a_port_in_use_is_said_in_one_line(clone, redis_url):
    async with GatewayProcess(redis_url, listen__port=clone.port), clone.serve() as gateway:
        assert await gateway.ended() == 1
    error = gateway.err.splitlines()[-1]
    assert error == f"gateway: listen.port: cannot listen on 127.0.0.1:{clone.port}: Address already in use"
    assert not clone.server_answers


async def test_it_uses_the_redis_that_it_is_given(clone, redis_url, redis_server):
    async with clone.make_run(GATEWAY_REDIS__URL=redis_url) as terminal:
        shown = await greeted(terminal)
        assert f"in dev mode, on {redis_url}." in shown
        assert f"-m publisher --redis {redis_url} user:42" in line_of(shown, "publish")
        assert not (clone.folder / ".tidegate" / "redis").exists()
        await pastes_work(clone, shown)
        terminal.press(CTRL_C)
        assert await terminal.ended() == 130
    with redis_server.client() as client:
        assert client.ping()


async def test_a_password_is_not_shown_and_the_lines_work_all_the_same(clone):
    with RedisServer() as server:
        with server.client() as client:
            client.config_set("requirepass", "hunter2")
        url = f"redis://:hunter2@127.0.0.1:{server.port}/0"
        async with clone.serve(GATEWAY_REDIS__URL=url, GATEWAY_AUTH__SECRET="s" * 40) as gateway:
            shown = await greeted(gateway)
            await pastes_work(clone, shown)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
        assert "hunter2" not in gateway.out + gateway.err
    assert clone.left_behind() == []


async def test_partitions_are_in_the_line_that_publishes(clone):
    async with clone.serve(GATEWAY_LOG__PARTITIONS="4") as gateway:
        shown = await greeted(gateway)
        assert "publisher --partitions 4 user:42" in line_of(shown, "publish")
        await pastes_work(clone, shown)


async def test_another_configuration_is_in_the_line_that_connects(clone):
    (clone.folder / "my dev.yaml").write_text("{mode: dev, state_dir: elsewhere}")
    async with clone.serve("-c", "my dev.yaml") as gateway:
        shown = await greeted(gateway)
        assert "connect -c 'my dev.yaml' --user 42" in line_of(shown, "connect")
        assert "publisher --redis unix://" in line_of(shown, "publish")
        await pastes_work(clone, shown)


async def test_a_state_folder_from_the_environment_is_in_the_line_too(clone):
    async with clone.serve(GATEWAY_STATE_DIR="else where") as gateway:
        shown = await greeted(gateway)
        assert line_of(shown, "connect").startswith("GATEWAY_STATE_DIR='else where' ")
        await pastes_work(clone, shown)


async def test_a_deep_folder_is_no_obstacle(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    clone = Clone(deep)
    for _ in range(2):
        async with clone.serve() as gateway:
            shown = await greeted(gateway)
            socket = (deep / ".tidegate" / "redis.sock").resolve()
            await pastes_work(clone, shown)
            gateway.signal(signal.SIGTERM)
            assert await gateway.ended() == 0
    assert not socket.parent.exists()


async def test_dev_mode_listens_on_loopback_only(clone):
    async with clone.serve(GATEWAY_LISTEN__HOST="0.0.0.0") as gateway:
        assert await gateway.ended() == 1
    assert gateway.err.startswith("gateway: listen.host: dev mode listens on a loopback address only")
    assert not (clone.folder / ".tidegate").exists()


async def test_what_it_keeps_is_for_its_owner_only(clone):
    async with clone.serve() as gateway:
        await greeted(gateway)
        state = clone.folder / ".tidegate"
        kept = [state / "secret", state / "redis.sock", *(state / "running").iterdir()]
        assert len(kept) == 4
        assert [path.stat().st_mode & 0o077 for path in kept] == [0, 0, 0, 0]


async def test_production_greets_nobody(redis_url):
    async with GatewayProcess(redis_url) as gateway:
        assert "Token" not in gateway.log


async def test_without_a_python_make_says_what_it_needs(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = await run(["make", "run", "PYTHON="], cwd=tmp_path, environ=clean_environment())
    assert done.status == 2
    assert "Tidegate needs Python 3.11 or newer" in done.out
    assert not (tmp_path / ".venv").exists()


def test_make_alone_lists_the_targets():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make run" in done.stdout
