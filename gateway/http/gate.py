"""
The gate: what every request has to pass before the API sees it.

Says who sends it, before a byte of the body is read; limits rates, sizes and times; logs one line; and turns what the
API fails at into an answer. An ASGI middleware. Knows no routes but those that are open to everybody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.callers import Caller, Callers
from gateway.http.doorkeeper import Doorkeeper
from gateway.http.problems import Problem, later
from gateway.limits import TokenBucket
from gateway.metrics import Metrics

_log = structlog.get_logger()

_MOST_BUCKETS: Final = 10_000
_DRAIN_BYTES: Final = 8 * 1024 * 1024
_DRAIN_S: Final = 1.0
_SAFE_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


@dataclass(frozen=True, slots=True)
class GateOptions:
    """
    What the gate lets in.

    Attributes:
        open_paths: Need no credential.
        max_body_bytes, body_timeout_s: Of one request.
        max_requests: At the same time.
        requests_per_s, requests_burst: Of one caller.
    """

    open_paths: frozenset[str]
    max_body_bytes: int
    body_timeout_s: float
    max_requests: int
    requests_per_s: float
    requests_burst: float


class Gate:
    """Stands before an ASGI application."""

    def __init__(
        self, app: ASGIApp, callers: Callers, options: GateOptions, metrics: Metrics, doorkeeper: Doorkeeper
    ) -> None:
        self._app = app
        self._callers = callers
        self._options = options
        self._metrics = metrics
        self._doorkeeper = doorkeeper
        self._running = 0
        self._rates = _Rates(options.requests_per_s, options.requests_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = _Answer(send)
        started_at = time.monotonic()
        self._running += 1
        try:
            await self._handle(scope, receive, answer)
        except Exception:  # a bug of ours must not end the connection without an answer
            _log.exception("http_request_failed", method=scope["method"], path=_path(scope))
            if answer.status is None:
                await _respond(Problem(500, "an error of the gateway's own; its log says more"), scope, answer.send)
        finally:
            self._running -= 1
            self._account(scope, answer, time.monotonic() - started_at)

    async def _handle(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            headers = Headers(scope=scope)
            await self._let_in(scope, headers)
            body = await self._body(headers, receive)
        except Problem as problem:
            await _drain(Headers(scope=scope), receive)
            problem.headers = {**(problem.headers or {}), "Connection": "close"}  # there may be more of the body
            await _respond(problem, scope, answer.send)
            return
        if body is not None:
            await self._app(scope, _given(body, receive), answer.send)

    async def _let_in(self, scope: Scope, headers: Headers) -> None:
        if self._running > self._options.max_requests:
            raise later("too many requests at once", 1)
        client = self._doorkeeper.client(scope, headers)
        scope.setdefault("state", {})["remote"] = client.text
        if scope["path"] in self._options.open_paths:
            return
        self._doorkeeper.check(client)
        caller = await self._callers.identify(headers)
        wait_s = self._rates.take(caller, time.monotonic())
        if wait_s:
            self._metrics.rate_limited["http"] += 1
            retry = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "too many requests of this caller", headers=retry)
        scope["state"]["caller"] = caller

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """Return the body; None where the peer has left."""
        limit = self._options.max_body_bytes
        too_large = Problem(413, f"the body is over the limit of {limit} bytes")
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated[:20]) > limit:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._options.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > limit:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise Problem(408, f"the body did not come within {self._options.body_timeout_s:g} s") from None

    def _account(self, scope: Scope, answer: _Answer, took_s: float) -> None:
        status = answer.status or 0
        self._metrics.http_requests[status] += 1
        caller: Caller | None = scope.get("state", {}).get("caller")
        _log.debug(
            "http_request",
            method=scope["method"],
            path=_path(scope),
            status=status,
            ms=round(took_s * 1000, 1),
            remote=scope.get("state", {}).get("remote"),
            caller=caller.name if caller else None,
            tenant=caller.tenant if caller else None,
        )


class _Answer:
    """What is sent to the peer, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            stated = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _SAFE_HEADERS if pair[0] not in stated)]
        await self._send(message)


class _Rates:
    """A bucket for each caller; the one that was not seen for longest gives way."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()

    def take(self, caller: Caller, now: float) -> float:
        """Count a request; return 0.0, or the seconds to wait where it is one too many."""
        name = (caller.tenant, caller.name)
        bucket = self._buckets.pop(name, None) or TokenBucket(self._per_s, self._burst, now)
        self._buckets[name] = bucket
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket.take(now)


def _given(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that has the whole body already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


async def _drain(headers: Headers, receive: Receive) -> None:
    """Read on for a while: a peer that is still writing when we close does not get to see the answer."""
    if "expect" in headers:  # it has not begun
        return
    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _respond(problem: Problem, scope: Scope, send: Send) -> None:
    await problem.response()(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _path(scope: Scope) -> str:
    """Return the route's pattern, which names nobody. Where there is none, nothing: the path may hold anything."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "(no route)"))
