"""
What a configuration means, in plain words; what about it deserves a warning. Pure, but for the open file limit.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.policy import ANYONE, MEMBER, NOBODY, SCOPE_PREFIX, TOKEN
from gateway.settings import Rule, Settings
from gateway.terminal.addresses import http_url, websocket_url
from gateway.terminal.quantities import duration, number, size
from gateway.wiring import room_for_files

_FEW_CONNECTIONS: Final = 10_000

# Per action: what is done, to what, and what stands for those that a token names.
_ACTIONS: Final = {
    "join_group": ("join", "group", "the groups named in their token"),
    "send_to_group": ("send to", "joined group", "the groups named in their token, once joined"),
    "send_to_user": ("send to", "user", "their own other devices"),
    "subscribe": ("subscribe to", "topic", "the topics named in their token"),
    "add_tag": ("take", "tag", "the tags named in their token"),
}


class Weight(Enum):
    """How much a finding matters; the value is its mark."""

    FACT = "·"
    GOOD = "✓"
    WARNING = "!"
    ERROR = "✗"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a configuration."""

    weight: Weight
    text: str


def meaning(settings: Settings) -> Iterator[Finding]:
    """Yield what follows from the settings."""
    for text in (
        _listening(settings),
        _http(settings),
        *_tls(settings),
        *_access(settings),
        *_tokens(settings),
        *_log(settings),
        _inbox(settings),
        *_policy(settings),
        *_history(settings),
        _limits(settings),
    ):
        yield Finding(Weight.FACT, text)
    for text in _warnings(settings):
        yield Finding(Weight.WARNING, text)


def _listening(settings: Settings) -> str:
    origins = settings.listen.origins
    if "*" in origins:
        pages = "pages of every origin may connect"
    elif origins:
        pages = f"pages of its own host and of {', '.join(origins)} may connect"
    else:
        pages = "only pages of its own host may connect"
    where = "this machine only" if settings.mode == "dev" else settings.listen.host
    return f"clients connect to {websocket_url(settings)} (listening on {where}); {pages}"


def _http(settings: Settings) -> str:
    http = settings.http
    if not http.enabled:
        return "services push to the log, or to `gateway api`: there is no HTTP API beside the sockets"
    holders = f", or one of {len(http.api_keys)} API keys" if http.api_keys else ""
    docs = "; its documentation is open to everybody" if settings.http_docs else ""
    docs += "; the console is at /console" if settings.http_console else ""
    return f"services push at {http_url(settings)}, with a token of scope `push`{holders}{docs}"


def _tls(settings: Settings) -> Iterator[str]:
    for port, section in ((settings.listen.port, settings.listen), (settings.http.port, settings.http)):
        if section.tls_certificate is not None:
            yield f"port {port} speaks TLS, with {section.tls_certificate}; SIGHUP reads it again"


def _access(settings: Settings) -> Iterator[str]:
    proxies, rules, limits = settings.listen.trusted_proxies, settings.access, settings.limits
    if proxies:
        yield f"X-Forwarded-For is believed from {', '.join(proxies)}, and from nobody else"
    if rules.block or rules.allow:
        yield f"{len(rules.block)} networks are blocked and {len(rules.allow)} allowed; the most specific one decides"
    each = []
    if limits.connections_per_ip:
        each.append(f"{number(limits.connections_per_ip)} connections of one address")
    if limits.handshakes_per_s:
        each.append(f"{limits.handshakes_per_s:g} new ones of it per second")
    if limits.connections_per_user:
        then = "the oldest gives way" if limits.over_user_limit == "replace" else "more are refused"
        each.append(f"{number(limits.connections_per_user)} connections of one user ({then})")
    yield f"at most {', '.join(each)}" if each else "one address, and one user, may have any number of connections"


def _tokens(settings: Settings) -> Iterator[str]:
    auth = settings.auth
    algorithms = "/".join(auth.algorithms)
    keys = []
    if auth.secret is not None:
        keys.append(f"secret of {len(auth.secret.get_secret_value().encode())} bytes")
    elif settings.mode == "dev" and not auth.public_keys and not auth.jwks_url:
        keys.append(f"a secret of this folder's own, in {settings.state_dir}")
    if auth.previous_secret is not None:
        keys.append("the previous secret too")
    if auth.public_keys:
        keys.append(f"{len(auth.public_keys)} public key{'s' if len(auth.public_keys) > 1 else ''}")
    if auth.jwks_url:
        keys.append(f"the key set at {auth.jwks_url}")
    yield f"{algorithms} tokens, {', '.join(keys) or 'no key'}; one lives at most {duration(auth.max_lifetime_s)}"
    if auth.issuer is not None or auth.audience is not None:
        required = {"iss": auth.issuer, "aud": auth.audience}
        yield "a token needs " + " and ".join(f"{claim} {value!r}" for claim, value in required.items() if value)


