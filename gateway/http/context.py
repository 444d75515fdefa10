"""The context: what the routes work with, given to them by whoever runs the API, with sockets or without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from gateway.address_rules import AddressRule
from gateway.history import History
from gateway.http.problems import Problem
from gateway.metrics import Metrics
from gateway.questions import Answers
from gateway.store.inbox import Inbox
from gateway.store.online import Online
from publisher import Publisher
from publisher.templates import Templates

ANSWER_WITHIN_S: Final = 2.0
"""How long an instance may take to answer a question."""

Leases = Mapping[str, Mapping[str, str]]
Lags = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Context:
    """
    The collaborators of every route.

    Attributes:
        templates: The configured message templates.
        max_event_bytes: Largest event, all its fields together.
        revocation_s: How long a revocation has to last: as long as the longest token.
        unready: Returns what keeps this process from being ready; nothing when it is.
        facts: Returns what this process says of itself.
        leases: Asks Redis what the live instances say of themselves.
        asks: Asks the live instances something, given the question, its data, the tenant, and whom to wait for.
        rules: Asks Redis for the address rules that were given at run time.
        lags: Asks Redis how many entries each instance has not read.
        timeout_s: Longest wait for Redis.
        inbox: The inboxes; None where notifications are not kept.
        online: Knows who is online; None where that is off.
        metrics_text: Returns what Prometheus reads, and its media type.
    """

    publisher: Publisher
    metrics: Metrics
    history: History
    templates: Templates
    max_event_bytes: int
    revocation_s: float
    unready: Callable[[], list[str]]
    facts: Callable[[], Mapping[str, Any]]
    leases: Callable[[], Awaitable[Leases]]
    asks: Callable[[str, Mapping[str, Any], str, Iterable[str] | None], Awaitable[Answers]]
    rules: Callable[[], Awaitable[Sequence[AddressRule]]]
    lags: Callable[[], Awaitable[Lags]]
    timeout_s: float
    metrics_text: Callable[[], tuple[bytes, str]]
    inbox: Inbox | None = None
    online: Online | None = None

    async def live_instances(self) -> Leases:
        """Return every live instance's id with what it says of itself. Raises errors of redis-py, TimeoutError too."""
        async with asyncio.timeout(self.timeout_s):
            return await self.leases()

    async def instance_lags(self) -> Lags:
        """Return how many entries each instance has not read; None where unknown. Raises as `live_instances`."""
        async with asyncio.timeout(self.timeout_s):
            return await self.lags()

    async def ask(self, question: str, data: Mapping[str, Any], tenant: str, of: Iterable[str] | None) -> Answers:
        """Ask the live instances. Raises `PublishError`, errors of redis-py, TimeoutError too."""
        async with asyncio.timeout(ANSWER_WITHIN_S + self.timeout_s):
            return await self.asks(question, data, tenant, of)

    async def address_rules(self) -> Sequence[AddressRule]:
        """Return the address rules given at run time. Raises as `live_instances` does."""
        async with asyncio.timeout(self.timeout_s):
            return await self.rules()


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]


async def _inbox(context: InContext) -> Inbox:
    if context.inbox is None:
        raise Problem(404, "notifications are not kept here: they are only pushed")
    return context.inbox


InInbox = Annotated[Inbox, Depends(_inbox)]
