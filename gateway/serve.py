"""
`gateway serve`: one gateway in this process, or several in processes of their own.

Signals: the first SIGTERM or SIGINT shuts down in order, the second at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import structlog

from gateway import dev, logs
from gateway.app import Application
from gateway.errors import ConfigError
from gateway.settings import Settings, load
from gateway.terminal.greeting import greet

_log = structlog.get_logger()

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RESTART_PAUSE_S = 1.0


def serve(settings: Settings) -> int:
    """Run one gateway until a signal ends it; return the exit status."""
    logs.configure(settings.logging.level, settings.logging.format)
    with dev.environment(settings) as complete:
        return _runner().run(_serve(complete))


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:  # not on Windows; there is asyncio's own
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            _log.warning("stopped_at_once")
            os._exit(1)  # the second signal: now
        stop.set()

    for signal_number in _SIGNALS:
        loop.add_signal_handler(signal_number, on_signal)
    async with Application(settings) as application:
        greet(settings, application.port)
        stopping = asyncio.ensure_future(stop.wait())
        failing = asyncio.ensure_future(application.failed())
        done, pending = await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        _log.info("stopping", connections=len(application.parts.services.connections))
    if failing in done:
        failing.result()  # raises what failed
    _log.info("stopped")
    return 0


def serve_workers(config: Path | None, workers: int) -> int:
    """
    Run several gateways that share the port, each an instance of its own; return the exit status.

    A worker that dies is started again. Signals are passed on; the second one kills.
    """
    settings = load(config)
    logs.configure(settings.logging.level, settings.logging.format)
    if settings.listen.port == 0:
        raise ConfigError("listen.port", "workers share a port: name one")
    with dev.environment(settings) as complete:
        return _Supervisor(config, complete, workers).run()


class _Supervisor:
    """The parent of the workers."""

    def __init__(self, config: Path | None, settings: Settings, workers: int) -> None:
        self._config = config
        self._settings = settings
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._count = workers
        self._signals = 0

    def run(self) -> int:
        """Run until a signal comes and every worker has ended."""
        for signal_number in _SIGNALS:
            signal.signal(signal_number, self._on_signal)
        started_at = dict.fromkeys(range(self._count), 0.0)
        while True:
            for number, last in started_at.items():
                worker = self._workers.get(number)
                if self._signals or (worker is not None and worker.poll() is None):
                    continue
                if worker is not None:
                    _log.error("worker_died", worker=number, status=worker.returncode)
                    time.sleep(max(0.0, _RESTART_PAUSE_S - (time.monotonic() - last)))
                started_at[number] = time.monotonic()
                self._workers[number] = self._start(number)
            if self._signals and all(worker.poll() is not None for worker in self._workers.values()):
                return max((abs(worker.returncode) for worker in self._workers.values()), default=0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._workers[0].wait(timeout=0.2)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "gateway", "serve"]
        if self._config is not None:
            arguments += ["-c", str(self._config)]
        settings = self._settings
        variables = {
            "GATEWAY_INSTANCE__ID": f"{settings.instance_id}-{number}",
            "GATEWAY_LISTEN__REUSE_PORT": "true",
            "GATEWAY_REDIS__URL": settings.redis_url,
        }
        return subprocess.Popen(arguments, env={**os.environ, **variables}, start_new_session=True)  # noqa: S603

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)
