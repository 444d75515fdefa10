"""
The command `ack`: a client says that it has an event.

Counted where the event's publisher asked for a receipt, and the event was for this client; else it is in vain, which
the client, who cannot know of receipts, is not blamed for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gateway.commands import arguments
from gateway.identity import Identity
from gateway.wire.v1 import Reply, ack
from publisher.address import ALL

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.receipts import Receipt
    from gateway.services import CommandFunction, Services


def commands(services: Services) -> Mapping[str, CommandFunction]:
    """Return this family's commands."""

    def acknowledge(connection: Connection, _message_id: str | None, data: Any) -> Reply:
        return _acknowledge(services, connection, data)

    return {"ack": acknowledge}


def _acknowledge(services: Services, connection: Connection, data: Any) -> Reply:
    event = arguments.event_id(data, "id")
    outcomes = services.log.outcomes
    receipt = outcomes.receipts.find(event.partition, b"%d-%d" % (event.ms, event.n))
    if receipt is None or receipt.epoch != event.epoch or receipt.tenant != connection.tenant:
        return ack(counted=False)
    addresses = set(_entitling(services, connection, receipt))
    counted = bool(addresses) and outcomes.receipts.acked(receipt, connection.client_id, addresses)
    if counted:
        outcomes.ack(receipt.event)
    return ack(counted=counted)


def _entitling(services: Services, connection: Connection, receipt: Receipt) -> Iterator[str]:
    """Yield the addresses by which an event was for a client, perhaps on an earlier connection."""
    log = services.log
    identity = connection.identity
    assert identity is not None  # noqa: S101 - the session lets nobody else acknowledge
    if not connection.addresses.keys().isdisjoint(receipt.exclude):
        return
    yield from connection.claims(log.entry(receipt.seq) if receipt.seq >= log.base else receipt, log.sieve)
    for address in receipt.to:
        # The client may have had it before it came back, with a cursor behind the event.
        if address in connection.addresses and address not in connection.filters and _is_named(identity, address):
            yield address


def _is_named(identity: Identity, address: str) -> bool:
    """Tell whether a token gives its holder an address, at any time."""
    kind, _, name = address.partition(":")
    named = {"user": (identity.user_id,), "group": identity.groups, "tag": identity.tags, "topic": identity.topics}
    return address == ALL or name in named.get(kind, ())
