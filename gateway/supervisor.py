"""
`gateway serve --workers N`: several gateways that share the port, each an instance of its own.

A worker's standard input is one end of a socket pair. On it the worker says when it serves; its end of file tells it
that the supervisor is gone, even by SIGKILL, so that no worker is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from gateway import dev, logs
from gateway.errors import ConfigError
from gateway.service_manager import VARIABLES, ServiceManager
from gateway.settings import Settings
from gateway.terminal.greeting import greet

_log = structlog.get_logger()

LIFELINE: Final = 0
"""The worker's file descriptor that is connected to the supervisor."""

_READY: Final = b"ready\n"
_RESTART_PAUSE_S: Final = 1.0


def stop_signals(settings: Settings) -> tuple[signal.Signals, ...]:
    """Return the signals that end a gateway; under nohup, a closed terminal is none, and with TLS, it means reload."""
    hangup_matters = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and not settings.has_tls
    return (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if hangup_matters else ()))


def tell_supervisor() -> None:
    """Say, as a worker, that this gateway serves."""
    with contextlib.suppress(OSError):  # it is gone: the lifeline's end says so
        os.write(LIFELINE, _READY)


def serve_workers(settings: Settings, config: Path | None, workers: int) -> int:
    """
    Run several gateways until a signal ends them; return the exit status.

    A worker that dies is started again; if the first one does not get as far as serving, all is given up. The first
    signal is passed on, the second kills.
    """
    logs.configure(settings.logging.level, settings.logging.format)
    with contextlib.ExitStack() as stack:
        reserved = stack.enter_context(_reserve("listen.port", settings.listen.host, settings.listen.port))
        port: int = reserved.getsockname()[1]
        settings = settings.model_copy(update={"listen": settings.listen.model_copy(update={"port": port})})
        if settings.http.enabled:
            reserved = stack.enter_context(_reserve("http.port", settings.http_host, settings.http.port))
            http = settings.http.model_copy(update={"port": reserved.getsockname()[1]})
            settings = settings.model_copy(update={"http": http})
        complete = stack.enter_context(dev.environment(settings))
        manager = ServiceManager.of(os.environ)

        def announce() -> None:
            stack.enter_context(dev.noted(complete, port))
            greet(complete, port, config)
            manager.ready(f"{workers} workers serve on port {port}")

        return asyncio.run(Supervisor(complete, config, workers, announce, manager).run())


def _reserve(setting: str, host: str, port: int) -> socket.socket:
    """Bind the port, so that it stays ours while workers come and go; without `listen`, it gets no connection."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        reserved = socket.socket(family, socket.SOCK_STREAM)
        try:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(address)
        except BaseException:
            reserved.close()
            raise
    except OSError as error:
        raise ConfigError(setting, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return reserved


class Supervisor:
    """
    The parent of the workers.

    Args:
        settings: What they share; each gets an instance id of its own.
        announce: Called once, when all of them serve.
        manager: Is told when they are to end. The workers do not know it: only the parent speaks to it.
    """

    def __init__(
        self,
        settings: Settings,
        config: Path | None,
        workers: int,
        announce: Callable[[], None],
        manager: ServiceManager,
    ) -> None:
        self._settings = settings
        self._config = config
        self._count = workers
        self._announce = announce
        self._manager = manager
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._served: set[int] = set()
        self._one_serves = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal comes and every worker has ended; return the worst of their exit statuses."""
        loop = asyncio.get_running_loop()
        for number in stop_signals(self._settings):
            loop.add_signal_handler(number, self._on_signal)
        if self._settings.has_tls:
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        watch = asyncio.create_task(self._manager.keep_watch(), name="watchdog")
        # The first one alone: what is wrong for all is then said once.
        first = asyncio.create_task(self._keep(0), name="worker-0")
        one_serves = asyncio.create_task(self._one_serves.wait())
        await asyncio.wait({first, one_serves}, return_when=asyncio.FIRST_COMPLETED)
        one_serves.cancel()
        others = range(1, self._count) if self._one_serves.is_set() else ()
        keepers = [first, *(asyncio.create_task(self._keep(number), name=f"worker-{number}") for number in others)]
        try:
            return max(map(abs, await asyncio.gather(*keepers)))
        finally:
            watch.cancel()

    async def _keep(self, number: int) -> int:
        """Keep one worker running; return its exit status when that is no longer wanted."""
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            status = await self._run_once(number)
            if self._stop.is_set() or not self._one_serves.is_set():
                return status
            _log.error("worker_died", worker=number, status=status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), max(0.0, started_at + _RESTART_PAUSE_S - loop.time()))
                return 0

    async def _run_once(self, number: int) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command(), stdin=theirs.fileno(), env=self._environment(number), start_new_session=True
            )
        self._processes[number] = process
        if self._stop.is_set():  # it came while the process was made
            process.terminate()
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            if await reader.readline() == _READY:
                self._serves(number)
            return await process.wait()
        finally:
            writer.close()

    def _serves(self, number: int) -> None:
        self._one_serves.set()
        before = len(self._served)
        self._served.add(number)
        if before < len(self._served) == self._count:
            self._announce()

    def _command(self) -> list[str]:
        config = [] if self._config is None else ["-c", str(self._config)]
        return [sys.executable, "-m", "gateway", "serve", "--worker", *config]

    def _environment(self, number: int) -> dict[str, str]:
        settings = self._settings
        return {
            **{name: value for name, value in os.environ.items() if name not in VARIABLES},
            "GATEWAY_INSTANCE__ID": f"{settings.instance_id}-{number}",
            "GATEWAY_LISTEN__PORT": str(settings.listen.port),
            "GATEWAY_LISTEN__REUSE_PORT": "true",
            "GATEWAY_HTTP__PORT": str(settings.http.port),
            "GATEWAY_REDIS__URL": settings.redis_url,
        }

    def _reload(self) -> None:
        with self._manager.reloading():
            self._send_all(signal.SIGHUP)

    def _on_signal(self) -> None:
        kills = self._stop.is_set()
        self._stop.set()
        self._manager.stopping()
        _log.info("stopping_workers", at_once=kills)
        self._send_all(signal.SIGKILL if kills else signal.SIGTERM)

    def _send_all(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
