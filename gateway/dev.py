"""
Dev mode: what it supplies where the settings leave it open, and how the tools find it.

A secret of its own and an embedded Redis, both in the state folder of the current directory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr

from gateway.embedded import SECRET_NAME, SOCKET_NAME, development_secret, embedded_redis
from gateway.settings import Settings, load


@contextlib.contextmanager
def environment(settings: Settings) -> Iterator[Settings]:
    """
    Supply what dev mode lacks, for as long as the context lasts; in production, nothing.

    Raises:
        ConfigError: The embedded Redis cannot be had.
    """
    if settings.mode != "dev":
        yield settings
        return
    settings = _with_secret(settings)
    if settings.redis.url is not None:
        yield settings
        return
    with embedded_redis(settings.state_dir) as url:
        yield _with_redis(settings, url)


def tool_settings(config: Path | None) -> Settings:
    """
    Return the settings for a tool that works beside a gateway.

    Without a file, and where a dev mode gateway has left its state in the current folder, they are that one's.
    """
    settings = load(config)
    if config is None and settings.mode == "production" and settings.auth.secret is None:
        candidate = load(mode="dev")
        if (candidate.state_dir / SECRET_NAME).exists():
            settings = candidate
    if settings.mode == "dev":
        settings = _with_secret(settings)
        socket = settings.state_dir / SOCKET_NAME
        if settings.redis.url is None and socket.exists():
            settings = _with_redis(settings, f"unix://{socket.resolve()}")
    return settings


def _with_secret(settings: Settings) -> Settings:
    auth = settings.auth
    if auth.secret is not None or auth.public_keys or auth.jwks_url:
        return settings
    secret = SecretStr(development_secret(settings.state_dir))
    return settings.model_copy(update={"auth": auth.model_copy(update={"secret": secret})})


def _with_redis(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": SecretStr(url)})})
