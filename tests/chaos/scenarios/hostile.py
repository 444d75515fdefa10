"""Peers that only take up room: floods beyond the open files, drips, black holes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator

from tests.chaos.crowd import Crowd
from tests.chaos.lab import (
    SETTINGS,
    Lab,
    Scenario,
    gateways,
    open_files,
    processor_s,
    quantile,
    start,
)
from tests.chaos.report import Outcome
from tests.support.gateway import GatewayProcess, make_token
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

_FILES = 256
_FLOOD = 400
_DRIPS = 1_000
_HOLES = 5_000
_SPARE_FILES = 40
_PROBE_EVERY_S = 0.1
_PROBE_TIMEOUT_S = 10.0  # how long it took is judged by itself
_FIRST_S = 3.0
_QUIET_LINES_PER_S = 2.0


async def exhausted_files(lab: Lab, outcome: Outcome) -> None:
    """
    Take every file descriptor of a gateway.

    Two of them: one knows its limit of 256 from the start, from the other files are taken away while it runs, so that
    accept(2) fails with EMFILE.
    """
    with RedisServer() as server:
        aware = GatewayProcess(server.url, open_files=_FILES, **SETTINGS)
        unaware = GatewayProcess(server.url, **SETTINGS)
        try:
            await asyncio.gather(start(aware), start(unaware))
            files = open_files(unaware.pid) + _SPARE_FILES
            resource.prlimit(unaware.pid, resource.RLIMIT_NOFILE, (files, files))
            await asyncio.gather(
                _flooded(aware, f"ulimit {_FILES}", outcome, lab), _flooded(unaware, "EMFILE", outcome, lab)
            )
        finally:
            for gateway in (aware, unaware):
                await gateway.remove()


async def _flooded(gateway: GatewayProcess, name: str, outcome: Outcome, lab: Lab) -> None:
    """Open connections that say nothing; look at what becomes of others, meanwhile and afterwards."""
    files, lines, spent = open_files(gateway.pid), _lines(gateway), processor_s(gateway.pid)
    began = time.monotonic()
    lab.say("a flood of silent connections")
    async with _silent(gateway.port, _FLOOD):
        async with _probing(gateway.port) as first:
            await asyncio.sleep(_FIRST_S)  # every place is taken by peers that might yet speak
        async with _probing(gateway.port) as meanwhile:
            await asyncio.sleep(3)
        await wait_until(lambda: open_files(gateway.pid) <= files + 2, 60)
        reaped_s = time.monotonic() - began
        async with _probing(gateway.port) as afterwards:
            await asyncio.sleep(2)
    await wait_until(lambda: open_files(gateway.pid) <= files + 2, 20)
    seconds = time.monotonic() - began
    outcome.count(**{f"{name}:_answers_at_first": dict(first.answers)})
    outcome.count(**{f"{name}:_answers_in_the_flood": dict(meanwhile.answers)})
    outcome.count(**{f"{name}:_processor_s": round(processor_s(gateway.pid) - spent, 1)})
    outcome.require(f"{name}: reaped after", reaped_s, at_most=65, unit=" s")
    outcome.require(f"{name}: connects p99", meanwhile.p99_s, at_most=1, unit=" s")
    outcome.require_zero(
        **{f"{name}:_refused": sum(meanwhile.answers.values()) - meanwhile.answers[101]},
    )
    outcome.require(f"{name}: then connects p99", afterwards.p99_s, at_most=1, unit=" s")
    outcome.require_zero(
        **{
            f"{name}:_then_refused": sum(afterwards.answers.values()) - afterwards.answers[101],
            f"{name}:_files_leaked": max(0, open_files(gateway.pid) - files - 2),
        }
    )
    written = _lines(gateway) - lines
    outcome.require(f"{name}: log lines", written, at_least=1)
    outcome.require(f"{name}: log lines a second", written / seconds, at_most=_QUIET_LINES_PER_S)


async def vanished_peers(lab: Lab, outcome: Outcome) -> None:
    """1,000 handshakes a byte at a time, and 5,000 clients whose network swallows everything; legitimate ones come."""
    heartbeat = lab.pick({"heartbeat__ping_interval_s": 5, "heartbeat__timeout_s": 12}, {})
    timeout_s = heartbeat.get("heartbeat__timeout_s", 60)
    with RedisServer() as server:
        async with (
            gateways([server.url], **heartbeat) as (gateway,),
            Crowd([gateway.port], _HOLES, [], rng=lab.rng) as crowd,
        ):
            files, lines = open_files(gateway.pid), _lines(gateway)
            lab.say(f"{_HOLES} clients connect")
            await crowd.open()
            crowd.staying = False
            lab.say("their network swallows everything")
            async with _probing(gateway.port) as probes:
                for client in crowd.clients:
                    swallow_everything(client.transport.get_extra_info("socket").fileno())
                began = time.monotonic()
                async with _drips(gateway.port) as dripped:
                    with contextlib.suppress(AssertionError):
                        await wait_until(lambda: open_files(gateway.pid) <= files + 10, timeout_s + 30)
                    reaped_s = time.monotonic() - began
            await wait_until(lambda: open_files(gateway.pid) <= files + 2, 20)
            outcome.count(drips=_DRIPS, drips_cut_off=dripped.cut_off, black_holes=_HOLES)
            outcome.count(legitimate=sum(probes.answers.values()), heartbeat_timeout_s=timeout_s)
            outcome.require("connects p99", probes.p99_s, at_most=1, unit=" s")
            outcome.require_zero(refused=sum(probes.answers.values()) - probes.answers[101])
            outcome.require("all reaped after", reaped_s, at_most=timeout_s + 5, unit=" s")
            outcome.require("drips cut off", dripped.cut_off, at_least=_DRIPS)
            outcome.require_zero(files_leaked=max(0, open_files(gateway.pid) - files - 2))
            seconds = time.monotonic() - began
            outcome.require("other log lines a second", (_lines(gateway) - lines) / seconds, at_most=2)


class _Probes:
    """Legitimate clients: how long they took to be let in, and what they were answered."""

    def __init__(self) -> None:
        self.took = array("d")
        self.answers: Counter[int] = Counter()

    @property
    def p99_s(self) -> float:
        """Of all but the slowest two: a busy machine may stand still, once for each of the two processes."""
        return quantile(sorted(self.took)[:-2], 0.99)


@contextlib.asynccontextmanager
async def _probing(port: int) -> AsyncIterator[_Probes]:
    """Let one client after the other connect, for as long as the context lasts."""
    probes = _Probes()
    task = asyncio.create_task(_probe_on(port, probes), name="probe")
    try:
        yield probes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _probe_on(port: int, probes: _Probes) -> None:
    token = make_token("probe", ttl_s=80_000)
    while True:
        began = time.monotonic()
        probes.answers[await _probe(port, token)] += 1
        probes.took.append(time.monotonic() - began)
        await asyncio.sleep(_PROBE_EVERY_S)


async def _probe(port: int, token: str) -> int:
    """Connect; return the status of the answer, 0 where there was none in time."""
    writer = None
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            line = await reader.readline()
            return int(line.split()[1]) if line else 0
    except OSError:
        return 0
    finally:
        if writer is not None:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def _silent(port: int, count: int) -> AsyncIterator[None]:
    """Hold connections that say nothing."""
    sockets = []
    try:
        for _ in range(count):
            each = socket.socket()
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(("127.0.0.1", port))
            sockets.append(each)
        yield
    finally:
        for each in sockets:
            each.close()


class _Dripped(asyncio.Protocol):
    """How many handshakes that came by the byte the gateway has cut off."""

    def __init__(self) -> None:
        self.cut_off = 0

    def connection_lost(self, _exc: Exception | None) -> None:
        self.cut_off += 1


@contextlib.asynccontextmanager
async def _drips(port: int) -> AsyncIterator[_Dripped]:
    """Send requests a byte at a time over many connections, for as long as the context lasts."""
    dripped = _Dripped()
    loop = asyncio.get_running_loop()
    transports = [(await loop.create_connection(lambda: dripped, "127.0.0.1", port))[0] for _ in range(_DRIPS)]
    task = asyncio.create_task(_drip(transports), name="drip")
    try:
        yield dripped
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cut_off = dripped.cut_off
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0.1)
        dripped.cut_off = cut_off


async def _drip(transports: list[asyncio.Transport]) -> None:
    for byte in b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 4_000:
        for transport in transports:
            if not transport.is_closing():
                transport.write(bytes([byte]))
        await asyncio.sleep(0.5)


def swallow_everything(file: int) -> None:
    """
    Make a black hole of a TCP socket: what comes for it is dropped before TCP sees it, so nothing is acknowledged.

    By a socket filter (socket(7), SO_ATTACH_FILTER) of one instruction: let zero bytes through.
    """
    nothing = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0), 8)  # BPF_RET | BPF_K
    program = struct.pack("HL", 1, ctypes.addressof(nothing))
    with socket.socket(fileno=os.dup(file)) as twin:
        twin.setsockopt(socket.SOL_SOCKET, 26, program)


def _lines(gateway: GatewayProcess) -> int:
    """Count the lines of a gateway's log besides the one when a connection opens and the one when it closes."""
    usual = ('"event":"connection_opened"', '"event":"connection_closed"')
    return sum(not any(event in line for event in usual) for line in gateway.log.splitlines())


SCENARIOS = (
    Scenario("emfile", "every file descriptor taken", exhausted_files),
    Scenario("vanished", "drip handshakes and black-holed peers", vanished_peers),
)
