"""
The provider's key set (RFC 7517 section 5), fetched over HTTP and kept in memory.

Responsible for when it is fetched: in the background by one owner task, and once a minute at most when a
token names an unknown key; never per connection, and never from an address that a token names. A failure
keeps the old keys. Knows nothing of tokens.

PyJWT's `PyJWKClient` is not used: it reads bodies of any size, and takes symmetric keys from them.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

import structlog

from gateway.auth.keys import Key, jwks_keys
from gateway.errors import ConfigError

MAX_BODY_BYTES = 512 * 1024
COOLDOWN_S = 60.0
_FIRST_RETRY_S = 1.0
_CHUNK_BYTES = 64 * 1024

_log = structlog.get_logger(__name__)


class Jwks:
    """
    The keys at a URL.

    Use from one event loop. `refresh` may be called by any number of tasks: they share one fetch.

    Args:
        lifetime_s: The keys are fetched again this long after the last success.
        timeout_s: For each wait on the server; twice that for the whole fetch.
        cooldown_s: The least time between two fetches that unknown keys cause.
        clock: Any monotonic clock, in seconds.

    Attributes:
        keys: The usable keys of the last fetch that succeeded; empty before it.
        version: Grows whenever `keys` changes.
        failures: How many fetches have failed since the last that succeeded.

    Raises:
        ConfigError: The URL is not http(s), or holds a password.
    """

    def __init__(
        self,
        url: str,
        *,
        lifetime_s: float = 300,
        timeout_s: float = 5,
        cooldown_s: float = COOLDOWN_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check_url(url)
        if lifetime_s <= 0:
            raise ConfigError("auth.jwks_lifetime_s", "use a positive number of seconds")
        self._url = url
        self._lifetime_s = lifetime_s
        self._timeout_s = timeout_s
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._no_refresh_before = float("-inf")
        self._body = b""
        self._flight: asyncio.Task[bool] | None = None
        self.keys: tuple[Key, ...] = ()
        self.version = 0
        self.failures = 0

    async def run(self) -> None:
        """Fetch now and whenever the lifetime is over, until cancelled. Failures are retried sooner."""
        try:
            while True:
                fetched = await self._fetch_together()
                pause_s = self._lifetime_s * random.uniform(0.9, 1.1) if fetched else self._retry_s()
                await asyncio.sleep(pause_s)
        finally:
            if self._flight is not None:
                self._flight.cancel()

    async def refresh(self) -> bool:
        """
        Fetch because a key is missing, or join the fetch that is under way; tell whether it succeeded.

        False at once within `cooldown_s` of the last such fetch: hostile tokens must not become requests.
        """
        if self._flight is None:
            if self._clock() < self._no_refresh_before:
                return False
            self._no_refresh_before = self._clock() + self._cooldown_s
        return await self._fetch_together()

    async def _fetch_together(self) -> bool:
        if self._flight is None:
            self._flight = asyncio.create_task(self._fetch(), name="jwks-fetch")
            self._flight.add_done_callback(self._land)
        flight = self._flight
        # Not `await flight`: a caller whose client has gone must not take the fetch away from the others.
        await asyncio.wait([flight])
        return not flight.cancelled() and flight.result()

    def _land(self, _flight: asyncio.Task[bool]) -> None:
        self._flight = None

    async def _fetch(self) -> bool:
        try:
            # The thread itself cannot be stopped; its waits on the server are bounded by `timeout_s` each.
            async with asyncio.timeout(2 * self._timeout_s):
                body, keys = await asyncio.to_thread(_load, self._url, self._timeout_s)
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            self.failures += 1
            _log.warning("jwks_fetch_failed", error=f"{type(error).__name__}: {error}"[:200], failures=self.failures)
            return False
        self.failures = 0
        if body != self._body:
            self._body, self.keys = body, keys
            self.version += 1
            _log.info("jwks_changed", keys=len(keys))
        return True

    def _retry_s(self) -> float:
        """Return the wait after `failures` failures in a row: doubling, jittered, a minute at most."""
        longest = min(self._lifetime_s, COOLDOWN_S)
        return min(longest, _FIRST_RETRY_S * 2.0 ** min(self.failures, 10)) * random.uniform(0.5, 1.0)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("auth.jwks_url", "use an http:// or https:// URL")
    if "@" in parts.netloc:
        raise ConfigError("auth.jwks_url", "a URL must not hold a password")


def _load(url: str, timeout_s: float) -> tuple[bytes, tuple[Key, ...]]:
    """Fetch and parse the key set. Blocking, in a thread; pure but for the request."""
    body = _get(url, timeout_s)
    return body, jwks_keys(json.loads(body.decode("utf-8")))


def _get(url: str, timeout_s: float) -> bytes:
    # Not `build_opener`: it follows redirects, which could lead to another host, to plain HTTP or into our
    # own network, and it reads file: and ftp:, too.
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 -- see `_check_url`
    deadline = time.monotonic() + timeout_s
    body = b""
    with opener.open(request, timeout=timeout_s) as response:
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"status {response.status}")
        # In pieces, because the socket's timeout starts anew with every byte that a slow server sends.
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ValueError(f"over {MAX_BODY_BYTES} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError("the body took too long")
    return body
