"""
The blocking publisher: the twin of `publisher.Publisher` for threads.

Composes the same parts, `command` and `delivery`, with blocking connections. Each call has its own connection
of the client's pool, so threads share one publisher; `publish_many` is the way to send much at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, overload

from redis import Redis, RedisCluster

from publisher import keys
from publisher.access import AccessAction, make_access_change
from publisher.address import DEFAULT_TENANT
from publisher.blocking_link import open_link
from publisher.command import Command, CommandBuilder
from publisher.control import CLOSE_KICKED, WEEK_S, make_kick, make_revocation
from publisher.delivery import Request, delivery, ids_of, unknown_order
from publisher.errors import PublishError, PublishUnavailable, PublishUnknown
from publisher.event import (
    KIND_EVENT,
    MAX_EVENT_BYTES,
    Event,
    EventOptions,
    EventSpec,
    event_from,
    listed,
    make_event,
)
from publisher.failure import REDIS_ERRORS, describe
from publisher.groups import BlockingGroups
from publisher.notification import NotificationOptions, from_template, make_notifications
from publisher.options import MAX_BATCH, Options
from publisher.receipt import Receipt, query, receipt_of
from publisher.templates import NO_DATA, Params, TemplateBook, filled, is_templated, said


class Publisher:
    """
    Writes events into the log; blocks the calling thread.

    Connects when it first has to. Threads may share it. Arguments and errors are those of `publisher.Publisher`, with
    a client of `redis` in place of one of `redis.asyncio`; there is no queue, and so no `max_queue`. Connecting is
    bounded by nothing but the timeouts of the client: give one that you pass in a `socket_timeout`.
    """

    def __init__(
        self,
        redis: str | Redis | RedisCluster,
        *,
        partitions: int = 1,
        maxlen: int = 1_000_000,
        timeout_s: float = 5.0,
        retries: int = 3,
        key_ttl_s: float = 600.0,
        max_event_bytes: int = MAX_EVENT_BYTES,
        history_messages: int = 1_000,
        history_days: float = 30.0,
    ) -> None:
        self._options = Options(
            partitions,
            maxlen,
            timeout_s,
            retries,
            key_ttl_s,
            max_event_bytes,
            history_messages=history_messages,
            history_days=history_days,
        )
        self._build = CommandBuilder(self._options)
        self._link, self._own_client = open_link(redis, self._options.attempt_timeout_s)
        self._client: Any = self._own_client or redis
        self._book = TemplateBook()
        self._closed = False
        self.groups = BlockingGroups(self._build, self._send_all)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections this publisher made. Idempotent."""
        self._closed = True
        if self._own_client is not None:
            self._own_client.close()

    def publish(
        self,
        event: str | None = None,
        data: Any = NO_DATA,
        *,
        to: str | Iterable[str],
        template: str | None = None,
        params: Params | None = None,
        **options: Unpack[EventOptions],
    ) -> str:
        """Store an event in the log, and return its id. See `publisher.Publisher.publish`."""
        fields = self.render(template, params) if template is not None else None
        name, content = said(event, data, template=template, fields=fields)
        limit = self._options.max_event_bytes
        made = make_event(name, content, to=to, **options, kind=KIND_EVENT, max_event_bytes=limit)
        return self._send(self._build.publish(made))

    def render(self, template: str, params: Params | None = None) -> dict[str, Any]:
        """Return a template's fields, rendered. See `publisher.Publisher.render`."""
        if self._book.is_stale(template, time.monotonic()):
            self._fetch_templates()
        return self._book.render(template, params)

    def _fetch_templates(self) -> None:
        if self._closed:
            raise PublishError("the publisher is closed: make another")
        try:
            text = self._client.hget(keys.templates(), "json")
        except REDIS_ERRORS as error:
            self._book.failed(describe(error), time.monotonic())
        else:
            self._book.take(text, time.monotonic())

    def publish_many(self, events: Iterable[Event | EventSpec | Mapping[str, Any]]) -> list[str]:
        """Store several events in one pipeline, and return their ids. See `publisher.Publisher.publish_many`."""
        limit = self._options.max_event_bytes
        plain = [self._filled(spec) if is_templated(spec) else spec for spec in listed(events)]
        commands = [self._build.publish(event_from(spec, max_event_bytes=limit)) for spec in plain]
        return ids_of(self._send_all(commands))

    @overload
    def notify(
        self,
        to: str,
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str: ...
    @overload
    def notify(
        self,
        to: Iterable[str],
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str | list[str]: ...
    def notify(
        self,
        to: str | Iterable[str],
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str | list[str]:
        """Store a notification in users' inboxes, and push it. See `publisher.Publisher.notify`."""
        if template is not None:
            notification = from_template(self.render(template, params), notification)
        options = self._options
        limits = {"partitions": options.partitions, "max_event_bytes": options.max_event_bytes}
        made = make_notifications(to, **notification, **limits)
        return made.ids(self._send_all([self._build.notify(event) for event in made.events]))

    def kick(
        self,
        user_id: str | None = None,
        *,
        client: str | None = None,
        tenant: str = DEFAULT_TENANT,
        code: int = CLOSE_KICKED,
        reason: str = "",
    ) -> str:
        """Close all connections of a user, or one client's. See `publisher.Publisher.kick`."""
        event = make_kick(user_id, client=client, tenant=tenant, code=code, reason=reason)
        return self._order(self._build.publish(event))

    def revoke(
        self,
        *,
        jti: str | None = None,
        user: str | None = None,
        tenant: str = DEFAULT_TENANT,
        lasts_s: float = WEEK_S,
    ) -> str:
        """Revoke one token, or all that a user was issued until now. See `publisher.Publisher.revoke`."""
        revocation = make_revocation(jti=jti, user=user, tenant=tenant, lasts_s=lasts_s)
        return self._order(self._build.revoke(revocation))

    def _filled(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return filled(spec, self.render(spec["template"], spec.get("params")))

    def receipt(self, event_id: str) -> Receipt | None:
        """Return what became of an event with a receipt, or None. See `publisher.Publisher.receipt`."""
        try:
            text = self._send(query(event_id, self._options.partitions))
        except (PublishUnavailable, PublishUnknown):  # which speak of an event that would be stored
            raise PublishUnavailable("Redis does not answer now: ask again") from None
        return receipt_of(event_id, text)

    def access(self, action: AccessAction, network: str, *, lasts_s: float = WEEK_S) -> str:
        """
        Block a network (CIDR) or an address on every gateway, allow it, or clear what was said; return the event's id.

        The most specific rule decides. Connections from a network that is blocked now are closed. A rule is forgotten
        after `lasts_s` seconds: lasting ones belong into the gateways' settings. Raises what `publish` raises.
        """
        return self._order(self._build.access(make_access_change(action, network, lasts_s=lasts_s)))

    def _order(self, command: Command) -> str:
        try:
            return self._send(command)
        except PublishUnknown as error:
            raise unknown_order(error) from error

    def _send(self, command: Command) -> str:
        return ids_of(self._send_all([command]))[0]

    def _send_all(self, commands: Sequence[Command]) -> list[str | PublishError]:
        if self._closed:
            raise PublishError("the publisher is closed: make another")
        deadline = time.monotonic() + self._options.timeout_s
        requests = [Request(command, deadline) for command in commands]
        by_partition: dict[int, list[Request]] = {}
        for request in requests:
            by_partition.setdefault(request.command.partition, []).append(request)
        for lane in by_partition.values():
            for first in range(0, len(lane), MAX_BATCH):
                self._deliver(lane[first : first + MAX_BATCH])
        return [request.outcome for request in requests if request.outcome is not None]

    def _deliver(self, batch: Sequence[Request]) -> None:
        for step in delivery(batch, self._options, time.monotonic):
            if isinstance(step, float):
                time.sleep(step)
            else:
                self._link.run(step)