def _log(settings: Settings) -> Iterator[str]:
    log = settings.log
    streams = "one stream" if log.partitions == 1 else f"{log.partitions} streams, of which publishers must know"
    yield f"clients can resume up to {duration(log.retention_s)} back; the log is {streams}"
    yield f"memory holds up to {number(log.memory_entries)} events or {size(log.memory_bytes)}, whichever is less"


def _inbox(settings: Settings) -> str:
    inbox = settings.inbox
    if not inbox.enabled:
        return "notifications are pushed and not kept"
    return f"an inbox keeps up to {number(inbox.max_entries)} notifications for {inbox.retention_days:g} days"


def _policy(settings: Settings) -> Iterator[str]:
    for action, (verb, noun, named) in _ACTIONS.items():
        rules: Sequence[Rule] = getattr(settings.policy, action)
        if not rules:
            yield f"nobody may {verb} {noun}s"
        elif rules[0].pattern == "*":
            yield _allowed(rules[0].allow, verb, f"any {noun}", named)
        else:
            each = [_allowed(rule.allow, verb, f"{noun}s like {rule.pattern!r}", named) for rule in rules]
            rest = "" if rules[-1].pattern == "*" else f"; nobody may {verb} other {noun}s"
            yield "; ".join(each) + rest


def _allowed(allow: str, verb: str, what: str, named: str) -> str:
    if allow == ANYONE:
        return f"everybody may {verb} {what}"
    if allow == MEMBER and "group" in what:
        named += ", and those that they are durable members of"
    if allow in (TOKEN, MEMBER):
        which = named if what.startswith("any ") else f"{what}, if it is one of {named}"
        return f"clients may {verb} {which}"
    if allow == NOBODY:
        return f"nobody may {verb} {what}"
    return f"clients with the scope {allow.removeprefix(SCOPE_PREFIX)!r} may {verb} {what}"


def _history(settings: Settings) -> Iterator[str]:
    history = settings.history
    if history.groups:
        which = "all groups" if "*" in history.groups else f"groups like {' or '.join(map(repr, history.groups))}"
        most, days = number(history.max_messages), f"{history.retention_days:g}"
        yield f"{which} keep a history: {most} messages each, for {days} days"


def _limits(settings: Settings) -> str:
    limits = settings.limits
    return (
        f"up to {number(limits.connections or room_for_files())} connections, each with {limits.messages_per_s:g} "
        f"commands a second; one that takes nothing for {duration(limits.stall_timeout_s)} is aborted"
    )


def _warnings(settings: Settings) -> Iterator[str]:
    auth, room = settings.auth, room_for_files()
    if settings.limits.connections > room:
        yield f"limits.connections: the open file limit leaves room for {number(room)} only (ulimit -n, LimitNOFILE=)"
    elif settings.mode == "production" and room < _FEW_CONNECTIONS and not settings.limits.connections:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        yield f"the open file limit, {number(limit)}, is low: raise it (ulimit -n, LimitNOFILE=) for more connections"
    if settings.mode == "production" and "*" in settings.listen.origins:
        yield "listen.origins: `*` lets a script on any web page connect with its visitor's token"
    if settings.mode == "production" and "*" in settings.http.origins:
        yield "http.origins: `*` lets a script on any web page that has a token call the HTTP API"
    if settings.mode == "production" and auth.audience is None and (auth.public_keys or auth.jwks_url):
        yield "auth.audience is not set: tokens that the issuer made for other services are accepted if they have none"
    if auth.jwks_url and auth.jwks_url.startswith("http://"):
        yield "auth.jwks_url: without TLS, whoever is on the way decides which keys are trusted"
    if auth.previous_secret is not None:
        yield f"auth.previous_secret: remove it once {duration(auth.max_lifetime_s)} have passed since the rotation"
    yield from _about_addresses(settings)
    if settings.redis.allow_eviction:
        yield "redis.allow_eviction: under memory pressure the log may disappear"
    ready = settings.ready
    if ready.canary_interval_s >= ready.canary_timeout_s:
        yield "ready.canary_timeout_s: under the interval, a single canary that is lost makes the gateway unready"
    if settings.log.retention_s < 60:
        yield f"log.retention_s: a client that is away for over {duration(settings.log.retention_s)} misses events"


def _about_addresses(settings: Settings) -> Iterator[str]:
    limits, proxies = settings.limits, settings.listen.trusted_proxies
    if (limits.connections_per_ip or limits.handshakes_per_s) and not proxies and not settings.listen.tls_certificate:
        yield "listen.trusted_proxies is empty: behind a proxy, all clients would share one address and its limits"
    if any(network.endswith("/0") for network in proxies):
        yield "listen.trusted_proxies: with everybody trusted, a client can write any address into X-Forwarded-For"
    if "0.0.0.0/0" in settings.access.block and "::/0" not in settings.access.block:
        yield "access.block: 0.0.0.0/0 is every IPv4 address only; add ::/0"
