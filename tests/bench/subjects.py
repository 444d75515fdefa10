"""
The subjects: a Tidegate gateway, the hand-written hub (a) and the limit (b), each in a process of its own.
"""

from __future__ import annotations

import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import BenchError, Child
from tests.bench.tools import Tools

READY_TIMEOUT_S = 20.0
POLL_S = 0.02
NO_DATABASE = -1
SECRET = "a-secret-of-the-benchmark-and-of-nothing-else"


@dataclass(frozen=True, slots=True)
class Subject:
    """One server under test: its process, its port, and the Redis database that it reads."""

    name: str
    child: Child
    port: int
    database: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What a subject is started into.

    Attributes:
        folder: For logs and templates; deleted at the end.
        redis_path: The unix socket of the bench's Redis.
        tools: The native programs.
        subject_core, other_cores: Where subjects run, and where everything else does.
    """

    folder: Path
    redis_path: Path
    tools: Tools
    subject_core: set[int]
    other_cores: set[int]


def start_gateway(place: Surroundings, stack: ExitStack, *, database: int) -> Subject:
    """Start one Tidegate instance with production settings, but for the rate limit."""
    port, http_port = free_port(), free_port()
    env = {
        "GATEWAY_REDIS__URL": f"unix://{place.redis_path}?db={database}",
        "GATEWAY_AUTH__SECRET": SECRET,
        "GATEWAY_LISTEN__HOST": "127.0.0.1",
        "GATEWAY_LISTEN__PORT": str(port),
        "GATEWAY_HTTP__PORT": str(http_port),
        "GATEWAY_INSTANCE__ID": "bench",
        "GATEWAY_LIMITS__MESSAGES_PER_S": "1000000",
        "GATEWAY_LIMITS__MESSAGES_BURST": "1000000",
        # Its sockets are many and gone at once; nobody is there to be sent away gently.
        "GATEWAY_SHUTDOWN__DRAIN_S": "0",
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    return _start("gateway", command, port, database, place=place, stack=stack, env=env)


def start_hub(place: Surroundings, stack: ExitStack, *, database: int, loop: str, ack: str) -> Subject:
    """Start the hand-written hub on an event loop, `asyncio` or `uvloop`, with XACKs or without."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.handwritten_hub", "--loop", loop, "--ack", ack]
    command += [
        "--redis",
        f"unix://{place.redis_path}?db={database}",
        "--port",
        str(port),
        "--secret",
        SECRET,
    ]
    return _start("hub", command, port, database, place=place, stack=stack, env={})


def start_limit(place: Surroundings, stack: ExitStack, frame: bytes) -> Subject:
    """Start the program that does nothing but send this frame."""
    template = place.folder / "frame.json"
    template.write_bytes(frame)
    child = Child(
        "limit",
        [*place.tools.limit, template],
        cores=place.subject_core,
        log=place.folder / "limit.log",
    )
    stack.callback(child.stop)
    return Subject("limit", child, child.hear("ready", READY_TIMEOUT_S)["port"], NO_DATABASE)


def _start(
    name: str,
    command: list[str],
    port: int,
    database: int,
    *,
    place: Surroundings,
    stack: ExitStack,
    env: dict[str, str],
) -> Subject:
    child = Child(name, command, cores=place.subject_core, log=place.folder / f"{name}.log", env=env)
    stack.callback(child.stop)
    wait_ready(child, port)
    return Subject(name, child, port, database)


def wait_ready(child: Child, port: int) -> None:
    """Wait until GET /ready answers 200."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.ended():
            raise BenchError(f"{child.name} ended before it was ready: {child.last_words()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    raise BenchError(f"{child.name} was not ready within {READY_TIMEOUT_S:.0f} s: {child.last_words()}")


def free_port() -> int:
    """Return a TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
