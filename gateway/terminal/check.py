"""
`gateway check`: what is configured, where it comes from, what it means, and whether it would work.

Builds what `gateway serve` builds and starts nothing; asks Redis what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr
from redis.asyncio import Redis

from gateway.dev import try_folder
from gateway.embedded import running_server
from gateway.errors import ConfigError
from gateway.settings import ENV_PREFIX, ApiKey, Rule, Settings, load
from gateway.settings.file import read_file
from gateway.store.connection import REDIS_ERRORS
from gateway.store.peek import server_facts
from gateway.terminal.addresses import without_password
from gateway.terminal.meaning import Finding, Weight, meaning
from gateway.terminal.quantities import duration, plural, size
from gateway.terminal.redis_tool import open_redis
from gateway.terminal.style import Style, cut, printable, style_for, table
from gateway.wiring import build, certificate

_MOST_SHOWN: Final = 60
_LEAST_VERSION: Final = 7  # the first with the lag in XINFO GROUPS
_COLOURS: Final = {Weight.FACT: "dim", Weight.GOOD: "green", Weight.WARNING: "yellow", Weight.ERROR: "red"}
_PLACEHOLDER: Final = SecretStr("-" * 48)
_SOON_S: Final = 14 * 24 * 3600.0
_NOWHERE: Final = "unix:///nowhere"


def check(config: Path | None) -> int:
    """
    Print what a configuration is and means; return 1 if `gateway serve` would refuse it.

    Raises:
        ConfigError: It cannot be loaded at all.
    """
    settings = load(config)
    style = style_for(sys.stdout)
    print("\n".join(_settings_lines(settings, config, style)))
    findings = [*meaning(settings), *_about_this_machine(settings), *asyncio.run(_examine(settings))]
    print(style("What it means", "bold"))
    for finding in findings:
        colour = _COLOURS[finding.weight]
        loud = finding.weight in (Weight.WARNING, Weight.ERROR)
        print(f"  {style(finding.weight.value, colour)} {style(finding.text, *([colour] if loud else []))}")
    errors = sum(finding.weight is Weight.ERROR for finding in findings)
    warnings = sum(finding.weight is Weight.WARNING for finding in findings)
    print()
    if errors:
        print(style(f"✗ {plural(errors, 'error')}, {plural(warnings, 'warning')}: serve would refuse", "bold", "red"))
    else:
        print(style(f"✓ no error, {plural(warnings, 'warning')}", "bold", "green"))
    return 1 if errors else 0


# The settings.


def _settings_lines(settings: Settings, config: Path | None, style: Style) -> Iterator[str]:
    origins = _Origins(config, settings)
    yield f"{style('Configuration', 'bold')}  {origins.summary}"
    yield ""
    sections: dict[str, BaseModel] = {}
    rows = []
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            sections[name] = value
        else:
            rows.append(_row("", name, value, origins, style))
    everything = [("", rows)]
    everything += [
        (name, [_row(name, option, getattr(section, option), origins, style) for option in type(section).model_fields])
        for name, section in sections.items()
    ]
    lines = iter(table([row for _, rows in everything for row in rows]))
    for name, rows in everything:
        if name:
            yield style(name, "bold")
        for _ in rows:
            yield f"  {next(lines)}"
        yield ""


def _row(section: str, option: str, value: Any, origins: _Origins, style: Style) -> tuple[str, str, str]:
    origin = origins.of(section, option, value)
    usual = origin == "default"
    shown = cut(printable(_shown(option, value)), _MOST_SHOWN)
    return option, style(shown, *(["dim"] if usual else ["cyan"])), style(origin, "dim")


def _shown(option: str, value: Any) -> str:
    """Return a value as text; a secret only as its length."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return without_password(secret) if option == "url" else f"*** ({len(secret.encode())} bytes)"
    if isinstance(value, tuple):
        return ", ".join(_shown(option, item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    if isinstance(value, Rule):
        return f"{value.pattern}: {value.allow}"
    if isinstance(value, ApiKey):
        return f"{value.name} of {value.tenant}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.10g}{_in_words(option, value)}"
    return "not set" if value in (None, "") else str(value)


def _in_words(option: str, value: float) -> str:
    """Return what a large number of seconds or bytes amounts to."""
    if option.endswith("_s") and value >= 60 and not option.endswith("_per_s"):
        return f" ({duration(value)})"
    return f" ({size(int(value))})" if option.endswith("_bytes") and value >= 1024 else ""


class _Origins:
    """Where values come from."""

    def __init__(self, config: Path | None, settings: Settings) -> None:
        self._file: Mapping[str, Any] = read_file(config) if config is not None else {}
        self._dev = settings.mode == "dev"
        self._variables = {name.upper() for name in os.environ if name.upper().startswith(ENV_PREFIX)}
        parts = [str(config)] if config is not None else ["defaults only"]
        if self._variables:
            parts.append(f"{plural(len(self._variables), 'environment variable')}")
        self.summary = " and ".join(parts)

    def of(self, section: str, option: str, value: Any) -> str:
        """Return where an option's value comes from."""
        variable = ENV_PREFIX + (f"{section}__{option}" if section else option).upper()
        if variable in self._variables:
            return variable
        if f"{ENV_PREFIX}{section.upper()}" in self._variables and section:
            return f"{ENV_PREFIX}{section.upper()}"
        stated = self._file.get(section) if section else self._file
        if isinstance(stated, dict) and option in stated:
            return "file"
        return "dev mode" if self._dev and value != _default(section, option) else "default"


def _default(section: str, option: str) -> Any:
    holder: Any = Settings.model_fields[section].annotation if section else Settings
    return holder.model_fields[option].default


# Whether it would work.


def _about_this_machine(settings: Settings) -> Iterator[Finding]:
    """Find what serve would stumble over before it builds anything."""
    try:
        settings.refuse_one_port_for_two()
    except ConfigError as error:
        yield Finding(Weight.ERROR, str(error))
    if settings.mode == "dev":
        try:
            try_folder(settings.state_dir)
        except ConfigError as error:
            yield Finding(Weight.ERROR, str(error))


async def _examine(settings: Settings) -> list[Finding]:
    """Build what serve builds, and ask Redis what it is."""
    url = settings.redis.url.get_secret_value() if settings.redis.url is not None else None
    embedded = settings.mode == "dev" and url is None
    if embedded:
        url = running_server(settings.state_dir)
        settings = _with(settings, "redis", url=SecretStr(url or _NOWHERE))
    if settings.mode == "dev" and not _has_key(settings):
        settings = _with(settings, "auth", secret=_PLACEHOLDER)
    try:
        redis = open_redis(settings)
    except ConfigError as error:
        return [Finding(Weight.ERROR, str(error))]
    async with contextlib.aclosing(redis):
        findings = []
        try:
            build(settings, redis)
        except ConfigError as error:
            findings.append(Finding(Weight.ERROR, str(error)))
        findings += _about_certificates(settings)
        if embedded and url is None:
            return [*findings, Finding(Weight.FACT, "an embedded Redis starts with the gateway; it does not run now")]
        return [*findings, *await _examine_redis(settings, redis)]


def _about_certificates(settings: Settings) -> Iterator[Finding]:
    """Load what serve would load."""
    for name, section in (("listen", settings.listen), ("http", settings.http)):
        try:
            loaded = certificate(section, name)
        except ConfigError as error:
            yield Finding(Weight.ERROR, str(error))
            continue
        if loaded is None:
            continue
        facts, now = loaded.facts(), datetime.now(UTC)
        left_s = (facts.not_after - now).total_seconds()
        names = cut(printable(", ".join(facts.names) or "nobody"), _MOST_SHOWN)
        if left_s <= 0:
            yield Finding(Weight.WARNING, f"{name}.tls_certificate has expired: no client will accept it")
        elif left_s < _SOON_S:
            text = f"{name}.tls_certificate ends in {duration(left_s)}: renew it, and send SIGHUP"
            yield Finding(Weight.WARNING, text)
        else:
            yield Finding(Weight.GOOD, f"{name}.tls_certificate is for {names}, until {facts.not_after:%Y-%m-%d}")


def _with(settings: Settings, section: str, **values: Any) -> Settings:
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=values)})


