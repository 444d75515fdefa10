"""
`gateway serve`: one gateway in this process; `gateway api`: its HTTP API alone.

Signals: the first SIGTERM, SIGINT or SIGHUP shuts down in order, the second at once. Where there is a certificate,
SIGHUP reads it again instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from gateway import dev, logs
from gateway.api import ApiApplication
from gateway.app import Application
from gateway.service_manager import ServiceManager
from gateway.settings import Settings
from gateway.supervisor import LIFELINE, stop_signals, tell_supervisor
from gateway.terminal.greeting import greet

_log = structlog.get_logger()

_STOPPED_AT_ONCE: Final = 1


def serve(settings: Settings, config: Path | None, *, worker: bool = False) -> int:
    """
    Run one gateway until a signal ends it; return the exit status.

    Args:
        config: Where the settings came from: for the greeting.
        worker: It is one of a supervisor's.
    """
    return _live(settings, lambda complete: _WorkerLife(complete) if worker else _Life(complete, config))


def serve_api(settings: Settings) -> int:
    """Run the HTTP API alone until a signal ends it; return the exit status."""
    return _live(settings, _ApiLife)


def _live(settings: Settings, life_of: Callable[[Settings], _Life]) -> int:
    logs.configure(settings.logging.level, settings.logging.format)
    for number in stop_signals(settings):
        signal.signal(number, _leave)  # until there is a loop: whatever was begun is undone
    if settings.has_tls:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the certificate is read after this
    with contextlib.ExitStack() as resources:
        life = life_of(resources.enter_context(dev.environment(settings)))
        return _runner().run(life.run(at_once=resources.close))


def _leave(_number: int, _frame: Any) -> NoReturn:
    raise SystemExit(0)


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:  # not on Windows; there is asyncio's own
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


class _Life:
    """One gateway from its start to its end."""

    def __init__(self, settings: Settings, config: Path | None = None) -> None:
        self._settings = settings
        self._config = config
        self._stop = asyncio.Event()
        self._starting: asyncio.Task[Any] | None = None
        self._application_running: Application | ApiApplication | None = None
        self._reload_due = False  # it was asked for during the start, when the files may have been read already
        self._at_once: Callable[[], None]
        self._manager = ServiceManager.of(os.environ)

    async def run(self, *, at_once: Callable[[], None]) -> int:
        """
        Serve until a signal comes; return the exit status.

        Args:
            at_once: Undoes what must not stay behind, when there is no time for the rest.

        Raises:
            GatewayError: What the gateway cannot go on without has failed.
        """
        self._at_once = at_once
        self._starting = asyncio.current_task()
        self._listen_for_the_end()
        watch = asyncio.create_task(self._manager.keep_watch(), name="watchdog")
        try:
            async with self._application() as application:
                self._starting = None
                self._application_running = application
                if self._reload_due:
                    application.reload()
                with self._announced(application.port):
                    self._manager.ready(f"Serving on port {application.port}")
                    await self._end(application)
                _log.info("stopping", connections=application.connections)
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        finally:
            watch.cancel()
        _log.info("stopped")
        return 0

    def _application(self) -> Application | ApiApplication:
        return Application(self._settings)

    def stop(self) -> None:
        """Shut down in order, even half way through the start; the second time, at once."""
        if self._stop.is_set():
            _log.warning("stopped_at_once")
            self._at_once()
            os._exit(_STOPPED_AT_ONCE)
        self._stop.set()
        self._manager.stopping()
        if self._starting is not None:
            self._starting.cancel()

    def _listen_for_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        for number in stop_signals(self._settings):
            loop.add_signal_handler(number, self.stop)
        if self._settings.has_tls:
            loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        if self._application_running is None:
            self._reload_due = True
            return
        with self._manager.reloading():
            self._application_running.reload()

    @contextlib.contextmanager
    def _announced(self, port: int, /) -> Iterator[None]:
        with dev.noted(self._settings, port):
            greet(self._settings, port, self._config)
            yield

    async def _end(self, application: Application | ApiApplication) -> None:
        """Wait for a signal, or for a failure, and raise that."""
        waiting = [asyncio.ensure_future(self._stop.wait()), asyncio.ensure_future(application.failed())]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        for task in done:
            task.result()


class _WorkerLife(_Life):
    """The same under a supervisor, which is told when it serves, and whose end is its own."""

    def _listen_for_the_end(self) -> None:
        super()._listen_for_the_end()
        asyncio.get_running_loop().add_reader(LIFELINE, self._supervisor_gone)

    def _supervisor_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(LIFELINE)
        _log.warning("supervisor_gone")
        self.stop()

    @contextlib.contextmanager
    def _announced(self, _port: int, /) -> Iterator[None]:
        tell_supervisor()
        yield


class _ApiLife(_Life):
    """The life of an HTTP API without sockets."""

    def _application(self) -> ApiApplication:
        return ApiApplication(self._settings)

    @contextlib.contextmanager
    def _announced(self, _port: int, /) -> Iterator[None]:
        yield
