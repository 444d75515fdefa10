"""
Access: obeys changes of the address rules, and closes the connections that they are about.

The rules themselves are `address_rules`; new connections ask those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from gateway.address_rules import AddressRule, AddressRules
from gateway.addresses import UNKNOWN, parse_address
from gateway.close_codes import CloseCode
from gateway.connection import Connection
from gateway.entry import Entry
from gateway.services import Services
from gateway.store.access import load_rules
from gateway.store.connection import REDIS_ERRORS
from publisher.access import canonical_network

_log = structlog.get_logger()

_RETRY_S: Final = 1.0
_ACTIONS: Final = ("block", "allow", "clear")


class Access:
    """Keeps the rules of this instance as the cluster has them."""

    def __init__(self, rules: AddressRules, services: Services, redis: Redis) -> None:
        self._rules = rules
        self._services = services
        self._redis = redis

    def obey(self, entry: Entry, data: dict[str, Any]) -> None:
        """
        Carry out one control event.

        Raises:
            ValueError, TypeError, LookupError: It is not well-formed.
        """
        network, action = canonical_network(data["network"]), data["action"]
        if action not in _ACTIONS:
            raise ValueError("its action is unknown")
        if action == "clear":
            self._rules.clear(network)
        else:
            until_ms = int(entry.id.partition(b"-")[0]) + int(data["lasts_ms"])
            self._rules.give(AddressRule(network, action == "block", until_ms), self._services.now_ms())
        closed = self.enforce(self._services.connections)
        _log.info("access_changed", network=network, action=action, closed=closed)

    def after_gap(self) -> None:
        """Entries were missed, which may have been changes: look the rules up."""
        self._services.tasks.start("access", self._reload())

    async def _reload(self) -> None:
        while True:
            try:
                await load_rules(self._redis, self._rules)
                break
            except REDIS_ERRORS:  # the consumer reports it
                await asyncio.sleep(_RETRY_S)
        self.enforce(self._services.connections)

    def enforce(self, connections: Collection[Connection]) -> int:
        """Close the connections whose address is kept out now; return how many those are."""
        now_ms = self._services.now_ms()
        kept_out = [c for c in connections if self._rules.blocks(parse_address(c.remote) or UNKNOWN, now_ms)]
        for connection in kept_out:
            connection.close(CloseCode.FORBIDDEN, "this address may not connect")
        return len(kept_out)
