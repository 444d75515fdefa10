"""
Origins: which pages may call the HTTP API from a browser (CORS).

Before the gate, because a browser asks first, with an OPTIONS that has no credential. What is allowed here is only to
read the answers: without a credential, which no browser adds by itself, there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_HEADERS: Final = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key")
_EXPOSED: Final = ("Retry-After",)
_MAX_AGE_S: Final = 600


def open_to_pages(app: ASGIApp, origins: Iterable[str]) -> ASGIApp:
    """Return `app`, callable by pages of these origins; `*` stands for all. Pages of its own host always may."""
    allowed = [origin.lower() for origin in origins]  # as browsers write them
    if not allowed:
        return app
    return CORSMiddleware(
        app,
        allow_origins=allowed,
        allow_methods=_METHODS,
        allow_headers=_HEADERS,
        expose_headers=_EXPOSED,
        max_age=_MAX_AGE_S,
    )
