"""The context: what the routes work with, given to them by whoever runs the API, with sockets or without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.metrics import Metrics
from gateway.store.online import Online
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
        timeout_s: Longest wait for Redis.
        online: Knows who is online; None where that is off.
    """

    publisher: Publisher
    metrics: Metrics
    max_event_bytes: int
    revocation_s: float
    unready: Callable[[], list[str]]
    facts: Callable[[], Mapping[str, Any]]
    leases: Callable[[], Awaitable[Leases]]
    timeout_s: float
    online: Online | None

    async def live_instances(self) -> Leases:
        """Return every live instance's id with what it says of itself. Raises errors of redis-py, TimeoutError too."""
        async with asyncio.timeout(self.timeout_s):
            return await self.leases()


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]
