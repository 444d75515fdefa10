"""
Real gateways for tests.

    async with running_gateway(redis_url, log__memory_entries=10) as gateway:      # in the test's own loop
        ... f"ws://127.0.0.1:{gateway.port}/ws?token={gateway.token('42')}"

    async with GatewayProcess(redis_url) as gateway:                               # `python -m gateway serve`
        gateway.kill()
        await gateway.start()                                                      # same id, same port

Settings are given as `section__name=value`; None stands for the gateway's own default. They start from
`TEST_SETTINGS`: a free port, a policy that allows everything, no time to drain. Every gateway has an instance id of
its own unless it is given one, and all share `SECRET`, so that one's tokens are good for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jwt

from gateway.app import Application
from gateway.services import Services
from gateway.settings import load
from publisher import Cursor
from tests.support.redis_server import free_port
from tests.support.waiting import wait_until

SECRET = "a-secret-of-the-tests-and-of-nobody-else-0123456789"

_OPEN = ({"allow": "anyone"},)

OPEN_POLICY = {
    f"policy__{action}": _OPEN
    for action in ("join_group", "send_to_group", "send_to_user", "subscribe", "add_tag", "see_online")
}
PRODUCTION_POLICY = dict.fromkeys(OPEN_POLICY)
TEST_SETTINGS: dict[str, Any] = {
    "listen__host": "127.0.0.1",
    "listen__port": 0,
    "http__port": 0,
    "auth__secret": SECRET,
    "shutdown__drain_s": 0,
    "ready__canary_interval_s": 0,  # the log holds what the test publishes, and nothing else
    **OPEN_POLICY,
}

_ROOT = Path(__file__).parents[2]
_numbers = itertools.count(1)
_starts = itertools.count(1)
_COLLECT_EVERY = 10  # starts


def make_token(user: str | int, *, ttl_s: float = 3_600, secret: str = SECRET, **claims: Any) -> str:
    """Return a token for a user; a claim given as None is left out."""
    now = time.time()
    stated = {"sub": str(user), "iat": int(now), "exp": now + ttl_s, **claims}
    return jwt.encode({name: value for name, value in stated.items() if value is not None}, secret, "HS256")


@dataclass
class RunningGateway:
    """
    One gateway in this process.

    Attributes:
        port: Where it listens.
        instance_id: Its name.
        application: The whole of it.
    """

    application: Application
    instance_id: str
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.application.port

    @property
    def services(self) -> Services:
        """What its connections work with."""
        return self.application.parts.services

    @property
    def url(self) -> str:
        """Its WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        """Its HTTP API."""
        return f"http://127.0.0.1:{self.application.http_port}"

    def token(self, user: str | int, **claims: Any) -> str:
        """Return a token that it accepts; see `make_token`."""
        return make_token(user, **claims)

    async def has_read(self, event_id: str) -> None:
        """Wait until it has delivered an event to those who are there: who comes from now on does not get it live."""
        event = Cursor.parse(event_id)
        partition = self.services.log.partitions[event.partition]
        await wait_until(lambda: partition.last >= (event.ms, event.n))


