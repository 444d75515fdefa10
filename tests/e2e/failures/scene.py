"""What the tests of failures have in common: questions to a gateway, a publisher that knows what it was promised."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, Protocol

from publisher import Publisher, PublishError
from tests.support.clients import Client
from tests.support.gateway import RunningGateway, http_get_json
from tests.support.waiting import wait_until

EVENT = "tick"
PATIENCE_S = 20.0
"""Of a publisher that is to succeed, however slow the machine is."""


class Listening(Protocol):
    """A gateway, in this process or another."""

    @property
    def port(self) -> int:
        """Where it listens."""


async def unready(gateway: Listening) -> str:
    """Return what the gateway says is wrong; empty when it is ready."""
    status, body = await http_get_json(gateway.port, "/ready")
    assert (status == 200) == body["ready"] == (not body["reasons"])
    return "; ".join(body["reasons"])


async def unready_with(gateway: Listening, word: str, timeout: float = 30) -> None:
    """Wait until the gateway says that `word` is wrong."""

    async def says() -> bool:
        return word in await unready(gateway)

    await wait_until(says, timeout)


async def ready(gateway: Listening, timeout: float = 30) -> None:
    """Wait until nothing is wrong."""

    async def fine() -> bool:
        return not await unready(gateway)

    await wait_until(fine, timeout)


def hurry(gateway: RunningGateway, timeout_s: float) -> None:
    """
    Let the gateway's readers wait for no longer than this from now on.

    As the setting does, but not during the start, which fails where Redis is slower than that.
    """
    for consumer in gateway.application.parts.consumers:
        consumer._reader._timeout_s = timeout_s


async def compared(*gateways: RunningGateway) -> None:
    """Wait until the gateways have compared what they read with the stream, begun after this call."""
    for gateway in gateways:
        for consumer in gateway.application.parts.consumers:
            for _ in range(2):  # the first may have been under way
                before = consumer.health.looked_at
                await wait_until(lambda health=consumer.health, before=before: health.looked_at > before)


def ticks(client: Client) -> list[int]:
    """Return the numbers of the ticks that came, in order."""
    return [frame.data for frame in client.pushes if frame.type == EVENT]


def resyncs(client: Client) -> list[dict[str, Any]]:
    """Return what the client was told of gaps."""
    return [frame.data for frame in client.of_type("resync")]


async def told(*clients: Client, reason: str, within_s: float = 30.0) -> None:
    """Wait until each client has had a `resync`, its first, for `reason`."""
    await wait_until(lambda: all(resyncs(client) for client in clients), within_s)
    for client in clients:
        assert [resync["reason"] for resync in resyncs(client)] == [reason]


class Ticker:
    """
    Publishes numbered events, one after the other.

    Attributes:
        promised: The numbers of those that the publisher has acknowledged, in order.
        possible: Those whose fate is not known.
    """

    def __init__(self, tide: Publisher, to: str = "all") -> None:
        self.promised: list[int] = []
        self.possible: list[int] = []
        self._tide = tide
        self._to = to
        self._numbers = itertools.count(1)

    async def tick(self, count: int = 1) -> int:
        """Publish so many, in one pipeline; return the last one's number. Raises what `publish_many` raises."""
        numbers = list(itertools.islice(self._numbers, count))
        try:
            await self._tide.publish_many([{"event": EVENT, "data": number, "to": self._to} for number in numbers])
        except BaseException:  # cancelled, too
            self.possible += numbers
            raise
        self.promised += numbers
        return numbers[-1]

    @contextlib.asynccontextmanager
    async def going_on(self, pause_s: float = 0.005) -> AsyncIterator[None]:
        """Publish for as long as the context lasts, whatever happens."""
        task = asyncio.create_task(self._go_on(pause_s), name="ticker")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _go_on(self, pause_s: float) -> None:
        while True:
            with contextlib.suppress(PublishError):
                await self.tick()
            await asyncio.sleep(pause_s)

    def check(self, client: Client) -> None:
        """Fail unless the client has had everything that was promised, once, in order, and nothing unheard of."""
        got = ticks(client)
        assert got == sorted(set(got)), "twice, or not in order"
        assert set(self.promised) <= set(got), sorted(set(self.promised) - set(got))[:20]
        assert set(got) <= {*self.promised, *self.possible}

    async def reaches(self, client: Client) -> None:
        """Publish until one of the events reaches the client; return when it has had every one of them."""
        before = len(ticks(client))
        async with self.going_on(0.02):
            await wait_until(lambda: len(ticks(client)) > before)
        last = await self.tick()  # the log's order is that of delivery
        await wait_until(lambda: ticks(client)[-1] == last)
