"""
The service manager: systemd, told over its socket what becomes of this process (sd_notify(3), `Type=notify`).

Knows nothing of gateways. Where no manager listens (`NOTIFY_SOCKET` is not set), everything here does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Final, Self

import structlog

_log = structlog.get_logger()

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd puts into the environment. Not for children: a unit has one main process, which speaks for all."""

_SEND_WITHIN_S: Final = 0.5  # the manager's queue can be full; the loop stands still meanwhile


class ServiceManager:
    """
    Who started this process and wants to know how it is.

    Args:
        address: Its datagram socket: a path, or `@` and an abstract name (unix(7)). None: there is none.
        watchdog_s: It kills a process that says nothing for so long. None: it does not watch.
    """

    def __init__(self, address: str | None = None, *, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return the one that these environment variables name; what makes no sense in them is ignored."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls()
        return cls(address, watchdog_s=_watchdog_s(environ))

    def ready(self, status: str) -> None:
        """Say that the start is over; `systemctl start` returns now, and `status` is what `systemctl status` shows."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._tell("STOPPING=1", "STATUS=Sending clients away")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the configuration is read again, and afterwards that it was."""
        # With Type=notify-reload, the time tells this answer from one to an earlier signal.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
        try:
            yield
        finally:
            self._tell("READY=1")

    async def keep_watch(self) -> None:
        """
        Tell the watchdog again and again that the event loop turns, until cancelled.

        That and no more: a gateway without Redis still serves its sockets, and would lose them by a restart.
        """
        if self._watchdog_s is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)  # as sd_watchdog_enabled(3) advises

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_SEND_WITHIN_S)
                channel.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            _log.warning("service_manager_unreachable", told=lines[0], error=type(error).__name__)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdigit() and int(text)):
        return None
    watched = environ.get("WATCHDOG_PID", "")
    return int(text) / 1e6 if watched in {"", str(os.getpid())} else None
