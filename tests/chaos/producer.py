"""A producer: numbered events at a steady rate, whatever happens, and a note of what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from publisher import Publisher, PublishError, PublishIncomplete, PublishUnknown
from tests.chaos.crowd import EVENT
from tests.chaos.ledger import FAILED, OK, UNKNOWN, Ledger

_EVERY_S: Final = 0.05
_INSIST_S: Final = 30.0
_INSIST_PAUSE_S: Final = 0.1


class Producer:
    """
    Publishes one batch after the other, so that the numbers are in the log's order.

    Args:
        rate: Events per second.
        to: Their audience.
        padding: Bytes that each has besides its number.
        keyed: Each has an idempotency key of its own; what is unknown is published again under it until it is known.
    """

    def __init__(
        self,
        tide: Publisher,
        ledger: Ledger,
        *,
        rate: float,
        to: str = "all",
        padding: int = 0,
        keyed: bool = False,
    ) -> None:
        self.ledger = ledger
        self._tide = tide
        # One at a time where it insists: the next one must not overtake it.
        self._batch = 1 if keyed else max(1, round(rate * _EVERY_S))
        self._every_s = self._batch / rate
        self._to = to
        self._padding = {"x": "x" * padding} if padding else {}
        self._keyed = keyed

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Publish for as long as the context lasts; at its end, what is under way is waited for."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._go_on(stop), name="producer")
        try:
            yield
        except BaseException:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        stop.set()
        await task

    async def publish(self, count: int) -> None:
        """Publish so many in one batch."""
        numbers = [self.ledger.send(time.monotonic()) for _ in range(count)]
        results = await self._send(numbers)
        for number, result in zip(numbers, results, strict=True):
            self._settle(number, result)
        if self._keyed:
            for number in [n for n in numbers if self.ledger.fate(n) == UNKNOWN]:
                await self._insist(number)

    async def _go_on(self, stop: asyncio.Event) -> None:
        due = time.monotonic()
        while not stop.is_set():
            await self.publish(self._batch)
            due = max(due + self._every_s, time.monotonic() - 5 * self._every_s)  # no burst after an outage
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, due - time.monotonic()))

    async def _send(self, numbers: list[int]) -> list[str | PublishError]:
        try:
            return list(await self._tide.publish_many([self._event(number) for number in numbers]))
        except PublishIncomplete as error:
            return error.results
        except PublishError as error:
            return [error] * len(numbers)

    async def _insist(self, number: int) -> None:
        """Publish an event again under its key until it is known what became of it."""
        deadline = time.monotonic() + _INSIST_S
        while self.ledger.fate(number) != OK and time.monotonic() < deadline:
            (result,) = await self._send([number])
            if isinstance(result, str):
                self._settle(number, result)
            else:
                await asyncio.sleep(_INSIST_PAUSE_S)

    def _settle(self, number: int, result: str | PublishError) -> None:
        if isinstance(result, str):
            self.ledger.settle(number, OK, result)
        else:
            self.ledger.settle(number, UNKNOWN if isinstance(result, PublishUnknown) else FAILED)

    def _event(self, number: int) -> dict[str, Any]:
        event = {"event": EVENT, "data": {"p": self.ledger.name, "n": number, **self._padding}, "to": self._to}
        return event | ({"key": f"chaos-{self.ledger.name}-{number}"} if self._keyed else {})
