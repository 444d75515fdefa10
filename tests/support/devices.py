"""Devices: subscribers of the hub with an identity, as connections have one, and nothing else of a connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gateway.subscriber import Subscriber


class Device(Subscriber):
    """One user's device; nobody's, where `user` is None."""

    def __init__(self, user: str | None, tenant: str = "default") -> None:
        super().__init__(tenant, wire=None, write=None)  # type: ignore[arg-type]
        self.identity: Any = SimpleNamespace(tenant=tenant, user_id=user) if user is not None else None
