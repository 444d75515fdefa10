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

from gateway.access import Access
from gateway.address_rules import AddressRules
from gateway.addresses import Networks
from gateway.admission import AddressLimits, Admission
from gateway.auth import Authenticator, Jwks, Key, hmac_key, public_key, public_key_file
from gateway.backfill import Backfill
from gateway.canary import Canary
from gateway.chat import Chat
from gateway.clients import Census
from gateway.commands import command_table
from gateway.consumer import Consumer
from gateway.errors import PoisonEntry
from gateway.explain import Explainer
from gateway.fanout import Fanout
from gateway.history import History
from gateway.hub import Hub
from gateway.log import Log
from gateway.members import Members
from gateway.metrics import Metrics
from gateway.orders import Orders
from gateway.plugin_loading import load
from gateway.plugins import Plugins
from gateway.policy import Action, Policy
from gateway.presence import Kept, Tracker
from gateway.presence_service import PresenceService
from gateway.projector import BLOCK_S, Projector
from gateway.questions import Respondent
from gateway.recalls import MESSAGE_RECALLED, Recalls
from gateway.recovery import Recovery
from gateway.reports import Reports
from gateway.revocations import Revocations
from gateway.server import ServerOptions
from gateway.services import ConnectionLimits, Services, Tasks
from gateway.settings import Http, Listen, Settings
from gateway.store.connection import connect
from gateway.store.inbox import Inbox, InboxRules, inbox_rules
from gateway.store.inbox_work import WorkStream
from gateway.store.online import Online
from gateway.store.presence import PresenceStore
from gateway.store.stream import StreamReader
from gateway.tls import Certificate
from gateway.tracing import Tracing, open_tracing
from gateway.wire.v1 import DeflateWire, TextWire
from publisher import Publisher
from publisher.event import ACCESS, CANARY, CLIENT_STATISTICS, CLIENTS, EXPLAIN, MEMBERS
from publisher.notification import UNREAD_COUNT
from publisher.templates import Templates

_log = structlog.get_logger()

_RESERVED_FILES = 64


@dataclass(frozen=True, slots=True)
class Parts:
    """The objects of one gateway."""

    services: Services
    consumers: list[Consumer]
    text_wire: TextWire
    reports: Reports
    rules: AddressRules
    presence: PresenceService | None
    canary: Canary
    tracing: Tracing | None = None


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
    tracing = open_tracing(settings.instance_id) if settings.tracing.enabled else None
    fanout = Fanout(log, hub, obey=orders.obey, traced=None if tracing is None else tracing.delivered)
    chat = _chat(settings, redis, log)
    orders.add(MESSAGE_RECALLED, chat.recalls.obey)
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
        backfill=Backfill(redis, log, tasks, max_entries=settings.log.replay_entries, recalled=chat.recalls),
        chat=chat,
        inbox=inbox(settings, redis),
        online=online(settings, redis, settings.instance_id),
    )
    services.commands = command_table(services)
    services.members = Members(services, redis, partitions=settings.log.partitions, keep_s=settings.log.retention_s)
    if settings.handlers:
        services.plugins = Plugins(services, load(settings.handlers), timeout_s=settings.limits.handler_timeout_s)
        services.commands = services.plugins.commands(services.commands)
    orders.add(MEMBERS, services.members.changed)
    orders.add(UNREAD_COUNT, services.members.counted)
    _add_questions(services, orders, Respondent(redis, settings.instance_id, tasks))
    rules = address_rules(settings)
    access = Access(rules, services, redis)
    orders.add(ACCESS, access.obey)
    recovery = Recovery(services, redis, also=access.after_gap)
    consumers = _consumers(settings, redis, services, recovery, on_poison)
    reports = Reports(redis, log.outcomes.receipts, settings.instance_id, retention_s=settings.log.retention_s)
    text_wire = TextWire(lambda number: log.partitions[number].epoch, on_poison)
    canary = _canary(settings, services)
    orders.add(CANARY, canary.obey)
    presence = _presence(settings, redis, tracker)
    return Parts(services, consumers, text_wire, reports, rules, presence, canary, tracing)


