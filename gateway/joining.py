"""Joining: how a connection that has entered is given one more address, and what that has had before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CommandError
from gateway.resume import replay_address
from gateway.wire.v1 import Reply, ack

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.filters import Filter
    from gateway.profiles import Membership
    from gateway.services import Services


def join(
    services: Services,
    connection: Connection,
    address: str,
    *,
    since: str | None = None,
    wanted: Filter | None = None,
    member_since: Membership | None = None,
) -> Reply:
    """
    Add an address; with `since`, a cursor, also what it has had after it.

    Args:
        wanted: What is wanted of it, from now on; None: everything.
        member_since: Where the right to join it begins: nothing from before is sent.

    Raises:
        CommandError: 400 for a malformed cursor, 409 when the connection has too many addresses.
    """
    if address not in connection.addresses and services.members.chosen(connection) >= services.limits.addresses:
        raise CommandError(409, f"a connection has at most {services.limits.addresses} addresses")
    try:
        if since is not None:
            services.log.locate(since)
    except ValueError:
        raise CommandError(400, "since: not a cursor") from None
    services.hub.add(connection, address, services.fanout.position)
    services.hub.refilter(connection, address, wanted)
    if since is None:
        return ack(cursor=connection.cursor())
    until = services.log.positions_at(connection.addresses[address])
    return ack(cursor=since, then=lambda: replay_address(services, connection, address, since, until, member_since))
