"""
Pushing: from a request's event to the log, under the caller's tenant and key, and from failures to honest answers.

An event for very many targets is stored in parts, so that no entry is a giant. The parts share one `message_id`, and
have keys that follow from the request's, so that a repeated request completes what the first one began.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Header

from gateway.http.answers import Accepted
from gateway.http.bodies import Body, Message
from gateway.http.callers import Caller, Pushing
from gateway.http.context import Context, InContext
from gateway.http.fields import Key
from gateway.http.problems import Problem, later
from publisher import Event, PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown, make_event
from publisher.address import MAX_AUDIENCE
from publisher.templates import event_of
from publisher.trace import is_traceparent

_log = structlog.get_logger()

_PART: Final = 5_000  # addresses in each, once it takes more than one
_REFUSED_RETRY_S: Final = 10
_NO_LIMIT: Final = 2**62

_MAY_BE_STORED: Final = (
    "Redis did not answer: it may be stored or not. Send the same request again with `idempotency_key` as its "
    "Idempotency-Key header: nothing is stored twice"
)
_PARTLY_STORED: Final = (
    "some parts are stored, others not. Send the same request again with `idempotency_key` as its Idempotency-Key "
    "header: nothing is stored twice"
)


class Push:
    """
    What one request may publish.

    Args:
        key: The request's idempotency key.
        traceparent: The trace that it belongs to, if its caller said.
    """

    def __init__(self, context: Context, caller: Caller, key: str | None, traceparent: str | None) -> None:
        self._context = context
        self.caller = caller
        self._key = key
        self._traceparent = traceparent

    async def __call__(self, body: Body, event: str, data: Any, to: Sequence[str]) -> Accepted:
        """
        Store an event, in parts where it has very many targets.

        Raises:
            Problem: 403, 413, 422 or 503.
        """
        self.caller.check_tenant(body.tenant)
        options = body.options()
        targets = list(dict.fromkeys(to))
        limit = self._context.max_event_bytes
        if len(targets) < MAX_AUDIENCE:
            whole = self._make(event, data, targets, key=self._key, **options)
            if len(targets) == 1 or _size(whole) <= limit:
                return await self._store(_within(whole, limit))
        return await self._store_parts(event, data, targets, options)

    async def message(self, body: Message, to: Sequence[str]) -> Accepted:
        """Store the event of a body that names it, or its template. Raises what the call raises."""
        event, data = self.said(body)
        return await self(body, event, data, to)

    def said(self, body: Message) -> tuple[str, Any]:
        """
        Return an event's name and data: those of the body, or of its template.

        Raises:
            Problem: 422.
        """
        if body.template is None:
            assert body.event is not None  # noqa: S101 - the body asks for it
            return body.event, body.data
        try:
            fields = self._context.templates.render(body.template, body.params)
            return event_of(body.template, fields, body.event)
        except PublishError as error:
            raise Problem(422, str(error)) from None

    def event(self, event: str, data: Any, to: Sequence[str], **options: Any) -> Event:
        """
        Make an event of the caller's tenant.

        Raises:
            Problem: 413 or 422.
        """
        return _within(self._make(event, data, to, **options), self._context.max_event_bytes)

    def key_of(self, number: int) -> str | None:
        """Return the key of one of several events, which follows from the request's."""
        return None if self._key is None else _derived(self._key, number)

    async def _store(self, event: Event) -> Accepted:
        try:
            stored = await self._context.publisher.submit(event)
        except PublishError as error:
            raise refusal(error, self._key) from None
        self._context.metrics.count_accepted(event.name)
        return Accepted(id=stored)

    async def _store_parts(self, event: str, data: Any, targets: list[str], options: dict[str, Any]) -> Accepted:
        key = self._key or secrets.token_hex(12)
        options = {**options, "message_id": options.get("message_id") or secrets.token_hex(12)}
        smallest = self.event(event, data, targets[:1], **options)
        room = self._context.max_event_bytes - _size(smallest)
        events = [
            self.event(event, data, part, key=_derived(key, number), **options)
            for number, part in enumerate(_parts(targets, room))
        ]
        try:
            ids = await self._context.publisher.publish_many(events)
        except PublishError as error:
            raise refusal(error, key) from None
        self._context.metrics.count_accepted(event, len(ids))
        return Accepted(id=ids[0], ids=ids)

    def _make(self, event: str, data: Any, to: Sequence[str], **options: Any) -> Event:
        try:
            return make_event(
                event,
                data,
                to=to,
                tenant=self.caller.tenant,
                traceparent=self._traceparent,
                max_event_bytes=_NO_LIMIT,
                **options,
            )
        except PublishError as error:
            raise Problem(422, str(error)) from None


async def _push(
    context: InContext,
    caller: Pushing,
    idempotency_key: Annotated[
        Key | None,
        Header(
            alias="Idempotency-Key",
            description="What is sent again under the same key within 10 minutes is not stored again: same id.",
        ),
    ] = None,
    traceparent: Annotated[str | None, Header(description="W3C Trace Context; comes with the push.")] = None,
) -> Push:
    # Who gets a bad one acts as if there were none (W3C Trace Context, section 3.2).
    stated = traceparent if traceparent is not None and is_traceparent(traceparent.encode(errors="replace")) else None
    return Push(context, caller, idempotency_key, stated)


ToPush = Annotated[Push, Depends(_push)]


def refusal(error: PublishError, key: str | None) -> Problem:
    """
    Return the problem that a failed publish is for its caller. What Redis said goes into the log only.

    Args:
        key: What the caller can repeat the request under.
    """
    if isinstance(error, PublishUnavailable):
        retry_s = max(1, math.ceil(error.retry_after_ms / 1000))
        return later("Redis cannot take events now; nothing was stored", retry_s, stored="no")
    if isinstance(error, PublishUnknown):
        return later(_MAY_BE_STORED, 1, stored="unknown", idempotency_key=key or error.key)
    if isinstance(error, PublishIncomplete):
        if all(isinstance(result, PublishUnknown) for result in error.results):
            return later(_MAY_BE_STORED, 1, stored="unknown", idempotency_key=key)
        return later(_PARTLY_STORED, 1, stored="partly", idempotency_key=key)
    _log.error("publish_refused", error=str(error))
    return later("Redis refused the event; nothing was stored", _REFUSED_RETRY_S, stored="no")


def _size(event: Event) -> int:
    return sum(map(len, event.fields))


def _within(event: Event, limit: int) -> Event:
    size = _size(event)
    if size > limit:
        raise Problem(
            413, f"the event has {size} bytes, over the limit of {limit}: push a reference to the data instead"
        )
    return event


def _parts(targets: Sequence[str], room: int) -> Iterator[list[str]]:
    """Cut targets into parts of at most `_PART`, and `room` bytes."""
    part: list[str] = []
    left = room
    for target in targets:
        cost = 2 * len(target.encode()) + 3  # in JSON, should every character need a backslash
        if part and (len(part) == _PART or cost > left):
            yield part
            part, left = [], room
        part.append(target)
        left -= cost
    yield part


def _derived(key: str, number: int) -> str:
    """Return a key that nobody chooses by accident."""
    return hashlib.sha256(f"{key}\n{number}".encode()).hexdigest()