@contextlib.asynccontextmanager
async def running_gateway(redis_url: str, **settings: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway in this loop for as long as the context lasts."""
    chosen = _chosen(redis_url, settings)
    thresholds = gc.get_threshold()
    if next(_starts) % _COLLECT_EVERY == 0:
        gc.collect()
    gc.freeze()  # a gateway collects garbage as it starts: to look at all that pytest holds takes longer than the rest
    try:
        async with Application(load(**_sections(chosen))) as application:
            yield RunningGateway(application, chosen["instance__id"])
    finally:  # a gateway changes these for its whole process
        gc.unfreeze()
        gc.set_threshold(*thresholds)


class GatewayProcess:
    """
    One `python -m gateway serve`, started by `async with` or `start`, and certainly ended with the former.

    The port is free at the first start and stays the same at the later ones. `workers` above 1 starts that many
    instances behind it. `open_files` is its `ulimit -n`.
    """

    _command = "serve"
    _python = sys.executable
    _path = str(_ROOT)

    def __init__(self, redis_url: str, *, workers: int = 1, open_files: int | None = None, **settings: Any) -> None:
        self._settings = _chosen(redis_url, settings)
        if not self._settings["listen__port"]:  # the kernel's choice could be another's, once this one is killed
            self._settings["listen__port"] = free_port()
        self._workers = workers
        self._open_files = open_files
        self._folder = Path(tempfile.mkdtemp(prefix="tg-gateway-"))
        self._log_path = self._folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.instance_id: str = self._settings["instance__id"]

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._settings["listen__port"]
        return port

    @property
    def url(self) -> str:
        """Its WebSocket endpoint."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def http_url(self) -> str:
        """Its HTTP API."""
        return f"http://127.0.0.1:{self.log_events('listening')[-1]['http_port']}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    @property
    def runs(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything that it wrote, since the first start."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def log_events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of its log that report the event `name`."""
        complete, _, _ = self.log.rpartition("\n")  # one may just be written
        lines = [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def token(self, user: str | int, **claims: Any) -> str:
        """Return a token that it accepts; see `make_token`."""
        return make_token(user, **claims)

    async def start(self, *, timeout_s: float = 60, ready: bool = True) -> Self:
        """
        Start it, and wait until it is ready (with `ready=False`: until it listens).

        Raises:
            AssertionError: It ended, or took too long; the message has its log.
        """
        self.launch()
        wanted = {200} if ready else {200, 503}
        await wait_until(lambda: self._alive() and self._answers(wanted), timeout_s)
        return self

    def launch(self) -> None:
        """Start it and wait for nothing."""
        command = [self._python, "-m", "gateway", self._command]
        if self._workers > 1:
            command += ["--workers", str(self._workers)]
        if self._open_files is not None:
            command = ["prlimit", f"--nofile={self._open_files}", *command]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**environ, "PYTHONPATH": self._path, **_variables(self._settings)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> tuple[int, dict[str, Any]]:
        """Ask GET /ready: its status and what it says. Raises `OSError` where nobody listens."""
        return await http_get_json(self.port, "/ready")

    async def wait(self, timeout_s: float = 60) -> int:
        """Wait for its end; return the exit status."""
        process = self._running()
        await wait_until(lambda: process.poll() is not None, timeout_s)
        return process.returncode

    async def terminate(self, timeout_s: float = 60) -> int:
        """Ask it to stop (SIGTERM), and wait for its end; return the exit status."""
        self.signal(signal.SIGTERM)
        return await self.wait(timeout_s)

    def kill(self) -> None:
        """End it with SIGKILL, its workers too."""
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session, so its own group
        process.wait(10)

    def quit(self) -> None:
        """Kill it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def pause(self) -> None:
        """Freeze it."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running().send_signal(number)

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.remove()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self.remove()

    async def remove(self) -> None:
        """End it in whatever way it takes, and delete its folder."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            if self._workers > 1:  # its workers have sessions of their own: only it can stop them
                with contextlib.suppress(AssertionError):
                    await self.terminate(10)
            if self._process.poll() is None:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the gateway was not started"
        return self._process

    def _alive(self) -> bool:
        status = self._running().poll()
        assert status is None, f"the gateway ended with {status}:\n{self.log[-4000:]}"
        return True

    async def _answers(self, statuses: set[int]) -> bool:
        try:
            status, _ = await self.ready()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            return False
        return status in statuses


class ApiProcess(GatewayProcess):
    """One `python -m gateway api`."""

    _command = "api"

    @property
    def http_url(self) -> str:
        """Its HTTP API."""
        return f"http://127.0.0.1:{self.log_events('http_listening')[-1]['port']}"

    async def start(self, *, timeout_s: float = 60, ready: bool = True) -> Self:
        """Start it, and wait until it listens."""
        self.launch()
        await wait_until(lambda: self._alive() and self.log_events("http_listening"), timeout_s)
        return self


async def http_get_json(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """GET a path of 127.0.0.1; return the status and the JSON body. Raises `OSError` where there is no answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        async with asyncio.timeout(30):
            answer = await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not answer:  # it was on its way out
        raise ConnectionResetError("closed without an answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), json.loads(body)


def _chosen(redis_url: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {"redis__url": redis_url, "instance__id": f"test-{os.getpid()}-{next(_numbers)}"}
    return {**TEST_SETTINGS, **own, **settings}


def _sections(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `section__name` settings as the nested mapping that a YAML file would hold."""
    nested: dict[str, Any] = {}
    for path, value in settings.items():
        section, _, name = path.partition("__")
        if value is not None and name:
            nested.setdefault(section, {})[name] = value
        elif value is not None:  # `handlers`, which is in no section
            nested[section] = value
    return nested


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return `section__name` settings as environment variables."""
    return {
        f"GATEWAY_{path.upper()}": value if isinstance(value, str) else json.dumps(value)
        for path, value in settings.items()
        if value is not None
    }
