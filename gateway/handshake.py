"""
The handshake: what an HTTP request to the WebSocket port may become.

Pure: a request and the rules in, a decision out. The credentials it finds are not checked here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_plus

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from gateway.wire.v1 import SUBPROTOCOL

WEBSOCKET_PATH = "/ws"
HEALTH_PATH = "/health"
READY_PATH = "/ready"

_BEARER_SUBPROTOCOL = "bearer."
_ANY_ORIGIN = "*"
_SWITCHING = HTTPStatus.SWITCHING_PROTOCOLS
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


def accept(core: ServerProtocol, request: Request) -> Response:
    """
    Return the answer to an opening handshake, right or wrong.

    Without `Date`, which a 101 need not have (RFC 9110, section 6.6.1): the core's own answer spends more time on it
    than on all the rest.
    """
    agreed = None
    with contextlib.suppress(Exception):  # the core turns each into its HTTP answer
        agreed = core.process_request(request)
    if agreed is None:
        return core.accept(request)
    key, extensions, subprotocol = agreed
    headers = Headers()  # filled one by one, which is faster than by its constructor
    headers["Upgrade"] = "websocket"
    headers["Connection"] = "Upgrade"
    headers["Sec-WebSocket-Accept"] = key
    if extensions is not None:
        headers["Sec-WebSocket-Extensions"] = extensions
    if subprotocol is not None:
        headers["Sec-WebSocket-Protocol"] = subprotocol
    return Response(_SWITCHING.value, _SWITCHING.phrase, headers)


def answer(status: HTTPStatus, body: dict[str, Any] | None, headers: Iterable[tuple[str, str]]) -> Response:
    """Return an answer in JSON, or without a body, after which the connection ends."""
    content = orjson.dumps(body) if body is not None else b""
    fields = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(content))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
        *headers,
    ]
    return Response(status.value, status.phrase, Headers(fields), content)


def forget(request: Request) -> None:
    """Empty a request that was answered: the core keeps it while the connection lives, and its token with it."""
    request.path = ""
    request.headers.clear()


def split_path(target: str) -> tuple[str, str]:
    """Return path and query of a request target."""
    path, _, query = target.partition("?")
    return path, query


def credentials(query: str, headers: Headers) -> Credentials:
    """
    Find the token in the query, the `Authorization` header (RFC 6750, section 2.1) or the offered subprotocols.

    Browsers cannot set headers on a WebSocket, hence the other two ways. A query with too many parameters has none.
    """
    token = _parameter(query, "token") or _bearer(headers) or _offered_token(offered(headers))
    return Credentials(token, _parameter(query, "cursor"))


def _parameter(query: str, name: str) -> str | None:
    """Return the first value of a parameter that has one; `parse_qs` would take ten times as long."""
    if name in query and query.count("&") < _MAX_PARAMETERS:
        for parameter in query.split("&"):
            key, _, value = parameter.partition("=")
            if key == name and value:
                return unquote_plus(value)
    return None


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


def _bearer(headers: Headers) -> str | None:
    values = headers.get_all("Authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _offered_token(names: Sequence[str]) -> str | None:
    for name in names:
        if name.startswith(_BEARER_SUBPROTOCOL):
            return name.removeprefix(_BEARER_SUBPROTOCOL)
    return None
