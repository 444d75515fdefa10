"""
`gateway bench`: a small load test against a gateway that runs, for who wants to know what this machine does.

Clients in one process connect, events are published through Redis, and what arrives is counted. Everything happens in a
tenant of its own, so that nobody else gets any of it; but it is the real log that is written to.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.store.connection import REDIS_ERRORS
from gateway.terminal.addresses import websocket_url
from gateway.terminal.bench_client import EVENT, BenchClient, Tally, connect_all
from gateway.terminal.quantities import duration, number, plural, size
from gateway.terminal.redis_tool import unreachable
from gateway.terminal.style import Style, style_for, table
from gateway.terminal.token import TokenOptions, make_token
from publisher import Event, Publisher, PublishError, make_event

_TENANT: Final = "gateway-bench"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_TICK_S: Final = 0.005
_BATCH: Final = 200
_IN_FLIGHT: Final = 1_000  # events that may be on the way when saturated
_DRAIN_S: Final = 15.0
_QUIET_S: Final = 5.0
_SPARE_FILES: Final = 64
_LEAST_BYTES: Final = 60


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """
    What is to be measured; see `gateway bench --help`.

    Attributes:
        rate: Events a second; 0: as fast as they arrive.
        each: Every event is for one client, in turn, not for all.
    """

    clients: int
    rate: float
    seconds: float
    data_bytes: int
    each: bool
    url: str | None
    as_json: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. Latencies are from the call that publishes to the receipt, None where saturated."""

    url: str
    clients: int
    connect_s: float
    connects_per_s: float
    events: int
    events_per_s: float
    expected: int
    deliveries: int
    deliveries_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    lost_connections: int
    same_machine: bool
    cores: int

    @property
    def complete(self) -> bool:
        """Whether everything arrived."""
        return self.deliveries == self.expected and not self.lost_connections


