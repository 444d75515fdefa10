"""Where Redis is, when nobody says: the one answer of the shell command and of the gateway's tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLES: Final = ("TIDEGATE_REDIS_URL", "GATEWAY_REDIS__URL")
DEV_SOCKET: Final = Path(".tidegate") / "redis.sock"  # of `make run`
DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"


def redis_url(url: str | None = None, *, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """
    Return the URL of the Redis to use.

    The first there is of: `url`, the environment's `TIDEGATE_REDIS_URL`, its `GATEWAY_REDIS__URL`, the server
    that `make run` started in `folder` (the current one), and Redis on this machine at its usual port.
    """
    environ = os.environ if environ is None else environ
    for candidate in (url, *(environ.get(name) for name in VARIABLES)):
        if candidate:
            return candidate
    socket = (folder or Path.cwd()) / DEV_SOCKET
    # Resolved: where the path is too long for a socket, it is a link to a shorter one.
    return f"unix://{socket.resolve()}" if socket.is_socket() else DEFAULT_URL
