"""
The settings: every option with its default, its unit and one sentence.

Defaults < YAML file (`-c`) < environment (`GATEWAY_SECTION__NAME`). Frozen, checked at start; what is unknown or
weak is refused with the setting's name. Only `app` and the command line read settings: every other object takes
plain values.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from redis.connection import parse_url

from gateway.errors import ConfigError
from gateway.policy import Rule as PolicyRule
from gateway.policy import is_grant
from publisher.address import DEFAULT_TENANT
from publisher.event import MAX_EVENT_BYTES

ENV_PREFIX = "GATEWAY_"
MIN_SECRET_BYTES = 32

# fmt: off
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]
# fmt: on
Seconds = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Listen(_Section):
    """Where sockets are accepted."""

    host: str = Field("0.0.0.0", description="Address to listen on; in dev mode only a loopback address.")  # noqa: S104
    port: int = Field(8889, ge=0, le=65535, description="TCP port of the WebSocket endpoint `/ws` and of `/health`.")
    backlog: int = Field(4096, ge=1, description="Connections that the kernel queues before they are accepted.")
    reuse_port: bool = Field(False, description="Share the port with other instances on this host (SO_REUSEPORT).")
    origins: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may connect, for example `https://app.example.com`, besides the gateway's own "
        "host. `*` allows every page.",
    )


class ApiKey(_Section):
    """A key for the HTTP API."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Names its holder, in logs and limits.")
    hash: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hex, as `gateway apikey NAME` prints it."
    )
    tenant: str = Field(
        DEFAULT_TENANT, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The tenant that its holder pushes to."
    )


def _distinct(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    for option in ("name", "hash"):
        if len({getattr(key, option) for key in keys}) < len(keys):
            raise ValueError(f"two keys have the same {option}")
    return keys


class Http(_Section):
    """The HTTP API."""

    enabled: bool = Field(True, description="Serve the HTTP API beside the sockets; `gateway api` serves it alone.")
    host: str | None = Field(None, min_length=1, description="Address to listen on. Default: that of `listen.host`.")
    port: int = Field(8890, ge=0, le=65535, description="TCP port of the HTTP API.")
    docs: bool | None = Field(
        None, description="Serve `/docs` and `/openapi.json`, to everybody. Default: in dev mode only."
    )
    api_keys: Annotated[tuple[ApiKey, ...], AfterValidator(_distinct)] = Field(
        (), description="Keys of services, which may push to one tenant each. A JWT with the scope `push` may as well."
    )
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1_024, description="Largest request body, in bytes.")
    body_timeout_s: Seconds = Field(10.0, description="Time for a request's body, in seconds.")
    connections: int = Field(1_000, ge=1, description="Most connections, and most requests at the same time.")
    requests_per_s: float = Field(1_000.0, gt=0, description="Requests of one caller per second, in the long run.")
    requests_burst: float = Field(2_000.0, ge=1, description="Requests of one caller at once.")


class Instance(_Section):
    """This process among the others."""

    id: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]{0,100}$",
        description="Names this process, its consumer group and its lease. Unique; keep it over restarts. "
        "Default: the host's name and the port.",
    )


def _redis_url(url: SecretStr | None) -> SecretStr | None:
    try:
        parse_url(url.get_secret_value() if url is not None else "redis://")  # type: ignore[no-untyped-call]
    except ValueError:  # whose message may hold a part of a password
        raise ValueError("use a redis://, rediss:// or unix:// URL") from None
    return url


class Redis(_Section):
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


class Auth(_Section):
    """Who is let in."""

    algorithms: tuple[Algorithm, ...] = Field(("HS256",), min_length=1, description="Accepted signature algorithms.")
    secret: SecretStr | None = Field(None, description="HMAC key for HS*, at least 32 bytes.")
    previous_secret: SecretStr | None = Field(None, description="HMAC key that is still accepted during a rotation.")
    public_keys: tuple[str, ...] = Field(
        (), description="Public keys for RS*, PS*, ES* and EdDSA: PEM text, or the path of a PEM file."
    )
    jwks_url: str | None = Field(None, description="URL of a JSON Web Key Set, instead of or besides `public_keys`.")
    jwks_lifetime_s: Seconds = Field(300.0, description="How long a fetched key set is used, in seconds.")
    issuer: str | None = Field(None, description="Required value of `iss`.")
    audience: str | None = Field(
        None, description="Required value of `aud`; without it, a token that has an `aud` is refused."
    )
    leeway_s: float = Field(
        10.0,
        ge=0,
        le=30,
        description="How far an issuer's clock may be ahead of ours, in seconds; `exp` is strict.",
    )
    max_lifetime_s: Seconds = Field(86_400.0, description="Longest life of a token that is accepted, in seconds.")


