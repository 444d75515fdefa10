"""
The handshake: what an HTTP request to the WebSocket port may become.

Pure: a request and the rules in, a decision out. The credentials it finds are not checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from gateway.wire.v1 import SUBPROTOCOL

WEBSOCKET_PATH = "/ws"
HEALTH_PATH = "/health"
READY_PATH = "/ready"

_BEARER_SUBPROTOCOL = "bearer."
_ANY_ORIGIN = "*"
_MAX_PARAMETERS = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What a client brought.

    Attributes:
        token: A JWT, not verified; None: it will come in an `auth` frame.
        cursor: Where to resume, or None.
    """

    token: str | None
    cursor: str | None


def split_path(target: str) -> tuple[str, str]:
    """Return path and query of a request target."""
    path, _, query = target.partition("?")
    return path, query


def credentials(query: str, headers: Headers) -> Credentials:
    """
    Find the token in the query, the `Authorization` header (RFC 6750, section 2.1) or the offered subprotocols.

    Browsers cannot set headers on a WebSocket, hence the other two ways. A query with too many parameters has none.
    """
    try:
        parameters = parse_qs(query, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        parameters = {}
    token = _first(parameters.get("token", ())) or _bearer(headers) or _offered_token(offered(headers))
    return Credentials(token, _first(parameters.get("cursor", ())))


def offered(headers: Headers) -> list[str]:
    """Return the subprotocols that the client offers; none where the header is malformed."""
    names: list[str] = []
    for value in headers.get_all("Sec-WebSocket-Protocol"):
        try:
            names += parse_subprotocol(value)
        except InvalidHeader:
            return []
    return names


def select_subprotocol(names: Sequence[str]) -> str | None:
    """Return the subprotocol to answer with: ours if it is offered. The one that carries a token is never echoed."""
    return SUBPROTOCOL if SUBPROTOCOL in names else None


def origin_allowed(headers: Headers, allowed: Collection[str]) -> bool:
    """
    Tell whether the page that opens this connection may.

    Against cross-site WebSocket hijacking (RFC 6455, section 10.2): a page of our own host may, and those of the
    list. Who sends no Origin is not a browser. `null` is nobody's.
    """
    origins = headers.get_all("Origin")
    if not origins or _ANY_ORIGIN in allowed:
        return True
    if len(origins) > 1:
        return False
    origin = origins[0].lower()
    if origin in allowed:
        return True
    hosts = headers.get_all("Host")
    return len(hosts) == 1 and _is_same_host(origin, hosts[0].lower())


def _is_same_host(origin: str, host: str) -> bool:
    """Compare whole texts, which leaves nothing for two parsers to disagree about."""
    return bool(host) and origin in (f"http://{host}", f"https://{host}")


def _first(values: Sequence[str]) -> str | None:
    return values[0] if values else None


def _bearer(headers: Headers) -> str | None:
    values = headers.get_all("Authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _offered_token(names: Sequence[str]) -> str | None:
    for name in names:
        if name.startswith(_BEARER_SUBPROTOCOL):
            return name.removeprefix(_BEARER_SUBPROTOCOL)
    return None
