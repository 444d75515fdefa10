"""
The wiring: which objects there are, and what each is told of the settings.

With `app`, the only module that reads settings; nothing is started here.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.asyncio import Redis

from gateway.access import Access
from gateway.address_rules import AddressRules
from gateway.addresses import Networks
from gateway.admission import AddressLimits, Admission
from gateway.auth import Authenticator, Jwks, Key, hmac_key, public_key, public_key_file
from gateway.backfill import Backfill
from gateway.commands import command_table
from gateway.consumer import Consumer
from gateway.errors import PoisonEntry
from gateway.explain import Explainer
from gateway.fanout import Fanout
from gateway.hub import Hub
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.orders import Orders
from gateway.policy import Action, Policy
from gateway.recovery import Recovery
from gateway.revocations import Revocations
from gateway.server import ServerOptions
from gateway.services import ConnectionLimits, Services, Tasks
from gateway.settings import Http, Listen, Settings
from gateway.store.stream import StreamReader
from gateway.tls import Certificate
from gateway.wire.v1 import DeflateWire, TextWire
from publisher import Publisher
from publisher.event import ACCESS, EXPLAIN

_log = structlog.get_logger()

_RESERVED_FILES = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects of one gateway."""

    services: Services
    consumers: list[Consumer]
    text_wire: TextWire
    rules: AddressRules


def build(settings: Settings, redis: Redis) -> Parts:
    """Make the objects of one gateway and connect them."""
    metrics = Metrics()
    log = Log(
        partitions=settings.log.partitions,
        retention_ms=int(settings.log.retention_s * 1000),
        max_entries=settings.log.memory_entries,
        max_bytes=settings.log.memory_bytes,
    )

    def on_poison(poison: PoisonEntry) -> None:
        metrics.poison += 1
        entry_id = poison.entry_id.decode("ascii", "replace")
        _log.error("poison_entry", entry=entry_id, problem=str(poison))

    hub = Hub()
    revocations = Revocations()
    lifetime_s = settings.auth.max_lifetime_s
    orders = Orders(hub, revocations, max_token_lifetime_s=lifetime_s, on_poison=on_poison)
    fanout = Fanout(log, hub, obey=orders.obey)
    tasks = Tasks()
    services = Services(
        instance_id=settings.instance_id,
        log=log,
        hub=hub,
        fanout=fanout,
        policy=_policy(settings),
        authenticator=authenticator(settings),
        revocations=revocations,
        publisher=publisher(settings, redis),
        metrics=metrics,
        limits=_limits(settings),
        tasks=tasks,
        backfill=Backfill(redis, log, tasks, max_entries=settings.log.replay_entries),
    )
    services.commands = command_table(services)
    rules = address_rules(settings)
    access = Access(rules, services, redis)
    orders.add(ACCESS, access.obey)
    recovery = Recovery(services, redis, also=access.after_gap)
    orders.add(EXPLAIN, Explainer(services, redis).answer)

    consumers = [
        Consumer(
            StreamReader(redis, partition, settings.instance_id, timeout_s=settings.redis.timeout_s),
            partition,
            log=log,
            fanout=fanout,
            metrics=metrics,
            on_gap=recovery.after_gap,
            on_poison=on_poison,
            read_count=settings.log.read_count,
            retention_s=settings.log.retention_s,
        )
        for partition in range(settings.log.partitions)
    ]
    return Parts(services, consumers, TextWire(lambda number: log.partitions[number].epoch, on_poison), rules)


def server_options(settings: Settings, parts: Parts, unready: Callable[[], list[str]]) -> ServerOptions:
    """Return what the server is told."""
    return ServerOptions(
        max_connections=settings.limits.connections or room_for_files(),
        origins=frozenset(origin.lower() for origin in settings.listen.origins),
        text_wire=parts.text_wire,
        deflate_wire=DeflateWire(parts.text_wire) if settings.compression.enabled else None,
        unready=unready,
        admission=Admission(parts.rules, _address_limits(settings), trusted_proxies(settings)),
        certificate=certificate(settings.listen, "listen"),
    )


def certificate(section: Listen | Http, name: str) -> Certificate | None:
    """Return the certificate of a section; None where there is none. Raises `ConfigError`: it cannot be used."""
    if section.tls_certificate is None or section.tls_key is None:
        return None
    return Certificate(section.tls_certificate, section.tls_key, setting=name)


def address_rules(settings: Settings) -> AddressRules:
    """Return the address rules, without those that were given at run time."""
    return AddressRules(settings.access.block, settings.access.allow)


def trusted_proxies(settings: Settings) -> Networks[bool]:
    """Return the proxies whose word is taken."""
    return Networks((network, True) for network in settings.listen.trusted_proxies)


def room_for_files() -> int:
    """Return how many sockets the open file limit leaves room for."""
    return max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED_FILES)


def _policy(settings: Settings) -> Policy:
    rules = settings.policy
    return Policy({action: [rule.plain() for rule in getattr(rules, action.value)] for action in Action})


def _limits(settings: Settings) -> ConnectionLimits:
    limits = settings.limits
    return ConnectionLimits(
        max_message_bytes=limits.max_message_bytes,
        max_event_bytes=limits.max_event_bytes,
        messages_per_s=limits.messages_per_s,
        messages_burst=limits.messages_burst,
        addresses=limits.addresses,
        pending_commands=limits.pending_commands,
        handshake_timeout_s=limits.handshake_timeout_s,
        auth_timeout_s=limits.auth_timeout_s,
        stall_timeout_s=limits.stall_timeout_s,
        ping_interval_s=settings.heartbeat.ping_interval_s,
        heartbeat_timeout_s=settings.heartbeat.timeout_s,
        connections_per_user=limits.connections_per_user,
        replace_oldest=limits.over_user_limit == "replace",
    )


def _address_limits(settings: Settings) -> AddressLimits:
    limits = settings.limits
    return AddressLimits(limits.connections_per_ip, limits.handshakes_per_s, limits.handshakes_burst)


def publisher(settings: Settings, redis: Redis) -> Publisher:
    """Return the process's publisher."""
    return Publisher(
        redis,
        partitions=settings.log.partitions,
        maxlen=settings.log.maxlen,
        timeout_s=settings.redis.timeout_s,
    )


def authenticator(settings: Settings) -> Authenticator:
    """Return what verifies tokens. Raises `ConfigError`: there is no key that can."""
    auth = settings.auth
    keys: list[Key] = [
        hmac_key(secret.get_secret_value(), setting=f"auth.{name}")
        for name, secret in (("secret", auth.secret), ("previous_secret", auth.previous_secret))
        if secret is not None
    ]
    keys += [public_key(key) if "-----BEGIN" in key else public_key_file(Path(key)) for key in auth.public_keys]
    return Authenticator(
        keys=keys,
        jwks=Jwks(auth.jwks_url, lifetime_s=auth.jwks_lifetime_s) if auth.jwks_url else None,
        algorithms=auth.algorithms,
        audiences=auth.audience or (),
        issuers=auth.issuer or (),
        leeway_s=auth.leeway_s,
        max_lifetime_s=auth.max_lifetime_s,
    )
