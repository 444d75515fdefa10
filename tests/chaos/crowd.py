"""
Many clients that stay: whoever loses its connection comes back with its cursor, as a well-behaved application does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

import orjson

from tests.chaos.client import Client, Seen, narrow_socket
from tests.chaos.ledger import Ledger, Record, Tally, judge_all
from tests.support.gateway import make_token
from tests.support.waiting import wait_until

EVENT = "tick"

_CONNECT_TIMEOUT_S = 10.0
_PAUSE_S = (0.05, 0.25)
_TOKEN_LIFE_S = 86_000
_AT_ONCE = 200


class Crowd:
    """
    Clients numbered from 0.

    Attributes:
        clients: All of them.
        ledgers: Those of the producers whose events they receive, by the producer's name.
        known: What a frame says, by its bytes: made once for all clients.
        resumed_in: How long each return took, from the end of the old connection to the `welcome`, in seconds.
        drops: Connections that ended after a `welcome`.
        refusals: HTTP answers that were no upgrade, by status.
        close_codes: Those that the server gave.
        is_due: Whether a client is to have a producer's events.
        is_sampled: Whether a client's latencies count.
        samples: Where the latencies of events go, in seconds; None: they are not measured.
        told: When each client last had a `resync`, by its index.
    """

    def __init__(
        self,
        ports: Sequence[int],
        count: int,
        ledgers: Sequence[Ledger],
        *,
        rng: random.Random,
        port_of: Callable[[int, int], int] | None = None,
        spread: bool = False,
        groups_of: Callable[[int], list[str]] | None = None,
        narrow: Callable[[int], bool] = lambda _: False,
        jitter: bool = True,
    ) -> None:
        """
        Args:
            ports: Of the gateways.
            port_of: Which of them a client (its index, its number of tries) goes to; else one after the other.
            spread: Come from as many addresses of 127/8 as there are clients, up to 250 networks: for `ip_hash`.
            groups_of: The groups in a client's token.
            narrow: Which clients have sockets that hold little.
            jitter: Wait for a moment before coming back.
        """
        self.ledgers = ledgers
        self.known: dict[bytes, Seen] = {}
        self.resumed_in = array("d")
        self.drops = 0
        self.refusals: Counter[int] = Counter()
        self.close_codes: Counter[int] = Counter()
        self.samples: array[float] | None = None
        self.told: dict[int, float] = {}
        self.staying = True
        self.errors: list[BaseException] = []
        self.is_sampled: Callable[[Client], bool] = lambda _: True
        self.is_due: Callable[[Client, Ledger], bool] = lambda _client, _ledger: True
        self._ids: dict[tuple[int, int], str] = {}
        self._rng = rng
        self._ports = list(ports)
        self._port_of = port_of or (lambda index, tries: self._ports[(index + tries) % len(self._ports)])
        self._spread = spread
        self._narrow = narrow
        self._jitter = jitter
        self._tasks: set[asyncio.Task[None]] = set()
        self.clients = [self._client(index, groups_of) for index in range(count)]

    def _client(self, index: int, groups_of: Callable[[int], list[str]] | None) -> Client:
        groups = groups_of(index) if groups_of is not None else None
        return Client(self, index, make_token(f"u{index}", ttl_s=_TOKEN_LIFE_S, groups=groups), len(self.ledgers))

    @property
    def inside(self) -> int:
        """How many are connected and were let in."""
        return sum(client.welcomed for client in self.clients)

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.staying = False
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            client.drop()
        await asyncio.sleep(0)

    async def open(self, *, at_once: int = _AT_ONCE, timeout_s: float = 60) -> None:
        """Let everybody in."""
        gate = asyncio.Semaphore(at_once)

        async def enter(client: Client) -> None:
            async with gate:
                await self._enter(client)

        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            for client in self.clients:
                if not client.welcomed:
                    group.create_task(enter(client))

    async def everybody_in(self, timeout_s: float = 30) -> None:
        """
        Wait until all are connected.

        Raises:
            AssertionError: Some are not; the message says what became of them.
        """
        try:
            await wait_until(lambda: self.errors or self.inside == len(self.clients), timeout_s)
        except AssertionError:
            raise AssertionError(f"not everybody is in after {timeout_s} s: {self._outside()}") from None
        if self.errors:
            raise self.errors[0]

    async def settled(self, timeout_s: float = 30, *, but: Callable[[Client], bool] = lambda _: False) -> bool:
        """Wait until everybody has the newest acknowledged event of each producer; tell whether they have."""
        newest = [ledger.last_acknowledged() for ledger in self.ledgers]

        def complete(client: Client) -> bool:
            return all(
                client.records[ledger.name].last >= last
                for ledger, last in zip(self.ledgers, newest, strict=True)
                if self.is_due(client, ledger)
            )

        with contextlib.suppress(AssertionError):
            await wait_until(lambda: all(complete(client) for client in self.clients if not but(client)), timeout_s)
            return True
        return False

    def _outside(self) -> str:
        outside = [client for client in self.clients if not client.welcomed]
        refused = Counter(client.refusal for client in outside)
        return f"{len(outside)} outside, answers {dict(refused)}, {len(self._tasks)} on their way"

    def records(self, ledger: Ledger) -> list[Record]:
        """Return what everybody had of one producer whose events they are to have."""
        return [client.records[ledger.name] for client in self.clients if self.is_due(client, ledger)]

    def tally(self) -> Tally:
        """Return the check of everything against everybody."""
        total = Tally()
        for ledger in self.ledgers:
            total += judge_all(self.records(ledger), ledger)
        return total

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncIterator[array[float]]:
        """Collect latencies for as long as the context lasts."""
        self.samples = samples = array("d")
        try:
            yield samples
        finally:
            self.samples = None

    # What clients call.

    def learn(self, client: Client, payload: bytes) -> Seen | None:
        """Read a frame that nobody had yet; return the event that it is, or let the client obey."""
        frame = orjson.loads(payload)
        if frame["type"] != EVENT or "id" not in frame:
            client.told(frame)
            return None
        place = (frame["data"]["p"], frame["data"]["n"])
        first = self._ids.setdefault(place, frame["id"])
        seen = self.known[payload] = Seen(*place, frame["id"], first == frame["id"])
        return seen

    def lost(self, client: Client, was_in: bool) -> None:
        """A connection has ended."""
        if client.refusal:
            self.refusals[client.refusal] += 1
        if client.close_code:
            self.close_codes[client.close_code] += 1
        if was_in:
            self.drops += 1
            if self.staying:
                self._start(client)

    def resynced(self, client: Client, _reason: str) -> None:
        """A client was told of a gap."""
        self.told[client.index] = time.monotonic()

    def _start(self, client: Client) -> None:
        task = asyncio.create_task(self._return(client, client.down_at), name="return")
        self._tasks.add(task)
        task.add_done_callback(self._returned)

    def _returned(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _return(self, client: Client, down_at: float) -> None:
        if client.reconnect_in_s is not None:
            await asyncio.sleep(client.reconnect_in_s)
        elif self._jitter:
            await asyncio.sleep(self._rng.uniform(0, _PAUSE_S[0]))
        await self._enter(client)
        self.resumed_in.append(time.monotonic() - down_at)

    async def _enter(self, client: Client) -> None:
        """Try until it is let in."""
        tries = 0
        while not await self._try(client, tries):
            tries += 1
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))

    async def _try(self, client: Client, tries: int) -> bool:
        loop = asyncio.get_running_loop()
        client.begin(loop)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._connect(client, self._port_of(client.index, tries))
                return await client.turn
        except OSError:  # TimeoutError, too
            client.drop()
            return False

    async def _connect(self, client: Client, port: int) -> None:
        loop = asyncio.get_running_loop()
        if self._narrow(client.index):
            narrow = narrow_socket()
            await loop.sock_connect(narrow, ("127.0.0.1", port))
            await loop.create_connection(lambda: client, sock=narrow)
        else:
            local = (f"127.{1 + client.index % 250}.{client.index // 250 % 250}.1", 0) if self._spread else None
            await loop.create_connection(lambda: client, "127.0.0.1", port, local_addr=local)
