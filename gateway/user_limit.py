"""
The user limit: how many connections one user may have on this instance.

Two policies. `refuse`: a new one is turned away. `replace`: it comes in, and the oldest is closed with 4409.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.close_codes import CloseCode
from gateway.identity import Identity
from gateway.services import Services

if TYPE_CHECKING:
    from gateway.connection import Connection


def has_room(services: Services, identity: Identity) -> bool:
    """Tell whether one more connection of this user may come in."""
    limits = services.limits
    if not limits.connections_per_user or limits.replace_oldest:
        return True
    return services.members.connections_of(identity) < limits.connections_per_user


def replace_oldest(services: Services, newcomer: Connection, user_id: str) -> None:
    """Close the oldest connections of a user, as many as are too many; `newcomer` is in already, and stays."""
    limits = services.limits
    if not limits.connections_per_user or not limits.replace_oldest:
        return
    members = services.hub.match(newcomer.tenant, (f"user:{user_id}",))
    surplus = len(members) - limits.connections_per_user
    if surplus <= 0:
        return
    others = [cast("Connection", member) for member in members if member is not newcomer]
    for connection in sorted(others, key=lambda c: c.opened_at)[:surplus]:
        services.metrics.replaced += 1
        connection.close(CloseCode.REPLACED, "replaced by a newer connection")
