"""The wiring of the console: whether there is one, and what it is told of the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.errors import ConfigError
from gateway.http.console_routes import Console, Mint
from gateway.settings import Settings
from gateway.terminal.token import TokenOptions, make_token
from gateway.version import VERSION


def console(settings: Settings, websocket_port: Callable[[], int]) -> Console | None:
    """Return the console; None where it is off."""
    if not settings.http_console:
        return None
    return Console(
        websocket_url=settings.http.websocket_url,
        websocket_port=websocket_port,
        mint=_mint(settings) if settings.mode == "dev" else None,
        version=VERSION,
    )


def _mint(settings: Settings) -> Mint | None:
    """Return what makes tokens; None where there is no secret to sign them with. Dev mode is on loopback only."""
    if settings.auth.secret is None:
        return None

    def mint(*, user: str, name: str | None, group: Sequence[str], scope: str | None, ttl: float) -> str:
        options = TokenOptions(user=user, name=name, group=group, scope=scope, ttl=ttl)
        try:
            return make_token(settings, options)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return mint
