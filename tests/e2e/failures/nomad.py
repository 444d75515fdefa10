"""A client that goes wherever it is served, as a well-behaved application does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import websockets

from tests.e2e.failures.scene import EVENT
from tests.support.clients import Client, Closed, Endpoint, Frame, connected
from tests.support.waiting import wait_until


class Nomad:
    """
    Connects to one of several gateways; upon the end of the connection, to the next, with its cursor.

    Attributes:
        visits: Its connections, the first one first.
        at: The number of the gateway that it goes to.
    """

    def __init__(self, gateways: Sequence[Endpoint], user: str, first: int) -> None:
        self.visits: list[Client] = []
        self._gateways = gateways
        self._user = user
        self.at = first % len(gateways)

    @property
    def frames(self) -> list[Frame]:
        """Everything that came, without what it had by id already."""
        known: set[str] = set()
        frames = []
        for visit in self.visits:
            for frame in visit.frames:
                if frame.id is None or frame.id not in known:
                    frames.append(frame)
                    known.add(frame.id or "")
        return frames

    @property
    def ticks(self) -> list[int]:
        """The numbers of the ticks, in the order in which they came."""
        return [frame.data for frame in self.frames if frame.type == EVENT]

    @property
    def codes(self) -> list[int | None]:
        """How its connections ended, but for the last."""
        return [visit.socket.close_code for visit in self.visits[:-1]]

    @property
    def resyncs(self) -> list[Frame]:
        """What it was told of gaps."""
        return [frame for frame in self.frames if frame.type == "resync"]

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with contextlib.suppress(OSError, websockets.WebSocketException, Closed, TimeoutError):
                await self._visit(self._gateways[self.at])
            self.at = (self.at + 1) % len(self._gateways)
            await asyncio.sleep(0.02)

    async def _visit(self, gateway: Endpoint) -> None:
        cursor = self.visits[-1].cursor if self.visits else None
        async with connected(gateway, self._user, cursor=cursor) as client:
            self.visits.append(client)
            await client.socket.wait_closed()


@contextlib.asynccontextmanager
async def nomads(gateways: Sequence[Endpoint], count: int) -> AsyncIterator[list[Nomad]]:
    """Let so many clients live for as long as the context lasts."""
    them = [Nomad(gateways, str(number), number) for number in range(count)]
    tasks = [asyncio.create_task(nomad.run(), name="nomad") for nomad in them]
    try:
        await wait_until(lambda: all(nomad.visits for nomad in them), 60)
        yield them
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
