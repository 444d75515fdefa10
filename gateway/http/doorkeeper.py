"""The doorkeeper: from which address a request comes, and whether that may come in."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import Scope

from gateway.address_rules import AddressRules
from gateway.addresses import UNKNOWN, Address, Networks, client_address, parse_address
from gateway.http.problems import Problem


class Doorkeeper:
    """Asks the same rules as the sockets do; see `address_rules` and `addresses`."""

    def __init__(self, rules: AddressRules, proxies: Networks[bool]) -> None:
        self._rules = rules
        self._proxies = proxies

    def client(self, scope: Scope, headers: Headers) -> Address:
        """Return who is behind the peer of a request."""
        peer = parse_address(str((scope.get("client") or ("",))[0])) or UNKNOWN
        return client_address(peer, headers.getlist("x-forwarded-for"), self._proxies)

    def check(self, address: Address) -> None:
        """
        Let an address in.

        Raises:
            Problem: 403.
        """
        if self._rules.blocks(address, int(time.time() * 1000)):
            raise Problem(403, "this address may not connect")