def _add_questions(services: Services, orders: Orders, respondent: Respondent) -> None:
    """Let the instance answer what is asked of all of them."""
    census = Census(services)
    orders.add(EXPLAIN, respondent.order(Explainer(services).answer))
    orders.add(CLIENTS, respondent.order(census.clients))
    orders.add(CLIENT_STATISTICS, respondent.order(census.statistics))


def _canary(settings: Settings, services: Services) -> Canary:
    return Canary(
        services.publisher,
        services.metrics,
        settings.instance_id,
        partitions=settings.log.partitions,
        interval_s=settings.ready.canary_interval_s,
        timeout_s=settings.ready.canary_timeout_s,
    )


def _consumers(
    settings: Settings,
    redis: Redis,
    services: Services,
    recovery: Recovery,
    on_poison: Callable[[PoisonEntry], None],
) -> list[Consumer]:
    return [
        Consumer(
            StreamReader(redis, partition, settings.instance_id, timeout_s=settings.redis.timeout_s),
            partition,
            log=services.log,
            fanout=services.fanout,
            metrics=services.metrics,
            on_gap=recovery.after_gap,
            on_poison=on_poison,
            on_loaded=services.chat.recalls.review,
            read_count=settings.log.read_count,
            retention_s=settings.log.retention_s,
        )
        for partition in range(settings.log.partitions)
    ]


def server_options(settings: Settings, parts: Parts, unready: Callable[[], list[str]]) -> ServerOptions:
    """Return what the server is told."""
    return ServerOptions(
        max_connections=most_connections(settings),
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


def most_connections(settings: Settings) -> int:
    """Return beyond how many sockets handshakes are refused."""
    return settings.limits.connections or room_for_files()


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
        history_messages=settings.history.max_messages,
        history_days=settings.history.retention_days,
    )


def _chat(settings: Settings, redis: Redis, log: Log) -> Chat:
    return Chat(
        echo=settings.chat.echo,
        recall_within_ms=int(settings.chat.recall_within_s * 1000),
        history=history(settings, redis),
        recalls=Recalls(log, remember_ms=int(settings.log.retention_s * 1000)),
    )


def history(settings: Settings, redis: Redis) -> History:
    """Return what reads the groups' histories."""
    return History(
        redis,
        partitions=settings.log.partitions,
        groups=settings.history.groups,
        retention_ms=int(settings.history.retention_days * 24 * 3600 * 1000),
        timeout_s=settings.redis.timeout_s,
    )


def inbox(settings: Settings, redis: Redis) -> Inbox | None:
    """Return the inboxes; None where notifications are not kept."""
    return inbox_of(settings, redis) if settings.inbox.enabled else None


def inbox_of(settings: Settings, redis: Redis) -> Inbox:
    """Return the inboxes, whether or not anything is added to them."""
    return Inbox(redis, _inbox_rules(settings), timeout_s=settings.redis.timeout_s)


def _inbox_rules(settings: Settings) -> InboxRules:
    return inbox_rules(
        partitions=settings.log.partitions,
        maxlen=settings.log.maxlen,
        max_entries=settings.inbox.max_entries,
        retention_days=settings.inbox.retention_days,
    )


def work_redis(settings: Settings) -> Redis:
    """Return the projectors' client, whose timeout is longer than their reads block."""
    return connect(settings.redis_url, settings.redis.timeout_s + BLOCK_S)


def projectors(settings: Settings, redis: Redis, metrics: Metrics) -> list[Projector]:
    """Return what writes notifications into the inboxes, one for each partition; `redis` is that of `work_redis`."""
    rules = _inbox_rules(settings)
    return [
        Projector(
            WorkStream(redis, partition, settings.instance_id, rules),
            partition,
            metrics,
            keeps=settings.inbox.enabled,
        )
        for partition in range(settings.log.partitions)
    ]


def templates(settings: Settings) -> Templates:
    """Return the configured message templates."""
    return Templates({name: template.plain() for name, template in settings.templates.items()})


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