def _has_key(settings: Settings) -> bool:
    return bool(settings.auth.secret or settings.auth.public_keys or settings.auth.jwks_url)


async def _examine_redis(settings: Settings, redis: Redis) -> list[Finding]:
    place = without_password(settings.redis_url)
    try:
        facts = await server_facts(redis)
    except REDIS_ERRORS as error:
        return [Finding(Weight.WARNING, f"Redis at {place} does not answer, and serve would not start: {error}")]
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    version = str(facts.get("valkey_version") or facts.get("redis_version") or "?")
    findings = [Finding(Weight.GOOD, f"{kind} {version} answers at {place}")]
    findings += _about_eviction(settings, facts)
    if facts.get("aof_enabled") == 0:
        text = "Redis keeps no append-only file: its restart loses the log, and clients are told to `resync`"
        findings.append(Finding(Weight.WARNING, text))
    if facts.get("role") == "slave":
        findings.append(Finding(Weight.WARNING, "Redis is a replica: nothing can be published there"))
    if kind == "Redis" and version.split(".")[0].isdigit() and int(version.split(".")[0]) < _LEAST_VERSION:
        findings.append(
            Finding(Weight.WARNING, f"Redis {version} is too old: use {_LEAST_VERSION} or newer, or Valkey")
        )
    return findings


def _about_eviction(settings: Settings, facts: Mapping[str, Any]) -> Iterator[Finding]:
    policy = facts.get("maxmemory_policy")
    if policy is None:
        yield Finding(Weight.WARNING, "the server does not tell its maxmemory-policy: make sure that it is noeviction")
    elif policy != "noeviction":
        weight = Weight.WARNING if settings.redis.allow_eviction else Weight.ERROR
        yield Finding(
            weight, f"its maxmemory-policy is {policy}: under pressure it would delete the log; use noeviction"
        )
    else:
        yield Finding(Weight.GOOD, "its maxmemory-policy is noeviction: the log is never evicted")
