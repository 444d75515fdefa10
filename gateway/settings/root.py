"""The whole configuration: its sections, what dev mode opens, and what must hold between them."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import ConfigError
from gateway.settings.access import Access
from gateway.settings.auth import Auth
from gateway.settings.chat import Chat, History
from gateway.settings.clients import Heartbeat, Limits, Policy
from gateway.settings.extensions import Handlers, Templates
from gateway.settings.inbox import Inbox
from gateway.settings.listeners import Compression, Http, Listen
from gateway.settings.presence import Presence
from gateway.settings.process import Instance, Log, Logging, Redis, Shutdown
from gateway.settings.ready import Ready
from gateway.settings.tracing import Tracing

ENV_PREFIX: Final = "GATEWAY_"
MIN_SECRET_BYTES: Final = 32


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
    inbox: Inbox = Inbox()
    access: Access = Access()
    limits: Limits = Limits()
    heartbeat: Heartbeat = Heartbeat()
    policy: Policy = Policy()
    chat: Chat = Chat()
    history: History = History()
    presence: Presence = Presence()
    compression: Compression = Compression()
    ready: Ready = Ready()
    shutdown: Shutdown = Shutdown()
    logging: Logging = Logging()
    tracing: Tracing = Tracing()
    handlers: Handlers = Field((), description="Plug-in handlers, as `package.module:Class`, in the order of asking.")
    templates: Templates = Field({}, description="Message templates, by name.")

    @model_validator(mode="before")
    @classmethod
    def _dev_defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Put what dev mode opens under what the file and the environment say."""
        return layered(_DEV_DEFAULTS, values) if values.get("mode") == "dev" else values

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
    def has_tls(self) -> bool:
        """Whether one of the ports speaks TLS, so that there is something to read again upon SIGHUP."""
        return self.listen.tls_certificate is not None or self.http.tls_certificate is not None

    @property
    def http_docs(self) -> bool:
        """Whether the HTTP API serves its documentation."""
        return self.mode == "dev" if self.http.docs is None else self.http.docs

    @property
    def http_console(self) -> bool:
        """Whether the HTTP API serves the console."""
        return self.mode == "dev" if self.http.console is None else self.http.console

    @property
    def redis_url(self) -> str:
        """The URL of the log's server."""
        url = self.redis.url
        return url.get_secret_value() if url is not None else "redis://127.0.0.1:6379/0"

    def refuse_one_port_for_two(self) -> None:
        """
        Refuse one port for the sockets and the HTTP API beside them.

        Not a part of the validation: `gateway api` and the tools open no socket at `listen.port`.

        Raises:
            ConfigError: They would listen on the same port of the same address.
        """
        same = self.http.enabled and self.http.port == self.listen.port != 0
        if same and _overlap(self.http_host, self.listen.host):
            raise ConfigError("http.port", f"is {self.http.port}, as listen.port is, on the same address: change one")

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
    "http": {"origins": ["*"], "metrics": "open"},
    "history": {"groups": ["*"]},
    "policy": {
        action: [_OPEN]
        for action in ("join_group", "send_to_group", "send_to_user", "subscribe", "add_tag", "see_online")
    },
    "presence": {"groups": ["*"]},
    "logging": {"format": "console", "level": "debug"},
    "shutdown": {"drain_s": 0.5},
}


def layered(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = layered(merged[key], value)
        merged[key] = value
    return merged


_ANY_V4: Final = "0.0.0.0"  # noqa: S104
_ANY: Final = frozenset({"", "::"})  # which on Linux is every IPv4 address as well


def _overlap(one: str, other: str) -> bool:
    """Tell whether a port of one host is a port of the other."""
    hosts = {"127.0.0.1" if host == "localhost" else host for host in (one, other)}
    if len(hosts) == 1 or hosts & _ANY:
        return True
    return _ANY_V4 in hosts and not any(":" in host for host in hosts)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
