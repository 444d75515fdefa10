"""The context: what the routes work with, given to them by whoever runs the API, with sockets or without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.address_rules import AddressRule
from gateway.metrics import Metrics
from publisher import Publisher

Leases = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Context:
    """
    The collaborators of every route.

    Attributes:
        max_event_bytes: Largest event, all its fields together.
        revocation_s: How long a revocation has to last: as long as the longest token.
        unready: Returns what keeps this process from being ready; nothing when it is.
        facts: Returns what this process says of itself.
        leases: Asks Redis what the live instances say of themselves.
        rules: Asks Redis for the address rules that were given at run time.
        timeout_s: Longest wait for Redis.
    """

    publisher: Publisher
    metrics: Metrics
    max_event_bytes: int
    revocation_s: float
    unready: Callable[[], list[str]]
    facts: Callable[[], Mapping[str, Any]]
    leases: Callable[[], Awaitable[Leases]]
    rules: Callable[[], Awaitable[Sequence[AddressRule]]]
    timeout_s: float

    async def live_instances(self) -> Leases:
        """Return every live instance's id with what it says of itself. Raises errors of redis-py, TimeoutError too."""
        async with asyncio.timeout(self.timeout_s):
            return await self.leases()

    async def address_rules(self) -> Sequence[AddressRule]:
        """Return the address rules given at run time. Raises as `live_instances` does."""
        async with asyncio.timeout(self.timeout_s):
            return await self.rules()


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]
