"""
Orders: the control events of the log, carried out at their place in its order.

Kicks and revocations. Each instance reads each of them, so each takes effect everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from gateway.close_codes import CloseCode
from gateway.connection import Connection
from gateway.entry import Entry
from gateway.errors import PoisonEntry
from gateway.hub import Hub
from gateway.revocations import Revocations
from publisher import event as names
from publisher.address import ALL

_log = structlog.get_logger()

Order = Callable[[Entry, dict[str, Any]], None]

_MAX_REASON_BYTES = 123  # RFC 6455, section 5.5: a control frame holds 125 bytes, two of them the code


class Orders:
    """
    Obeys control entries.

    Args:
        max_token_lifetime_s: How long a revocation matters: no token lives longer.
    """

    def __init__(
        self,
        hub: Hub,
        revocations: Revocations,
        *,
        max_token_lifetime_s: float,
        on_poison: Callable[[PoisonEntry], None],
    ) -> None:
        self._hub = hub
        self._revocations = revocations
        self._remember_ms = int(max_token_lifetime_s * 1000)
        self._on_poison = on_poison
        self._orders: dict[bytes, Order] = {
            names.KICK.encode(): self._kick,
            names.REVOKE.encode(): self._revoke,
        }

    def add(self, name: str, order: Order) -> None:
        """Let `order` carry out the control events called `name`."""
        self._orders[name.encode()] = order

    def obey(self, entry: Entry) -> None:
        """Carry out one control entry; one that is not understood is poison."""
        order = self._orders.get(entry.event)
        if order is None and entry.options is not None and not entry.options.control:
            return  # a state that nobody here takes note of: it is a push none the less
        try:
            if order is None:
                raise ValueError("an unknown order")
            data = orjson.loads(entry.data)
            if not isinstance(data, dict):
                raise TypeError("its data is not an object")
            order(entry, data)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            self._on_poison(PoisonEntry(entry.id, f"not an order: {error}"[:200]))

    def _kick(self, entry: Entry, data: dict[str, Any]) -> None:
        code = data.get("code", CloseCode.FORBIDDEN)
        reason = str(data.get("reason") or "kicked")
        if not isinstance(code, int) or not (code == CloseCode.NORMAL or 4000 <= code <= 4999):
            raise ValueError("its close code is out of range")
        if len(reason.encode()) > _MAX_REASON_BYTES:
            raise ValueError("its reason is too long")
        for connection in list(self._hub.match(entry.tenant, entry.to)):
            if isinstance(connection, Connection):
                connection.close(code, reason)
        _log.info("kicked", tenant=entry.tenant, to=entry.to[:10], code=code)

    def _revoke(self, entry: Entry, data: dict[str, Any]) -> None:
        until_ms = int(time.time() * 1000) + self._remember_ms
        if "jti" in data:
            self._revocations.add_jti(entry.tenant, str(data["jti"]), until_ms)
            concerned = self._hub.match(entry.tenant, (ALL,))
        else:
            user_id = str(data["user"])
            self._revocations.add_user(entry.tenant, user_id, int(data["issued_before"]), until_ms)
            concerned = self._hub.match(entry.tenant, (f"user:{user_id}",))
        for connection in list(concerned):
            if (
                isinstance(connection, Connection)
                and connection.identity is not None
                and self._revocations.is_revoked(connection.identity)
            ):
                connection.close(CloseCode.FORBIDDEN, "revoked")
        _log.info("revoked", tenant=entry.tenant)
