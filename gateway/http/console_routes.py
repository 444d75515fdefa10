"""
`/console`: a page for people who look at a running gateway, and what it has to be told.

The page itself is public code without data, and takes no credential; everything it shows it asks for with the token of
whoever uses it. Where tokens can be made here, which is on a developer's own machine only, it can ask for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.http.console_forms import forms
from gateway.http.fields import Name
from gateway.http.problems import Problem

PAGE_PATH: Final = "/console"
CONFIG_PATH: Final = "/console/config.json"
TOKEN_PATH: Final = "/console/token"

_FOLDER: Final = Path(__file__).with_name("static") / "console"
_PAGE: Final = "console.html"
_CLIENT: Final = Path(__file__).parents[1] / "static" / "tidegate.js"
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {websocket}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
_SAFE: Final = {
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HOST: Final = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?", re.ASCII)
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_LOOPBACK_PEERS: Final = frozenset({"127.0.0.1", "::1"})


class Mint(Protocol):
    """Makes tokens."""

    def __call__(self, *, user: str, name: str | None, group: Sequence[str], scope: str | None, ttl: float) -> str:
        """Return a token. Raises `ValueError`: such a token would be refused."""


@dataclass(frozen=True, slots=True)
class Console:
    """
    What the console is told.

    Attributes:
        websocket_url: The gateway's endpoint, as browsers reach it; None: on the page's host, at `websocket_port`.
        websocket_port: Asked for at each request, for it is known once the gateway listens.
        mint: Makes tokens for whoever asks from this machine; None where that must not be.
        version: The gateway's.
    """

    websocket_url: str | None
    websocket_port: Callable[[], int]
    mint: Mint | None
    version: str


class Wanted(BaseModel):
    """The token that somebody wants."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    user_id: Name = Field(description="Whose.")
    name: Annotated[str | None, Field(max_length=256)] = None
    groups: Annotated[list[Name], Field(max_length=100)] = []
    scope: Annotated[str | None, Field(max_length=1_000)] = None
    ttl_s: Annotated[float, Field(gt=0, lt=1e8)] = 12 * 3600.0


def console_paths(console: Console | None) -> frozenset[str]:
    """Return what is answered without a credential."""
    if console is None:
        return frozenset()
    return frozenset({CONFIG_PATH, *_files(), *([TOKEN_PATH] if console.mint is not None else [])})


def add_console(app: FastAPI, console: Console) -> None:
    """Let `app` serve the page and what it asks for."""
    router = APIRouter(include_in_schema=False)
    for path, file in _files().items():
        serve = partial(_serve, console, file.read_bytes(), f"{_TYPES[file.suffix]}; charset=utf-8")
        router.add_api_route(path, _endpoint(serve), methods=["GET", "HEAD"])
    router.add_api_route(CONFIG_PATH, _endpoint(partial(_config, console)), methods=["GET"])
    if console.mint is not None:
        _add_mint(router, console.mint)
    app.include_router(router)


def _files() -> Mapping[str, Path]:
    """Return the page's files by path. The client is served here as well, because it may be off at its own path."""
    files = [file for file in sorted(_FOLDER.iterdir()) if file.suffix in _TYPES]
    return {PAGE_PATH if file.name == _PAGE else f"{PAGE_PATH}/{file.name}": file for file in [*files, _CLIENT]}


def _endpoint(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
    async def serve(request: Request) -> Response:
        return answer(request)

    return serve


def _serve(console: Console, content: bytes, media_type: str, request: Request) -> Response:
    websocket = urlsplit(_websocket_url(console, request))
    policy = _POLICY.format(websocket=f"{websocket.scheme}://{websocket.netloc}")
    return Response(content, media_type=media_type, headers={**_SAFE, "Content-Security-Policy": policy})


def _config(console: Console, request: Request) -> Response:
    facts = {
        "websocket_url": _websocket_url(console, request),
        "mints": console.mint is not None,
        "version": console.version,
        "commands": forms(),
    }
    return Response(orjson.dumps(facts), media_type="application/json", headers=_SAFE)


def _websocket_url(console: Console, request: Request) -> str:
    """Return the endpoint's address, on the host by which the page was asked for unless it is configured."""
    if console.websocket_url is not None:
        return console.websocket_url
    match = _HOST.fullmatch(request.headers.get("host", ""))  # it goes into a header and into a URL
    return f"ws://{match[1] if match else '127.0.0.1'}:{console.websocket_port()}/ws"


# Tokens for developers.


def _add_mint(router: APIRouter, mint: Mint) -> None:
    async def make_token(wanted: Wanted, request: Request) -> dict[str, str]:
        _check_own_page(request)
        try:
            token = mint(
                user=wanted.user_id, name=wanted.name, group=wanted.groups, scope=wanted.scope, ttl=wanted.ttl_s
            )
        except ValueError as error:
            raise Problem(422, str(error)) from None
        return {"token": token}

    router.add_api_route(TOKEN_PATH, make_token, methods=["POST"])


def _check_own_page(request: Request) -> None:
    """
    Refuse whoever is not on this machine, and every page but the console.

    A page of the web that its developer looks at could ask for a token otherwise: directly, which `Origin` tells, or
    under a name of its own that leads here (DNS rebinding), which `Host` tells.
    """
    peer = request.client.host if request.client is not None else ""
    host = request.headers.get("host", "").lower()
    match = _HOST.fullmatch(host)
    origins = request.headers.getlist("origin")
    local = peer in _LOOPBACK_PEERS and match is not None and match[1] in _LOOPBACK_NAMES
    if not local or any(origin.lower() != f"http://{host}" for origin in origins):
        raise Problem(403, "tokens are made for the console on this machine only")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "use application/json")
