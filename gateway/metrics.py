"""
Counts of what this instance does. Plain integers: adding to one is all the hot path pays.

Read by `/stats`-like pages, by the lease and by `gateway instances`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.outcomes import MAX_NAMES, OTHER


@dataclass(slots=True)
class Metrics:
    """
    One instance's counters since its start.

    Attributes:
        events: Entries read from the log.
        poison: Entries that could not be delivered.
        connections_opened: Connections that got as far as a session.
        closed: Connections closed, by close code.
        commands: Commands answered, by type; `error` stands for those that were refused.
        auth_failures: Refused tokens, by reason.
        handshakes_refused: Connections turned away before their token was looked at, by reason.
        replaced: Connections closed because their user opened newer ones.
        replays: Clients that resumed from memory.
        backfills: Clients that resumed with a read from Redis.
        resyncs: Clients that were told of a gap, by reason.
        stalled: Sockets aborted because they took nothing.
        slow: How often a socket took less than there was for it.
        aborted: Sockets cut off without a goodbye, by reason.
        rate_limited: What came faster than it may, by what it was.
        redis_errors: Failed reads of the log and of the work on inboxes, and failed publishes, by kind.
        http_requests: Requests to the HTTP API, by the status of their answer.
        http_published: Events that came in by it.
        accepted: The same by event name, as far as there is room for names.
        notifications: Notifications that this instance wrote into inboxes, one for each user.
        handler_failures: Calls of plug-in handlers that raised something or took too long.
    """

    events: int = 0
    poison: int = 0
    connections_opened: int = 0
    closed: Counter[int] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    auth_failures: Counter[str] = field(default_factory=Counter)
    handshakes_refused: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    replays: int = 0
    backfills: int = 0
    resyncs: Counter[str] = field(default_factory=Counter)
    stalled: int = 0
    slow: int = 0
    aborted: Counter[str] = field(default_factory=Counter)
    rate_limited: Counter[str] = field(default_factory=Counter)
    redis_errors: Counter[str] = field(default_factory=Counter)
    http_requests: Counter[int] = field(default_factory=Counter)
    http_published: int = 0
    notifications: int = 0
    handler_failures: int = 0
    accepted: Counter[str] = field(default_factory=Counter)

    def count_accepted(self, event: str, count: int = 1) -> None:
        """Count events that came in by the HTTP API."""
        self.http_published += count
        self.accepted[event if event in self.accepted or len(self.accepted) < MAX_NAMES else OTHER.decode()] += count

    def counts(self) -> dict[str, int | dict[Any, int]]:
        """Return all of them by name."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