def bench(settings: Settings, options: BenchOptions) -> int:
    """
    Measure and print; return 1 where something did not arrive.

    Raises:
        ConfigError: The gateway or Redis cannot be reached, or there are too few file descriptors.
    """
    _make_room(options.clients)
    result = _runner().run(_measure(settings, options))
    if options.as_json:
        print(orjson.dumps(asdict(result), option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n".join(_lines(result, options, style_for(sys.stdout))))
    return 0 if result.complete else 1


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _make_room(clients: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = clients + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError("--clients", f"the open file limit, {number(hard)}, has no room for {number(clients)}")
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


# Measuring.


async def _measure(settings: Settings, options: BenchOptions) -> Result:
    url = options.url or websocket_url(settings)
    tally = Tally(timed=bool(options.rate))
    load = _Load(settings, options, tally)
    progress = asyncio.create_task(_show_progress(load))
    clients: list[BenchClient] = []
    try:
        began = time.perf_counter()
        clients = await _connected(url, load, tally)
        connect_s = time.perf_counter() - began
        spent_s = await load.run()
        return _result(url, load, connect_s=connect_s, spent_s=spent_s)
    finally:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)
        for client in clients:
            client.leave()


async def _connected(url: str, load: _Load, tally: Tally) -> list[BenchClient]:
    try:
        return await connect_all(url, load.tokens(), tally)
    except ValueError:
        raise ConfigError("--url", f"{url!r:.200} is not a WebSocket address") from None
    except (OSError, TimeoutError) as error:
        raise ConfigError(
            "--url", f"the clients cannot connect to {url}: {str(error) or 'no answer in time'}"
        ) from None


class _Load:
    """The events: what they are, how fast they go, and when all have arrived."""

    def __init__(self, settings: Settings, options: BenchOptions, tally: Tally) -> None:
        self._settings = settings
        self._run_id = secrets.token_hex(4)
        self.options = options
        self.tally = tally
        self.sent = 0
        self.phase = "connecting"

    def tokens(self) -> list[str]:
        """Return a token for each client; all are in one group, which no other run shares."""
        ttl = min(3_600.0, self._settings.auth.max_lifetime_s)
        return [
            make_token(self._settings, TokenOptions(user=self._user(n), tenant=_TENANT, group=[self._run_id], ttl=ttl))
            for n in range(self.options.clients)
        ]

    @property
    def expected(self) -> int:
        """How many deliveries what was sent should make."""
        return self.sent * (1 if self.options.each else self.options.clients)

    async def run(self) -> float:
        """Publish and wait until all has arrived; return the seconds from the first publish to the last receipt."""
        log = self._settings.log
        self.phase = "publishing"
        try:
            async with Publisher(self._settings.redis_url, partitions=log.partitions, maxlen=log.maxlen) as publisher:
                began = time.perf_counter()
                await (self._paced(publisher, began) if self.options.rate else self._saturated(publisher, began))
            self.phase = "waiting for the rest"
            await self._drained()
        except PublishError as error:
            raise ConfigError("bench", f"an event could not be published: {error}") from None
        except REDIS_ERRORS as error:
            raise unreachable(self._settings, error) from None
        return max(1e-9, self.tally.last - began)

    async def _paced(self, publisher: Publisher, began: float) -> None:
        total = max(1, round(self.options.rate * self.options.seconds))
        under_way: set[asyncio.Future[str]] = set()
        while self.sent < total:
            due = min(total, math.ceil((time.perf_counter() - began) * self.options.rate))
            while self.sent < due:
                under_way.add(publisher.submit(self._event()))
            await asyncio.sleep(_TICK_S)
            for done in [one for one in under_way if one.done()]:
                under_way.discard(done)
                done.result()
        await asyncio.gather(*under_way)

    async def _saturated(self, publisher: Publisher, began: float) -> None:
        per_event = 1 if self.options.each else self.options.clients
        while time.perf_counter() - began < self.options.seconds:
            if self.sent - self.tally.delivered // per_event > _IN_FLIGHT and not self.tally.lost:
                await asyncio.sleep(0.001)
                continue
            await publisher.publish_many([self._event() for _ in range(_BATCH)])

    async def _drained(self) -> None:
        """Wait until everything is there, or nothing comes any more."""
        deadline = time.perf_counter() + _DRAIN_S
        seen, quiet_since = -1, time.perf_counter()
        while self.tally.delivered < self.expected and time.perf_counter() < deadline:
            if self.tally.delivered != seen:
                seen, quiet_since = self.tally.delivered, time.perf_counter()
            elif time.perf_counter() - quiet_since > _QUIET_S:
                return
            await asyncio.sleep(_TICK_S)

    def _event(self) -> Event:
        number_, self.sent = self.sent, self.sent + 1
        to = f"user:{self._user(number_ % self.options.clients)}" if self.options.each else f"group:{self._run_id}"
        padding = "x" * max(0, self.options.data_bytes - _LEAST_BYTES)
        data = {"sent_at": time.perf_counter_ns(), "n": number_, "padding": padding}
        return make_event(EVENT, data, to=to, tenant=_TENANT)

    def _user(self, index: int) -> str:
        return f"{self._run_id}-{index}"


def _result(url: str, load: _Load, *, connect_s: float, spent_s: float) -> Result:
    tally, options = load.tally, load.options
    latencies = sorted(tally.latencies_us)

    def percentile(share: float) -> float | None:
        return round(latencies[min(len(latencies) - 1, int(share * len(latencies)))] / 1000, 3) if latencies else None

    return Result(
        url=url,
        clients=options.clients,
        connect_s=round(connect_s, 3),
        connects_per_s=round(options.clients / connect_s, 1),
        events=load.sent,
        events_per_s=round(load.sent / spent_s, 1),
        expected=load.expected,
        deliveries=tally.delivered,
        deliveries_per_s=round(tally.delivered / spent_s, 1),
        p50_ms=percentile(0.5),
        p99_ms=percentile(0.99),
        max_ms=percentile(1.0),
        lost_connections=tally.lost,
        same_machine=urlsplit(url).hostname in _LOOPBACK,
        cores=os.cpu_count() or 1,
    )


# Printing.


async def _show_progress(load: _Load) -> None:
    """Tell a terminal how far it is, on one line that goes away; pipes are not told."""
    if not sys.stderr.isatty():
        return
    began = time.perf_counter()
    try:
        while True:
            counts = f"{plural(load.sent, 'event')}, {number(load.tally.delivered)} delivered"
            text = f"· {load.phase} … {duration(time.perf_counter() - began)}, {counts}"
            print(f"\r\x1b[2K{style_for(sys.stderr)(text, 'dim')}", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(0.2)
    finally:
        with contextlib.suppress(BrokenPipeError):
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _lines(result: Result, options: BenchOptions, style: Style) -> Iterator[str]:
    pace = f"{options.rate:g} events/s" if options.rate else "as many events as arrive"
    whom = "each for one of them" if options.each else "each for all of them"
    yield style(f"{plural(result.clients, 'client')} on {result.url}", "bold")
    yield f"{pace}, {whom}, {size(options.data_bytes)} of data, for {duration(options.seconds)}"
    yield ""
    rows: list[tuple[str, ...]] = [
        tuple(style(heading, "dim") for heading in ("", "COUNT", "PER SECOND")),
        ("connects", number(result.clients), number(round(result.connects_per_s))),
        ("events", number(result.events), number(round(result.events_per_s))),
        ("deliveries", number(result.deliveries), number(round(result.deliveries_per_s))),
    ]
    yield from table(rows, right=frozenset((1, 2)))
    yield ""
    yield _latency(result, style)
    if not result.complete:
        missing = result.expected - result.deliveries
        lost = plural(result.lost_connections, "connection")
        yield style(f"{number(missing)} of {number(result.expected)} deliveries missing; {lost} lost", "red")
    yield ""
    yield style(_caveat(result), "dim")


def _latency(result: Result, style: Style) -> str:
    if result.p50_ms is None:
        return style("latency is not measured when saturated: use --rate", "dim")
    found = (("p50", result.p50_ms), ("p99", result.p99_ms), ("max", result.max_ms))
    return "latency     " + "   ".join(f"{style(name, 'dim')} {_ms(value)}" for name, value in found)


def _ms(value: Any) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def _caveat(result: Result) -> str:
    if result.same_machine:
        return (
            "All of it ran on this machine: clients, publisher, gateway and Redis share "
            f"{plural(result.cores, 'core')}. A gateway that has a core to itself does more."
        )
    return "The clients are one process on this machine: they, or the network, may be the limit and not the gateway."
