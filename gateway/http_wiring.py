"""
The wiring of the HTTP API: what it is told of the settings. Nothing is started here.

Apart from `wiring`, because FastAPI takes a third of a second to import, which the tools need not wait for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from redis.asyncio import Redis

from gateway.address_rules import AddressRules
from gateway.auth import Authenticator
from gateway.console_wiring import console
from gateway.errors import ConfigError
from gateway.exposition import MEDIA_TYPE, Exposition
from gateway.http.api import make_api
from gateway.http.callers import ApiKey, Callers
from gateway.http.console_routes import Console, console_paths
from gateway.http.context import ANSWER_WITHIN_S, Context
from gateway.http.docs_routes import DOCS_PATHS
from gateway.http.doorkeeper import Doorkeeper
from gateway.http.gate import Gate, GateOptions
from gateway.http.javascript_routes import CLIENT_PATHS
from gateway.http.metrics_routes import METRICS_PATH, behind_gate, in_the_open
from gateway.http.operation_routes import HEALTH_PATH
from gateway.http.origins import open_to_pages
from gateway.http.server import HttpServer
from gateway.listener import listening_socket
from gateway.metrics import Metrics
from gateway.questions import Answers, ask
from gateway.revocations import Revocations
from gateway.settings import Settings
from gateway.store.access import stored_rules
from gateway.store.groups import live_instances, total_lags
from gateway.store.leases import instances
from gateway.store.online import Online
from gateway.tls import Certificate
from gateway.version import VERSION
from gateway.wiring import history, inbox, templates, trusted_proxies
from publisher import Publisher
from publisher.control import WEEK_S
from publisher.event import MAX_EVENT_BYTES

_METRICS = {"off": None, "credential": behind_gate, "open": in_the_open}


def http_server(
    settings: Settings,
    redis: Redis,
    *,
    websocket_port: Callable[[], int],
    publisher: Publisher,
    authenticator: Authenticator,
    revocations: Revocations,
    rules: AddressRules,
    certificate: Certificate | None,
    metrics: Metrics,
    unready: Callable[[], list[str]],
    facts: Callable[[], Mapping[str, Any]],
    online: Online | None,
    exposition: Exposition,
) -> HttpServer:
    """
    Return the HTTP API's server.

    Args:
        websocket_port: Returns where the sockets are, once they are somewhere.
    """
    http = settings.http
    page = console(settings, websocket_port)

    async def asks(question: str, data: Mapping[str, Any], tenant: str, of: Iterable[str] | None) -> Answers:
        whom = await live_instances(redis) if of is None else list(of)
        return await ask(redis, publisher, question, data, tenant=tenant, of=whom, within_s=ANSWER_WITHIN_S)

    context = Context(
        publisher=publisher,
        metrics=metrics,
        history=history(settings, redis),
        templates=templates(settings),
        max_event_bytes=MAX_EVENT_BYTES,
        revocation_s=max(WEEK_S, settings.auth.max_lifetime_s),
        unready=unready,
        facts=facts,
        leases=lambda: instances(redis),
        asks=asks,
        rules=lambda: stored_rules(redis),
        lags=lambda: total_lags(redis, settings.log.partitions),
        timeout_s=settings.redis.timeout_s,
        inbox=inbox(settings, redis),
        online=online,
        metrics_text=lambda: (exposition.text(), MEDIA_TYPE),
    )
    keys = [ApiKey(key.name, key.hash, key.tenant, frozenset(key.scopes)) for key in http.api_keys]
    gate = Gate(
        make_api(
            context,
            docs=settings.http_docs,
            client=http.client,
            version=VERSION,
            metrics=_METRICS[http.metrics],
            console=page,
        ),
        Callers(authenticator, revocations, keys, metrics),
        _gate_options(settings, page),
        metrics,
        Doorkeeper(rules, trusted_proxies(settings)),
    )
    app = open_to_pages(gate, http.origins)
    return HttpServer(app, max_connections=http.connections, backlog=settings.listen.backlog, certificate=certificate)


def _gate_options(settings: Settings, page: Console | None) -> GateOptions:
    """Return what the gate lets in."""
    http = settings.http
    return GateOptions(
        open_paths=_open_paths(settings) | console_paths(page),
        max_body_bytes=http.max_body_bytes,
        body_timeout_s=http.body_timeout_s,
        max_requests=http.connections,
        requests_per_s=http.requests_per_s,
        requests_burst=http.requests_burst,
    )


def _open_paths(settings: Settings) -> frozenset[str]:
    """Return what is answered without a credential."""
    docs = DOCS_PATHS if settings.http_docs else frozenset()
    client = CLIENT_PATHS if settings.http.client else frozenset()
    metrics = {METRICS_PATH} if settings.http.metrics == "open" else frozenset()
    return frozenset({HEALTH_PATH}) | docs | client | metrics


def http_socket(settings: Settings) -> socket.socket:
    """
    Return the bound socket of the HTTP API.

    Raises:
        ConfigError: The address cannot be had.
    """
    host, port = settings.http_host, settings.http.port
    try:
        return listening_socket(
            host, port, reuse_port=settings.listen.reuse_port, user_timeout_s=settings.heartbeat.timeout_s
        )
    except OSError as error:
        raise ConfigError("http.port", f"cannot listen on {host}:{port}: {error.strerror}") from None
