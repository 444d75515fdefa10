"""
Who is connected to this instance: its answers to `GET /message/clients` and its statistics.

An instance may hold tens of thousands of connections, so the work is done in pieces, between which others have their
turn; and a list is made in two steps: every instance says which connections come first, and then those that hold the
ones on the asked page describe these.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, Final

from gateway.connection import Connection
from gateway.entry import Entry
from gateway.questions import Facts
from gateway.services import Services

TOP: Final = 1_000
"""How many groups and users statistics name at most: the largest."""

_PIECE: Final = 2_000
_MARGIN: Final = 2  # an instance names more than the whole answer does: the sums decide
_MOST_NAMES: Final = 100


class Census:
    """Answers for one instance; always for one tenant, that of the question."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def clients(self, order: Entry, data: dict[str, Any]) -> Facts | Awaitable[Facts]:
        """
        Answer who is connected.

        Either `first`: return how many there are, and the first so many of them as [connected at, client id]; with
        `user_id` and `tag`, of those who match. Or `ids`: describe these.
        """
        if "ids" in data:
            return {"clients": self._described(order.tenant, data["ids"])}
        addresses = [f"{kind}:{data[field]}" for kind, field in (("user", "user_id"), ("tag", "tag")) if field in data]
        return self._first(order.tenant, addresses, int(data["first"]))

    async def _first(self, tenant: str, addresses: Sequence[str], count: int) -> Facts:
        keys = [(c.opened_at, c.client_id) async for c in self._connections(tenant, addresses)]
        return {"total": len(keys), "first": heapq.nsmallest(count, keys)}

    async def statistics(self, order: Entry, _data: dict[str, Any]) -> Facts:
        """Answer how many are connected, how much they have sent, and which groups and users have most connections."""
        services = self._services
        ended = services.ended.get(order.tenant, (0, 0))
        active = commands = 0
        async for connection in self._connections(order.tenant, ()):
            active += 1
            commands += connection.commands
        counts = services.hub.counts(order.tenant)
        return {
            "active": active,
            "total": active + ended[0],
            "received": commands + ended[1],
            "delivered": services.fanout.delivered,
            "groups": await _largest(counts, "group:"),
            "users": await _largest(counts, "user:"),
        }

    async def _connections(self, tenant: str, addresses: Sequence[str]) -> AsyncIterator[Connection]:
        """Yield the connections that have all of the addresses, in no order."""
        hub = self._services.hub
        first, *others = addresses or ("all",)
        for number, receiver in enumerate(list(hub.match(tenant, (first,)))):
            if number % _PIECE == _PIECE - 1:
                await asyncio.sleep(0)
            if isinstance(receiver, Connection) and all(address in receiver.addresses for address in others):
                yield receiver

    def _described(self, tenant: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        receivers = self._services.hub.match(tenant, [f"client:{client_id}" for client_id in ids])
        return [self._row(receiver) for receiver in receivers if isinstance(receiver, Connection)]

    def _row(self, connection: Connection) -> dict[str, Any]:
        identity = connection.identity
        assert identity is not None  # noqa: S101 - it is in the hub
        return {
            "client_id": connection.client_id,
            "user_id": identity.user_id,
            "name": identity.name,
            "instance": self._services.instance_id,
            "remote": connection.remote,
            "connected_at": connection.opened_at,
            **{f"{kind}s": _names(connection.addresses, f"{kind}:") for kind in ("group", "tag", "topic")},
            "lagging": connection.lagging,
        }


def _names(addresses: Iterable[str], prefix: str) -> list[str]:
    names = (address.removeprefix(prefix) for address in addresses if address.startswith(prefix))
    return heapq.nsmallest(_MOST_NAMES, names)


async def _largest(counts: Sequence[tuple[str, int]], prefix: str) -> list[tuple[str, int]]:
    """Return the names behind a prefix that have the largest counts."""
    found: list[tuple[int, str]] = []
    for start in range(0, len(counts), _PIECE):
        part = counts[start : start + _PIECE]
        found += [(-count, address.removeprefix(prefix)) for address, count in part if address.startswith(prefix)]
        found = heapq.nsmallest(_MARGIN * TOP, found)
        await asyncio.sleep(0)
    return [(name, -count) for count, name in found]
