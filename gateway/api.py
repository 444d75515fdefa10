"""
The HTTP API alone, for `gateway api`: no sockets, no consumer, no lease, so that pushing scales apart from holding
sockets.

What was revoked is asked of Redis every few seconds, because nothing is read from the log here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from gateway.errors import ConfigError
from gateway.exposition import Exposition
from gateway.http_wiring import http_server, http_socket
from gateway.metrics import Metrics
from gateway.readiness import DRAINING
from gateway.revocations import Revocations
from gateway.services import Tasks
from gateway.settings import Settings
from gateway.statistics import statistics
from gateway.store.access import load_rules
from gateway.store.connection import REDIS_ERRORS, connect
from gateway.store.revocations import load_revocations
from gateway.template_keeper import TemplateKeeper
from gateway.version import VERSION
from gateway.wiring import address_rules, authenticator, certificate, online, publisher, templates
from publisher.failure import describe

_log = structlog.get_logger()

_LOOK_EVERY_S: Final = 2.0


class ApiApplication:
    """
    One HTTP API: serves while the `async with` block lasts.

    Attributes:
        port: Where it listens.
    """

    port: int
    connections = 0  # it holds no sockets

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = Tasks()
        self._metrics = Metrics()
        self._revocations = Revocations()
        self._rules = address_rules(settings)
        self._certificate = certificate(settings.http, "http")
        self._problem: str | None = None
        self._draining = False
        self._started_at = int(time.time() * 1000)

    async def __aenter__(self) -> ApiApplication:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._draining = True
        await self._stack.aclose()

    async def failed(self) -> None:
        """
        Wait until something fails that the API cannot go on without.

        Raises:
            GatewayError: What failed.
        """
        await self._failure

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Start in this order; `stack` stops in the opposite one."""
        settings = self._settings
        redis = connect(settings.redis_url, settings.redis.timeout_s)
        stack.push_async_callback(redis.aclose)
        try:
            await load_revocations(redis, self._revocations)
            await load_rules(redis, self._rules)
        except REDIS_ERRORS as error:
            raise ConfigError("redis.url", f"the server cannot be used: {describe(error)}") from None
        verifier = authenticator(settings)
        sender = publisher(settings, redis)
        stack.push_async_callback(sender.aclose)
        stack.push_async_callback(self._tasks.cancel)
        self._run("keys", verifier.run())
        self._run("revocations", self._follow_revocations(redis))
        self._run("templates", TemplateKeeper(redis, templates(settings).definitions).run())
        server = http_server(
            settings,
            redis,
            websocket_port=lambda: settings.listen.port,
            publisher=sender,
            authenticator=verifier,
            revocations=self._revocations,
            rules=self._rules,
            certificate=self._certificate,
            metrics=self._metrics,
            unready=self.unready,
            facts=self.facts,
            online=online(settings, redis),
            exposition=Exposition(self._metrics, version=VERSION, instance=settings.instance_id, unready=self.unready),
        )
        stack.push_async_callback(server.stop)
        self.port = await server.start(http_socket(settings), self._run)
        _log.info("http_listening", host=settings.http_host, port=self.port)

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task whose failure is the application's."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self._failure.done():
                self._failure.set_exception(error)

        self._tasks.start(name, coroutine).add_done_callback(ended)

    def reload(self) -> None:
        """Read the files of the certificate again."""
        if self._certificate is not None:
            self._certificate.reload()

    async def _follow_revocations(self, redis: Any) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await load_revocations(redis, self._revocations)
                await load_rules(redis, self._rules)
                self._problem = None
            except REDIS_ERRORS as error:
                if self._problem is None:
                    _log.warning("redis_unavailable", error=describe(error))
                self._problem = type(error).__name__
            self._revocations.prune(int(time.time() * 1000))

    def facts(self) -> dict[str, Any]:
        """Return the counts of this process."""
        counts = self._metrics.counts()
        return {"version": VERSION, "started_at": self._started_at, **counts, "statistics": statistics(self._metrics)}

    def unready(self) -> list[str]:
        """Return what keeps the API from being ready; nothing when it is."""
        reasons = [DRAINING] if self._draining else []
        if self._problem is not None:
            reasons.append(f"Redis does not answer: {self._problem}")
        return reasons