class Log(_Section):
    """The log, in Redis and in memory."""

    partitions: int = Field(1, ge=1, le=64, description="Streams that the log is spread over; the publishers' too.")
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


class Limits(_Section):
    """What one client may use up."""

    connections: int = Field(
        0, ge=0, description="Most connections. 0: as many as the open file limit leaves room for."
    )
    max_message_bytes: int = Field(65_536, ge=1_024, description="Largest frame from a client, in bytes.")
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES, ge=1_024, description="Largest event that a client's message may become, in bytes."
    )
    messages_per_s: float = Field(50.0, gt=0, description="Commands of one connection per second, in the long run.")
    messages_burst: float = Field(100.0, ge=1, description="Commands of one connection at once.")
    addresses: int = Field(1_000, ge=1, description="Groups, tags and topics of one connection.")
    pending_commands: int = Field(64, ge=1, description="Unanswered commands after which a client is not read from.")
    handshake_timeout_s: Seconds = Field(10.0, description="Time for the HTTP upgrade, in seconds.")
    auth_timeout_s: Seconds = Field(10.0, description="Time for a first `auth` frame, in seconds.")
    stall_timeout_s: Seconds = Field(
        10.0, description="A socket that takes nothing for so long is aborted, in seconds."
    )


class Heartbeat(_Section):
    """How a vanished peer is noticed."""

    ping_interval_s: Seconds = Field(25.0, description="A ping is sent to each client so often, in seconds.")
    timeout_s: Seconds = Field(60.0, description="A client from which no byte came for so long is gone, in seconds.")


class Rule(_Section):
    """One line of the policy."""

    pattern: str = Field("*", min_length=1, description="Names it is about: `*`, `?` and `[…]` as in a shell.")
    allow: str = Field(description="`anyone`, `token` (named in the claims), `scope:<name>` or `nobody`.")

    @model_validator(mode="after")
    def _known(self) -> Rule:
        if not is_grant(self.allow):
            raise ValueError(f"{self.allow!r} is not one of: anyone, token, scope:<name>, nobody")
        return self

    def plain(self) -> PolicyRule:
        """Return the rule as `policy` takes it."""
        return PolicyRule(self.pattern, self.allow)


Rules = tuple[Rule, ...]


class Policy(_Section):
    """What clients may do; the first matching rule decides, and what no rule matches is denied."""

    join_group: Rules = Field((Rule(allow="token"),), description="Who may join which group.")
    send_to_group: Rules = Field((Rule(allow="token"),), description="Who, being a member, may send to which group.")
    send_to_user: Rules = Field((), description="Who may send to which user.")
    subscribe: Rules = Field((Rule(allow="token"),), description="Who may subscribe to which topic.")
    add_tag: Rules = Field((Rule(allow="token"),), description="Who may give themselves which tag.")


class Compression(_Section):
    """permessage-deflate (RFC 7692)."""

    enabled: bool = Field(False, description="Offer compression: less traffic for more CPU, once per event.")


class Shutdown(_Section):
    """How SIGTERM is obeyed."""

    drain_s: float = Field(5.0, ge=0, description="Clients are sent away evenly over so many seconds.")


