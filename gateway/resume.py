"""
Resuming: where a connection goes on, given a cursor.

From memory where that reaches back far enough; else with a read from the stream (`backfill`); else with a `resync`
that names what is gone. Never silently with less.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.backfill import Missing
from gateway.log import Ahead, Found, Log, Older, Unknown
from gateway.session import State

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.entry import EntryId
    from gateway.profiles import Membership
    from gateway.services import Services
    from gateway.subscriber import Hold

Where = Found | Older | Ahead | Unknown

_BEGINNING = (0, 0)
_RETRY_S = 0.05
_AHEAD_RETRIES = 60


def locate(log: Log, cursor: str) -> Where:
    """Find a cursor that a client gave; one that is none is as good as unknown."""
    try:
        return log.locate(cursor)
    except ValueError:
        return Unknown("unknown_cursor")


def position(log: Log, where: Where | None) -> int:
    """Return the sequence number after which memory has what follows a cursor."""
    if isinstance(where, Found):
        return where.after
    return where.found.after if isinstance(where, Older | Ahead) else log.head


def resume(services: Services, connection: Connection, where: Where, cursor: str) -> None:
    """Let a connection that has just entered go on from a cursor."""
    if isinstance(where, Found):
        services.metrics.replays += 1
        connection.lag_from(where.after, where.seen)
        connection.go_on()
    elif isinstance(where, Older):
        services.metrics.backfills += 1

        def then(found: Found) -> None:
            connection.lag_from(found.after, found.seen)

        missing = Missing(cursor, frozenset(connection.addresses), floor=_floor(services, connection))
        services.backfill.start(connection, connection.wait(), missing, then)
    elif isinstance(where, Ahead):
        _await_log(services, connection, connection.wait(), cursor, _AHEAD_RETRIES)
    else:
        connection.resync(where.reason)


def _await_log(services: Services, connection: Connection, hold: Hold, cursor: str, retries: int) -> None:
    """Wait until this instance has read as far as the one that gave the cursor."""
    if connection.state is not State.ACTIVE or hold not in connection.held:
        return
    where = locate(services.log, cursor)
    if not isinstance(where, Ahead):
        connection.drop(hold)
        resume(services, connection, where, cursor)
        connection.listen()
    elif retries == 0:
        connection.resync("unknown_cursor")
    else:
        asyncio.get_running_loop().call_later(_RETRY_S, _await_log, services, connection, hold, cursor, retries - 1)


def _floor(services: Services, connection: Connection) -> Callable[[str], EntryId | None]:
    """Return from where on each address is a resuming connection's; those that it is given meanwhile included."""
    own = frozenset(connection.addresses)

    def floor(address: str) -> EntryId | None:
        member_since = services.members.member_since(connection, address)
        return _BEGINNING if member_since is None and address in own else member_since and member_since[1]

    return floor


def replay_address(
    services: Services,
    connection: Connection,
    address: str,
    since: str,
    until: list[EntryId],
    member_since: Membership | None = None,
) -> None:
    """
    Send what an address has had since a cursor and until it was joined, at `until` in each partition.

    Args:
        member_since: Nothing from before is sent.
    """
    if connection.state is not State.ACTIVE or address not in connection.addresses:
        return
    if connection.held:  # what it resumes with comes first
        loop = asyncio.get_running_loop()
        loop.call_later(_RETRY_S, replay_address, services, connection, address, since, until, member_since)
        return
    first = member_since[1] if member_since is not None else _BEGINNING

    def replay(found: Found) -> None:
        if address in connection.addresses:  # it may have been taken away meanwhile
            floor = services.log.sequence_of(*member_since) if member_since is not None else 0
            after = max(found.after, floor if floor is not None else services.log.head)
            connection.replay(services.log, address, after, services.now_ms())

    where = locate(services.log, since)
    if isinstance(where, Found):
        replay(where)
        connection.go_on()
    elif isinstance(where, Older):
        floor = {address: first}.get
        missing = Missing(since, frozenset({address}), until, floor=floor)
        services.backfill.start(connection, connection.wait(), missing, replay)
    elif isinstance(where, Unknown):
        connection.resync(where.reason, frozenset({address}))
    # Ahead: what this instance has not read yet will come; the client drops by id what it has.
