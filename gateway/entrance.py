"""
The entrance: one connection's way in, from its TCP peer to the client's address and whether that may come in.

A peer that is no proxy of ours is judged when it connects, before a byte of it is read. Behind a proxy, the request
says who it is.
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from websockets.datastructures import Headers

from gateway import admission
from gateway.addresses import UNKNOWN, Address, client_address, parse_address
from gateway.admission import Admission, Refusal
from gateway.identity import Identity
from gateway.services import Services
from gateway.user_limit import has_room

_log = structlog.get_logger()

FORWARDED: Final = "X-Forwarded-For"


class Visit:
    """
    One connection at the entrance.

    Attributes:
        address: The client's, as far as it is known.
        refusal: Why it may not come in; None: it may.
    """

    __slots__ = ("_admission", "_proxied", "_services", "address", "refusal")

    def __init__(self, services: Services, admission: Admission, peername: Any, now: float) -> None:
        self._services = services
        self._admission = admission
        self.address = parse_address(str((peername or ("",))[0])) or UNKNOWN
        self.refusal: Refusal | None = None
        self._proxied = admission.proxies.holds(self.address)  # and who is behind it is not known yet
        if not self._proxied:
            self._enter(self.address, now)

    def requested(self, headers: Headers, now: float, *, full: bool) -> Refusal | None:
        """Return why the request is to be turned away; None where it is not."""
        if self._proxied:
            forwarded = headers.get_all(FORWARDED)
            self._enter(client_address(self.address, forwarded, self._admission.proxies), now)
        if self.refusal is None and full:
            self._refuse(admission.FULL)
        return self.refusal

    def opening(self, identity: Identity | None, *, leaving: bool) -> Refusal | None:
        """
        Look again, when the session is about to open: the rules may have changed since, and the user is known.

        Args:
            leaving: The gateway sends its clients away.
        """
        rules = self._admission.rules
        if leaving:
            self._refuse(admission.LEAVING)
        elif not rules.empty and rules.blocks(self.address, self._services.now_ms()):
            self._refuse(admission.BLOCKED)
        elif identity is not None and not has_room(self._services, identity):
            self._refuse(admission.USER)
        return self.refusal

    def leave(self) -> None:
        """The connection is gone."""
        if not self._proxied:
            self._admission.leave(self.address)

    def _enter(self, address: Address, now: float) -> None:
        self.address, self._proxied = address, False
        refusal = self._admission.enter(address, now, self._services.now_ms)
        if refusal is not None:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self._services.metrics.handshakes_refused[refusal.reason] += 1
        if refusal.reason == "rate":
            self._services.metrics.rate_limited["handshake"] += 1
        _log.debug("handshake_refused", remote=self.address.text, reason=refusal.reason)