class Logging(_Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity that is logged.")
    format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")


def _under_a_folder(path: Path) -> Path:
    if str(path) in {"", "/"}:
        raise ValueError("use a folder of its own")
    return path


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid")

    mode: Literal["production", "dev"] = Field(
        "production", description="`dev`: loopback only, embedded Redis, a secret of its own, an open policy."
    )
    state_dir: Annotated[Path, AfterValidator(_under_a_folder)] = Field(
        Path(".tidegate"),
        description="In dev mode: where the embedded Redis and the development secret live.",
    )
    listen: Listen = Listen()
    http: Http = Http()
    instance: Instance = Instance()
    redis: Redis = Redis()
    auth: Auth = Auth()
    log: Log = Log()
    limits: Limits = Limits()
    heartbeat: Heartbeat = Heartbeat()
    policy: Policy = Policy()
    compression: Compression = Compression()
    shutdown: Shutdown = Shutdown()
    logging: Logging = Logging()

    @model_validator(mode="before")
    @classmethod
    def _dev_defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Put what dev mode opens under what the file and the environment say."""
        return _merged(_DEV_DEFAULTS, values) if values.get("mode") == "dev" else values

    @model_validator(mode="after")
    def _sane(self) -> Settings:
        if self.mode == "dev" and not _is_loopback(self.listen.host):
            raise ValueError(
                f"listen.host: dev mode listens on a loopback address only, such as 127.0.0.1, not {self.listen.host!r}"
            )
        if self.mode == "dev" and not _is_loopback(self.http_host):
            raise ValueError(f"http.host: dev mode listens on a loopback address only, not {self.http_host!r}")
        if self.heartbeat.timeout_s <= self.heartbeat.ping_interval_s:
            raise ValueError("heartbeat.timeout_s: must be over heartbeat.ping_interval_s")
        for name in ("secret", "previous_secret"):
            secret = getattr(self.auth, name)
            if secret is not None and len(secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
                raise ValueError(f"auth.{name}: use at least {MIN_SECRET_BYTES} bytes")
        return self

    @property
    def instance_id(self) -> str:
        """The instance's id, the default one made from where it runs."""
        return self.instance.id or f"{socket.gethostname().split('.')[0]}-{self.listen.port}"

    @property
    def http_host(self) -> str:
        """Where the HTTP API listens."""
        return self.http.host or self.listen.host

    @property
    def http_docs(self) -> bool:
        """Whether the HTTP API serves its documentation."""
        return self.mode == "dev" if self.http.docs is None else self.http.docs

    @property
    def redis_url(self) -> str:
        """The URL of the log's server."""
        url = self.redis.url
        return url.get_secret_value() if url is not None else "redis://127.0.0.1:6379/0"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which comes in as the constructor's arguments."""
        return env_settings, init_settings


_OPEN = {"allow": "anyone"}
_DEV_DEFAULTS: dict[str, Any] = {
    "listen": {"host": "127.0.0.1", "origins": ["*"]},
    "policy": {action: [_OPEN] for action in ("join_group", "send_to_group", "send_to_user", "subscribe", "add_tag")},
    "logging": {"format": "console"},
    "shutdown": {"drain_s": 0.5},
}


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """
    Load the settings from a YAML file, the environment and `overrides`, the last of which win over the file.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or wrong; the message has a line for each.
    """
    values = _merged(_read(path) if path is not None else {}, overrides)
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors()]
        raise ConfigError(problems[0][0], "\n".join([problems[0][1], *map(": ".join, problems[1:])])) from None
    except SettingsError as error:
        raise _malformed_variable(error) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:  # whose text may quote a line that holds a secret
        mark = getattr(error, "problem_mark", None)
        where = f": see line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(str(path), f"is not YAML in UTF-8{where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(str(path), "is not a mapping of sections")
    return values


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores variables it does not know; a misspelt one would silently do nothing."""
    for name in _variables():
        section, option = _setting_of(name)
        known = Settings.model_fields.get(section)
        options = getattr(known.annotation, "model_fields", {}) if known is not None else {}
        if known is None or (option and option not in options):
            where = f"{section}.{option}" if option else section
            candidates = ", ".join(options or Settings.model_fields)
            raise ConfigError(where, f"{name} is not a setting; there are: {candidates}")


def _malformed_variable(error: SettingsError) -> ConfigError:
    """Name the variable that pydantic-settings could not read: lists and whole sections have to be JSON."""
    for name in _variables():
        section, option = _setting_of(name)
        kind: Any = Settings.model_fields[section].annotation
        if option:
            kind = kind.model_fields[option].annotation
        if (get_origin(kind) is tuple or hasattr(kind, "model_fields")) and not _is_json(os.environ[name]):
            return ConfigError(f"{section}.{option}" if option else section, f'{name} is not JSON, such as ["a", "b"]')
    return ConfigError("environment", str(error))


# What Kubernetes puts into every pod for a Service called `gateway`, this one always among it.
_SERVICE_HOST = "GATEWAY_SERVICE_HOST"
_SERVICE_LINK = re.compile(r"GATEWAY_(?:SERVICE_(?:HOST|PORT\w*)|PORT(?:_\d+_(?:TCP|UDP)\w*)?)")


def _variables() -> list[str]:
    names = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    if _SERVICE_HOST in names:
        names = [name for name in names if _SERVICE_LINK.fullmatch(name) is None]
    return names


def _setting_of(variable: str) -> tuple[str, str]:
    section, _, option = variable[len(ENV_PREFIX) :].lower().partition("__")
    return section, option


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = _merged(merged[key], value)
        merged[key] = value
    return merged


def _problem(details: Any) -> tuple[str, str]:
    """Return the setting's name and what is wrong with it; never the value, which may be a secret."""
    where = ".".join(map(str, details["loc"]))
    message = str(details["msg"]).removeprefix("Value error, ")
    if not where and ": " in message:
        where, message = message.split(": ", 1)
    if details["type"] == "extra_forbidden":
        message = "is not a setting; there are: " + ", ".join(_siblings(details["loc"]))
    return where, message


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    fields = Settings.model_fields
    for part in location[:-1]:
        if isinstance(part, str) and part in fields:
            kind = fields[part].annotation
            item = next(iter(get_args(kind)), None)  # of a tuple
            fields = getattr(kind, "model_fields", None) or getattr(item, "model_fields", {})
    return list(fields)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
