"""The process, its Redis and its log: the sections `instance`, `redis`, `log`, `shutdown` and `logging`."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr
from redis.connection import parse_url

from gateway.settings.section import Seconds, Section
from publisher.options import MAX_PARTITIONS


class Instance(Section):
    """This process among the others."""

    id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]{0,100}$",
        description="Names this process, its consumer group and its lease. Unique; keep it over restarts. "
        "Default: the host's name and the port.",
    )


# What follows the host in a TCP URL. redis-py takes everything else for database 0, and `/1/2` for 12.
_DATABASE: Final = re.compile(r"/?|/[0-9]+/?")


def _redis_url(url: SecretStr | None) -> SecretStr | None:
    text = url.get_secret_value() if url is not None else "redis://"
    try:
        parse_url(text)  # type: ignore[no-untyped-call]
        parts = urlsplit(text)
    except ValueError:  # whose message may hold a part of a password
        raise ValueError("use a redis://, rediss:// or unix:// URL") from None
    if parts.scheme != "unix" and _DATABASE.fullmatch(unquote(parts.path)) is None:
        raise ValueError("what follows the host is the database's number: redis://127.0.0.1:6379/0")
    return url


class Redis(Section):
    """The log's server."""

    url: Annotated[SecretStr | None, AfterValidator(_redis_url)] = Field(
        None,
        description="`redis://`, `rediss://` or `unix://` URL. Default: `redis://127.0.0.1:6379/0`; in dev mode an "
        "embedded server.",
    )
    timeout_s: Seconds = Field(5.0, description="Longest wait for a reply, in seconds.")
    allow_eviction: bool = Field(
        False,
        description="Start although `maxmemory-policy` is not `noeviction`: the log may then disappear.",
    )


class Log(Section):
    """The log, in Redis and in memory."""

    partitions: int = Field(
        1, ge=1, le=MAX_PARTITIONS, description="Streams that the log is spread over; the publishers' too."
    )
    retention_s: Seconds = Field(600.0, description="How far back a client can resume, in seconds.")
    memory_entries: int = Field(200_000, ge=1, description="Most entries kept in memory.")
    memory_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024, description="Most memory for entries, in bytes.")
    maxlen: int = Field(1_000_000, ge=1_000, description="Most entries kept in Redis, whatever their age.")
    replay_entries: int = Field(
        10_000,
        ge=0,
        description="Most entries read back from Redis for one client whose cursor is older than memory.",
    )
    read_count: int = Field(512, ge=1, le=10_000, description="Most entries taken by one read.")


class Shutdown(Section):
    """How SIGTERM is obeyed."""

    notice_s: float = Field(
        0.0, ge=0, description="How long `/ready` says no, and all else goes on, before clients are sent away."
    )
    drain_s: float = Field(5.0, ge=0, description="Clients are sent away evenly over so many seconds.")


class Logging(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity that is logged.")
    format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")
