"""Where clients and services connect: the sections `listen`, `http` and `compression`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.settings.access import NetworkList
from gateway.settings.section import Seconds, Section, TlsSection
from publisher.address import DEFAULT_TENANT

# What a browser sends (RFC 6454, section 6.2). One with a slash at its end would never match anything.
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s@*]+")


def _whole_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and _ORIGIN.fullmatch(origin) is None:
            raise ValueError("use whole origins, such as https://app.example.com, without a path; or `*`")
    return origins


class Listen(TlsSection):
    """Where sockets are accepted."""

    host: str = Field("0.0.0.0", description="Address to listen on; in dev mode only a loopback address.")  # noqa: S104
    port: int = Field(8889, ge=0, le=65535, description="TCP port of the WebSocket endpoint `/ws` and of `/health`.")
    backlog: int = Field(4096, ge=1, description="Connections that the kernel queues before they are accepted.")
    reuse_port: bool = Field(False, description="Share the port with other instances on this host (SO_REUSEPORT).")
    origins: Annotated[tuple[str, ...], AfterValidator(_whole_origins)] = Field(
        (),
        description="Origins whose pages may connect, for example `https://app.example.com`, besides the gateway's own "
        "host. `*` allows every page.",
    )
    trusted_proxies: NetworkList = Field(
        (), description="Networks (CIDR) of the proxies whose `X-Forwarded-For` is believed, on both ports."
    )


class ApiKey(Section):
    """A key for the HTTP API."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Names its holder, in logs and limits.")
    hash: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the key, in hex, as `gateway apikey NAME` prints it."
    )
    tenant: str = Field(
        DEFAULT_TENANT, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="The tenant that its holder pushes to."
    )
    scopes: tuple[Literal["push", "admin"], ...] = Field(
        ("push",), min_length=1, description="What its holder may do: `push`, and `admin` to operate the gateways."
    )


def _distinct(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
    for option in ("name", "hash"):
        if len({getattr(key, option) for key in keys}) < len(keys):
            raise ValueError(f"two keys have the same {option}")
    return keys


def _off(value: Any) -> Any:
    """Take YAML's word for false, which `off` is."""
    return "off" if value is False else value


class Http(TlsSection):
    """The HTTP API."""

    enabled: bool = Field(True, description="Serve the HTTP API beside the sockets; `gateway api` serves it alone.")
    host: str | None = Field(None, min_length=1, description="Address to listen on. Default: that of `listen.host`.")
    port: int = Field(8890, ge=0, le=65535, description="TCP port of the HTTP API.")
    docs: bool | None = Field(
        None, description="Serve `/docs` and `/openapi.json`, to everybody. Default: in dev mode only."
    )
    console: bool | None = Field(
        None, description="Serve the console, `/console`, to everybody: a page without data. Default: in dev mode only."
    )
    websocket_url: str | None = Field(
        None,
        pattern=r"^wss?://[A-Za-z0-9.:\[\]-]+/[A-Za-z0-9/._~-]*$",
        description="The WebSocket endpoint as browsers reach it, for the console: `wss://push.example.com/ws`. "
        "Default: `ws:`, on the console's own host, at `listen.port`.",
    )
    client: bool = Field(
        True, description="Serve the JavaScript client, `/tidegate.js`, to everybody: public code without data."
    )
    origins: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may call the HTTP API, for example `https://app.example.com`, besides the "
        "API's own host. `*` allows every page.",
    )
    metrics: Annotated[Literal["off", "credential", "open"], BeforeValidator(_off)] = Field(
        "credential",
        description="Serve `/metrics`: to nobody, to callers who may push, or to everybody; in dev mode to everybody.",
    )
    api_keys: Annotated[tuple[ApiKey, ...], AfterValidator(_distinct)] = Field(
        (), description="Keys of services, which may push to one tenant each. A JWT with the scope `push` may as well."
    )
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1_024, description="Largest request body, in bytes.")
    body_timeout_s: Seconds = Field(10.0, description="Time for a request's body, in seconds.")
    connections: int = Field(1_000, ge=1, description="Most connections, and most requests at the same time.")
    requests_per_s: float = Field(1_000.0, gt=0, description="Requests of one caller per second, in the long run.")
    requests_burst: float = Field(2_000.0, ge=1, description="Requests of one caller at once.")


class Compression(Section):
    """permessage-deflate (RFC 7692)."""

    enabled: bool = Field(False, description="Offer compression: less traffic for more CPU, once per event.")
