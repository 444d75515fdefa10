"""
Recovery: what an instance does once it knows that it has missed something.

Clients are told to reload. Orders cannot be read again: revocations are loaded anew from where they are kept, and
enforced; so are the profiles of the users who are connected; a kick that was missed has had no effect here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from gateway.close_codes import CloseCode
from gateway.services import Services
from gateway.store.connection import REDIS_ERRORS
from gateway.store.revocations import load_revocations

_log = structlog.get_logger()

_RETRY_S = 1.0


class Recovery:
    """
    Makes up for gaps in the log.

    Args:
        also: Called after each gap, for what else has to be looked up.
    """

    def __init__(self, services: Services, redis: Redis, also: Callable[[], None]) -> None:
        self._services = services
        self._redis = redis
        self._also = also

    def after_gap(self, reason: str) -> None:
        """Tell every client, and look up what must not be missed."""
        for connection in list(self._services.connections):
            connection.resync(reason)
        self._services.members.reload(reason)
        self._services.tasks.start("revocations", self._load_revocations())
        self._also()

    async def _load_revocations(self) -> None:
        while True:
            try:
                await load_revocations(self._redis, self._services.revocations)
                break
            except REDIS_ERRORS:  # the consumer reports it
                await asyncio.sleep(_RETRY_S)
        self._enforce()

    def _enforce(self) -> None:
        """Close the connections whose token has been revoked."""
        revocations = self._services.revocations
        for connection in list(self._services.connections):
            if connection.identity is not None and revocations.is_revoked(connection.identity):
                connection.close(CloseCode.FORBIDDEN, "revoked")
                _log.info("revoked", tenant=connection.tenant, client=connection.client_id)
