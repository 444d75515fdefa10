"""What a newcomer needs next: printed by a gateway in dev mode once it serves, and ready to be pasted."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from gateway.dev import redis_url_file
from gateway.embedded import SOCKET_NAME
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.terminal.addresses import health_url, http_url, websocket_url, without_password
from gateway.terminal.quantities import duration
from gateway.terminal.style import Style, style_for
from gateway.terminal.token import TokenOptions, make_token
from publisher.location import redis_url

_USER: Final = "42"
_EXAMPLE: Final = """order.shipped '{"order": 7}'"""
_TOKEN_LIFE_S: Final = 24 * 3600.0
_USUAL_CONFIG: Final = Path("etc/gateway.dev.yaml")  # what `make run` uses, and the tools need not be told


def greet(settings: Settings, port: int, config: Path | None = None) -> None:
    """Print addresses, a token and two lines to paste; nothing in production."""
    if settings.mode == "dev":
        print("\n".join(_lines(settings, port, config, style_for(sys.stdout))), flush=True)


def _lines(settings: Settings, port: int, config: Path | None, style: Style) -> Iterator[str]:
    yield ""
    yield f"  {style('Tidegate serves', 'bold', 'green')}, in dev mode, {_redis(settings)}. Ctrl-C stops it all."
    yield ""
    yield _fact(style, "WebSocket", style(websocket_url(settings, port), "cyan"))
    if settings.http.enabled and settings.http.port:
        yield _fact(style, "HTTP API", style(http_url(settings) + ("/docs" if settings.http_docs else ""), "cyan"))
        if settings.http_console:
            yield _fact(style, "Console", style(f"{http_url(settings)}/console", "cyan"))
    yield _fact(style, "Health", style(health_url(settings, port), "cyan"))
    yield from _token(settings, style)
    yield ""
    yield "  In another shell, in this folder:"
    yield ""
    python = _interpreter()
    connect = f"{_state_dir()}{python} -m gateway connect{_config(config)} --user {_USER}"
    publish = f"{python} -m publisher{_publisher_options(settings)} user:{_USER} {_EXAMPLE}"
    yield _fact(style, "connect", style(connect, "bold"))
    yield _fact(style, "publish", style(publish, "bold"))
    yield ""


def _fact(style: Style, name: str, value: str) -> str:
    return f"  {style(f'{name:<11}', 'dim')}{value}"


def _redis(settings: Settings) -> str:
    url = settings.redis_url
    if _resolved(url) == _resolved(f"unix://{settings.state_dir / SOCKET_NAME}"):
        return "on an embedded Redis"
    return f"on {without_password(url)}"


def _token(settings: Settings, style: Style) -> Iterator[str]:
    life_s = min(_TOKEN_LIFE_S, settings.auth.max_lifetime_s)
    try:
        token = make_token(settings, TokenOptions(user=_USER, ttl=life_s))
    except ConfigError as error:  # public keys only
        yield _fact(style, "Token", f"none: {error}")
        return
    yield _fact(style, "Token", f"of user {_USER}, for {duration(life_s)}:")
    yield f"  {token}"


def _interpreter() -> str:
    """Return our interpreter as a shell in this folder finds it; not resolved, because a link is what a venv has."""
    interpreter = Path(sys.executable)
    if interpreter.is_relative_to(Path.cwd()):
        interpreter = interpreter.relative_to(Path.cwd())
    return shlex.quote(str(interpreter))


def _state_dir() -> str:
    """Return the variable that another shell lacks."""
    folder = os.environ.get("GATEWAY_STATE_DIR")
    return f"GATEWAY_STATE_DIR={shlex.quote(folder)} " if folder else ""


def _config(config: Path | None) -> str:
    return f" -c {shlex.quote(str(config))}" if config is not None and config != _USUAL_CONFIG else ""


def _publisher_options(settings: Settings) -> str:
    """Return what the publisher does not find by itself in this folder; never a password."""
    options = f" --partitions {settings.log.partitions}" if settings.log.partitions > 1 else ""
    url = settings.redis_url
    if _resolved(redis_url(environ={})) == _resolved(url):
        return options
    if without_password(url) == url:
        return f"{options} --redis {shlex.quote(url)}"
    return f'{options} --redis "$(cat {shlex.quote(str(redis_url_file(settings)))})"'


def _resolved(url: str) -> str:
    path = url.removeprefix("unix://")
    return url if path == url else f"unix://{Path(unquote(path)).resolve()}"
