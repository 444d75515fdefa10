"""Where a gateway and its Redis are, as URLs to show or to connect to."""

from __future__ import annotations

import re
from typing import Final

from gateway.settings import Settings

_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - to connect to
_PASSWORD: Final = re.compile(r"(?<=://)([^:/@]*):.*(?=@)|(password)=[^&]*")


def websocket_url(settings: Settings, port: int | None = None) -> str:
    """Return the gateway's endpoint, as a client on this host reaches it."""
    scheme = "wss" if settings.listen.tls_certificate else "ws"
    return f"{scheme}://{_authority(settings.listen.host, settings.listen.port if port is None else port)}/ws"


def health_url(settings: Settings, port: int | None = None) -> str:
    """Return the address of the gateway's health check."""
    scheme = "https" if settings.listen.tls_certificate else "http"
    return f"{scheme}://{_authority(settings.listen.host, settings.listen.port if port is None else port)}/health"


def http_url(settings: Settings) -> str:
    """Return the address of the HTTP API."""
    scheme = "https" if settings.http.tls_certificate else "http"
    return f"{scheme}://{_authority(settings.http_host, settings.http.port)}"


def without_password(redis_url: str) -> str:
    """Return a Redis URL that can be shown. Works on malformed ones too."""
    return _PASSWORD.sub(lambda match: f"{match[2]}=***" if match[2] else f"{match[1]}:***", redis_url)


def _authority(host: str, port: int) -> str:
    reachable = _ANY_HOST.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"
