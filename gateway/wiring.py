"""
The wiring: which objects there are, and what each is told of the settings.

With `app`, the only module that reads settings; nothing is started here.
"""

from __future__ import annotations

import resource
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.asyncio import Redis

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
from gateway.presence import Kept, Tracker
from gateway.presence_service import PresenceService
from gateway.recovery import Recovery
from gateway.revocations import Revocations
from gateway.server import ServerOptions
from gateway.services import ConnectionLimits, Services, Tasks
from gateway.settings import Settings
from gateway.store.online import Online
from gateway.store.presence import PresenceStore
from gateway.store.stream import StreamReader
from gateway.wire.v1 import DeflateWire, TextWire
from publisher import Publisher
from publisher.event import EXPLAIN

_log = structlog.get_logger()

_RESERVED_FILES = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects of one gateway."""

    services: Services
    consumers: list[Consumer]
    text_wire: TextWire
    presence: PresenceService | None


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

    tracker = Tracker(_kept(settings), settings.presence.leave_grace_s) if settings.presence.enabled else None
    hub = Hub(observe=tracker.observe if tracker is not None else None)
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
        online=online(settings, redis, settings.instance_id),
    )
    services.commands = command_table(services)
    recovery = Recovery(services, redis)
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
    text_wire = TextWire(lambda number: log.partitions[number].epoch, on_poison)
    return Parts(services, consumers, text_wire, _presence(settings, redis, tracker))


def server_options(settings: Settings, parts: Parts, unready: Callable[[], list[str]]) -> ServerOptions:
    """Return what the server is told."""
    return ServerOptions(
        max_connections=settings.limits.connections or room_for_files(),
        origins=frozenset(origin.lower() for origin in settings.listen.origins),
        text_wire=parts.text_wire,
        deflate_wire=DeflateWire(parts.text_wire) if settings.compression.enabled else None,
        unready=unready,
    )


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
    )


def publisher(settings: Settings, redis: Redis) -> Publisher:
    """Return the process's publisher."""
    return Publisher(
        redis,
        partitions=settings.log.partitions,
        maxlen=settings.log.maxlen,
        timeout_s=settings.redis.timeout_s,
    )


def online(settings: Settings, redis: Redis, instance_id: str | None = None) -> Online | None:
    """Return what knows who is online; None where that is off."""
    if not settings.presence.enabled:
        return None
    return Online(redis, partitions=settings.log.partitions, kept=_kept(settings), instance_id=instance_id)


def _kept(settings: Settings) -> Kept:
    return Kept(settings.presence.groups)


def _presence(settings: Settings, redis: Redis, tracker: Tracker | None) -> PresenceService | None:
    if tracker is None:
        return None
    log = settings.log
    store = PresenceStore(redis, token=secrets.token_hex(8), partitions=log.partitions, maxlen=log.maxlen)
    return PresenceService(tracker, store, settings.instance_id)


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
