"""
The application: a gateway's life, from "nothing" to "serving" and back.

A resource goes on the exit stack when it is there, so that the end mirrors the start, and what fails half way is
undone as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Coroutine
from typing import Any

import structlog
from redis.asyncio import Redis

from gateway.consumer import Consumer
from gateway.errors import ConfigError
from gateway.exposition import Exposition, Sources
from gateway.http.server import HttpServer
from gateway.http_wiring import http_server, http_socket
from gateway.janitor import Janitor
from gateway.projector import Projector
from gateway.readiness import Readiness
from gateway.server import Server
from gateway.settings import Listen, Settings
from gateway.statistics import Statistics, packed, statistics
from gateway.store.access import load_rules
from gateway.store.connection import REDIS_ERRORS, connect, eviction_policy
from gateway.store.leases import Lease
from gateway.store.revocations import load_revocations
from gateway.template_keeper import TemplateKeeper
from gateway.tls import Certificate
from gateway.version import VERSION
from gateway.wiring import (
    Parts,
    build,
    certificate,
    most_connections,
    projectors,
    server_options,
    templates,
    work_redis,
)
from publisher.failure import describe

_log = structlog.get_logger()

_START_WITHIN_S = 4.0  # how long Redis may refuse to be read before a start is given up
# Entries of the log are not garbage: look for cycles less often, but while the young ones are still in the cache.
_GC_THRESHOLDS = (5_000, 200, 100)


class Application:
    """
    One gateway: serves while the `async with` block lasts.

    Attributes:
        port: Where it listens.
        http_port: Where its HTTP API does; None where that is off.
        parts: Its objects.
    """

    port: int
    http_port: int | None
    parts: Parts
    _readiness: Readiness
    _redis: Redis
    _certificate: Certificate | None
    _http_certificate: Certificate | None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._projectors: list[Projector] = []
        self._started_at = int(time.time() * 1000)

    async def __aenter__(self) -> Application:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._readiness.draining = True
        await asyncio.sleep(self._settings.shutdown.notice_s)  # so that nobody is sent here who would be turned away
        await self._stack.aclose()

    async def failed(self) -> None:
        """
        Wait until something fails that the gateway cannot go on without.

        Raises:
            GatewayError: What failed.
        """
        await self._failure

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Start in this order; `stack` stops in the opposite one."""
        try:
            await self._start_reading(stack)
        except REDIS_ERRORS as error:
            raise ConfigError("redis.url", f"the server cannot be used: {describe(error)}") from None
        # 4. Sockets.
        settings = self._settings
        self._http_certificate = certificate(settings.http, "http") if settings.http.enabled else None
        http = self._http_server() if settings.http.enabled else None
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        options = server_options(settings, self.parts, self.unready)
        self._certificate = options.certificate
        server = Server(self.parts.services, options)
        stack.push_async_callback(server.stop, settings.shutdown.drain_s)
        self.port = await _listen(server, settings.listen)
        # 5. The HTTP API.
        self.http_port = None
        if http is not None:
            stack.push_async_callback(http.stop)
            self.http_port = await http.start(http_socket(settings), self._run)
        _log.info(
            "listening",
            host=settings.listen.host,
            port=self.port,
            http_port=self.http_port,
            instance=settings.instance_id,
        )

    async def _start_reading(self, stack: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        # 1. Redis, closed last.
        redis = self._redis = connect(settings.redis_url, settings.redis.timeout_s)
        stack.push_async_callback(redis.aclose)
        blocking = work_redis(settings)
        stack.push_async_callback(blocking.aclose)
        await _check_redis(redis, settings)
        self.parts = build(settings, redis)
        services = self.parts.services
        if self.parts.tracing is not None:  # it sends what it still has, and may wait for whom it sends it to
            stack.push_async_callback(asyncio.to_thread, self.parts.tracing.close)
        self._readiness = Readiness(self.parts.consumers, self.parts.canary, max_lag_s=settings.ready.max_lag_s)
        # 2. The lease: nobody else is this instance.
        lease = Lease(redis, settings.instance_id)
        stack.push_async_callback(_give_back, lease)  # first: a start that is cancelled may have it without knowing
        await self._take(lease)
        # 3. Consumers, and whatever else runs by itself.
        stack.push_async_callback(services.publisher.aclose)
        stack.push_async_callback(services.tasks.cancel)
        if services.plugins is not None:
            stack.push_async_callback(services.plugins.stop)
        self._run("keys", services.authenticator.run())
        for consumer in self.parts.consumers:
            self._run("consumer", consumer.run())
            await self._warmed(consumer)
        await load_revocations(redis, services.revocations)
        await load_rules(redis, self.parts.rules)
        self._run("janitor", self._janitor(redis, lease).run())
        self._run("canary", self.parts.canary.run())
        self._projectors = projectors(settings, blocking, services.metrics)
        for projector in self._projectors:
            self._run("projector", projector.run())
        keeper = TemplateKeeper(redis, templates(settings).definitions)
        await keeper.keep()  # once before anybody is let in
        self._run("templates", keeper.run())
        # Who is here: told once nobody is accepted any more, taken back before the log is left.
        presence = self.parts.presence
        if presence is not None:
            stack.push_async_callback(presence.end)
            await presence.begin()
            self._run("presence", presence.run())
        self._run("receipts", self.parts.reports.run())
        stack.push_async_callback(self.parts.reports.flush)  # once no socket is left to be written to

    async def _warmed(self, consumer: Consumer) -> None:
        """
        Wait until a consumer has caught up, for as long as it gets on.

        Raises:
            ConfigError: Redis does not let it read.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Any] = asyncio.ensure_future(consumer.warmed.wait())
        deadline = loop.time() + _START_WITHIN_S
        try:
            while not waiting.done() and not self._failure.done():
                if consumer.health.problem is None:
                    deadline = loop.time() + _START_WITHIN_S
                elif loop.time() > deadline:
                    raise ConfigError("redis.url", f"the log cannot be read: {consumer.health.problem}")
                await asyncio.wait({waiting, self._failure}, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failure.done():
            self._failure.result()

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a task whose failure is the application's."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self._failure.done():
                self._failure.set_exception(error)

        self.parts.services.tasks.start(name, coroutine).add_done_callback(ended)

    def reload(self) -> None:
        """Read the files of the certificates again."""
        for held in (self._certificate, self._http_certificate):
            if held is not None:
                held.reload()

    @property
    def connections(self) -> int:
        """How many sockets it holds."""
        return len(self.parts.services.connections)

    def _http_server(self) -> HttpServer:
        services = self.parts.services
        return http_server(
            self._settings,
            self._redis,
            websocket_port=lambda: self.port,
            publisher=services.publisher,
            authenticator=services.authenticator,
            revocations=services.revocations,
            rules=self.parts.rules,
            certificate=self._http_certificate,
            metrics=services.metrics,
            unready=self.unready,
            facts=self._counts,
            online=services.online,
            exposition=Exposition(
                services.metrics,
                version=VERSION,
                instance=self._settings.instance_id,
                unready=self.unready,
                sources=Sources(
                    services,
                    self.parts.consumers,
                    self._projectors,
                    self.parts.canary,
                    most_connections(self._settings),
                ),
            ),
        )

    def _janitor(self, redis: Redis, lease: Lease) -> Janitor:
        log = self._settings.log
        return Janitor(
            redis,
            lease,
            partitions=log.partitions,
            retention_s=log.retention_s,
            revocations=self.parts.services.revocations,
            facts=self._facts,
            profiles=self.parts.services.members.profiles,
        )

    async def _take(self, lease: Lease) -> None:
        holder = await lease.hold(self._facts())
        if holder is not None:
            raise ConfigError(
                "instance.id",
                f"{self._settings.instance_id!r} is in use by process {holder.get('pid')} on {holder.get('host')}: "
                "give every instance an id of its own (that of a process which died is free after 30 s)",
            )

    def _facts(self) -> dict[str, str | int]:
        """Return what the lease says of this instance."""
        services = self.parts.services
        return {
            "version": VERSION,
            "address": f"{self._settings.listen.host}:{self._settings.listen.port}",
            "started_at": self._started_at,
            "connections": len(services.connections),
            "events": services.metrics.events,
            "deliveries": services.fanout.delivered + services.log.outcomes.caught_up,
            "memory_entries": len(services.log),
            "statistics": packed(self._statistics()),
        }

    def _statistics(self) -> Statistics:
        services = self.parts.services
        return statistics(services.metrics, services.log.outcomes, services.fanout.delivered)

    def _counts(self) -> dict[str, Any]:
        """Return what /stats says of this instance."""
        counts = self.parts.services.metrics.counts()
        return {"id": self._settings.instance_id, **self._facts(), **counts, "statistics": self._statistics()}

    def unready(self) -> list[str]:
        """Return what keeps the gateway from being ready; nothing when it is."""
        return self._readiness.reasons()


async def _listen(server: Server, listen: Listen) -> int:
    try:
        return await server.start(listen.host, listen.port, backlog=listen.backlog, reuse_port=listen.reuse_port)
    except OSError as error:  # in use, not allowed, not an address of this host
        raise ConfigError("listen.port", f"cannot listen on {listen.host}:{listen.port}: {error.strerror}") from None


async def _give_back(lease: Lease) -> None:
    with contextlib.suppress(*REDIS_ERRORS):
        await lease.release()


async def _check_redis(redis: Redis, settings: Settings) -> None:
    """Refuse a server on which the log would not last."""
    policy = await eviction_policy(redis)
    if policy not in (None, "noeviction"):
        problem = f"the server's maxmemory-policy is {policy!r}: under pressure it would delete the log"
        if not settings.redis.allow_eviction:
            raise ConfigError("redis.allow_eviction", f"{problem}; set it to 'noeviction'")
        _log.warning("log_may_be_evicted", policy=policy)
