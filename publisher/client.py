"""
The asyncio publisher.

Composes: what to send comes from `command`, the retries from `delivery`, the pipelines from `lane`, the
connections from `link`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack, overload

from redis.asyncio import Redis, RedisCluster

from publisher import keys
from publisher.access import AccessAction, make_access_change
from publisher.address import DEFAULT_TENANT
from publisher.command import Command, CommandBuilder
from publisher.control import CLOSE_KICKED, WEEK_S, make_kick, make_revocation
from publisher.delivery import ids_of, unknown_order
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
from publisher.failure import ASYNCIO_ERRORS, describe
from publisher.groups import Groups
from publisher.lane import Lane
from publisher.link import open_link
from publisher.notification import NotificationOptions, Notifications, from_template, make_notifications
from publisher.options import Options
from publisher.receipt import Receipt, query, receipt_of
from publisher.templates import NO_DATA, Params, TemplateBook, filled, is_templated, said


class Publisher:
    """
    Writes events into the log.

    Connects when it first has to. Calls may be made concurrently: what is published while a pipeline is on
    its way leaves together in the next one. Belongs to the event loop that first used it.

    Args:
        redis: A URL; or a client of `redis.asyncio`, also of a Sentinel's master or of a cluster, which stays
        the
            caller's to close. Of a client's own retries and timeouts only those for connecting apply.
        partitions: How many streams make up the log, at most 64. The same number everywhere, gateways included.
        maxlen: About how many entries a stream keeps at most.
        timeout_s: An event is stored, refused or given up within this time, all tries included.
        retries: How often to try again. With 0 a lost reply raises `PublishUnknown`; else it is asked for
        again
            under the event's key, so that the event is stored once.
        key_ttl_s: How long the key of a caller is remembered.
        max_event_bytes: Refuse a larger event.
        max_queue: How many events of a partition may wait to be sent.
        history_messages: How many events a group's history holds at most; see `history` in `make_event`.
        history_days: How long. Both as the gateways' settings have them.

    Attributes:
        groups: Durable membership of groups.

    Raises:
        ValueError: An option or the URL does not hold.
        TypeError: `redis` is neither a URL nor a client of `redis.asyncio`.
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
        max_queue: int = 10_000,
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
            max_queue,
            history_messages=history_messages,
            history_days=history_days,
        )
        self._build = CommandBuilder(self._options)
        self._link, self._own_client = open_link(redis, self._options.attempt_timeout_s)
        self._client: Any = self._own_client or redis
        self._lanes: dict[int, Lane] = {}
        self._book = TemplateBook()
        self._fetching = asyncio.Lock()
        self._closed = False
        self.groups = Groups(self._build, self._send_all)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Send what is queued (within `timeout_s`), then close the connections this publisher made. Idempotent."""
        self._closed = True
        try:
            await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        finally:
            if self._own_client is not None:
                await self._own_client.aclose()

    async def publish(
        self,
        event: str | None = None,
        data: Any = NO_DATA,
        *,
        to: str | Iterable[str],
        template: str | None = None,
        params: Params | None = None,
        **options: Unpack[EventOptions],
    ) -> str:
        """
        Store an event in the log, and return its id, which is also the `id` of the frames that receivers get.

        Args:
            event: What happened; becomes the frame's `type`.
            data: Anything JSON can hold, at most 64 levels deep.
            to: Address or addresses that receive it: `all`, `user:…`, `client:…`, `group:…`, `tag:…`, `topic:…`.
            template: The name of a template that data comes from, and the event's name where none is given.
            params: Its parameters, which JSON can hold.
            options: `exclude`, `tenant`, `key`, `message_id`, `expires_in`, `priority`, `collapse`, `history` and
                `receipt`, as `make_event` explains them. What is published again under the same `key`, tenant and first
                address within `key_ttl_s` is not stored again: the first id is returned.

        Raises:
            PublishError: The event is not well-formed, or Redis refused it; nothing was stored.
            PublishUnavailable: Redis cannot take it now; nothing was stored.
            PublishUnknown: It may have been stored or not.
        """
        fields = await self.render(template, params) if template is not None else None
        name, content = said(event, data, template=template, fields=fields)
        limit = self._options.max_event_bytes
        made = make_event(name, content, to=to, **options, kind=KIND_EVENT, max_event_bytes=limit)
        return await self._send(self._build.publish(made))

    async def render(self, template: str, params: Params | None = None) -> dict[str, Any]:
        """
        Return a template's fields, rendered. Templates are fetched from Redis, and again after a minute.

        Raises:
            PublishError: There is no such template, a parameter is missing, or Jinja2 is.
            PublishUnavailable: They cannot be fetched.
        """
        if self._book.is_stale(template, time.monotonic()):
            async with self._fetching:
                if self._book.is_stale(template, time.monotonic()):
                    await self._fetch_templates()
        return self._book.render(template, params)

    async def _fetch_templates(self) -> None:
        if self._closed:
            raise PublishError("the publisher is closed: make another")
        try:
            async with asyncio.timeout(self._options.timeout_s):
                text = await self._client.hget(keys.templates(), "json")
        except ASYNCIO_ERRORS as error:
            self._book.failed(describe(error), time.monotonic())
        else:
            self._book.take(text, time.monotonic())

    async def publish_many(self, events: Iterable[Event | EventSpec | Mapping[str, Any]]) -> list[str]:
        """
        Store several events, in order, in one pipeline (per partition, and per 512), and return their ids.

        Each is a mapping of what `publish` takes (`event`, `data`, `to`, …, or `template`, `params`, `to`, …) or what
        `make_event` returned.
        They are all checked before the first is sent. Not a transaction: each is stored or not by itself.

        Raises:
            PublishError: One is not well-formed, and nothing was sent; or all failed, for this reason, which then may
                be any of the kinds that `publish` raises.
            PublishIncomplete: Some failed, or it is not known of any whether it is stored; its `results` say which
                failed, why, and under which key to publish each again.
        """
        limit = self._options.max_event_bytes
        plain = [await self._filled(spec) if is_templated(spec) else spec for spec in listed(events)]
        commands = [self._build.publish(event_from(spec, max_event_bytes=limit)) for spec in plain]
        return ids_of(await self._send_all(commands))

    @overload
    async def notify(
        self,
        to: str,
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str: ...
    @overload
    async def notify(
        self,
        to: Iterable[str],
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str | list[str]: ...
    async def notify(
        self,
        to: str | Iterable[str],
        *,
        template: str | None = None,
        params: Params | None = None,
        **notification: Unpack[NotificationOptions],
    ) -> str | list[str]:
        """
        Store a notification in the inboxes of one user or of many, and push it to those who are there.

        Returns its id, which is that of the frame and of the inbox's item; for a list of users, a list with one for
        each. Users that are stored together, up to 100, have the same.

        Args:
            to: A user's id, or several.
            template, params: A message template of the gateways', which says what is not given here.
            notification: `title`, `content`, `type`, `level`, `priority`, `link`, `icon`, `data`, `tenant`, `key` and
                `expires_in`, as `make_notifications` explains them. A call that is repeated under the same `key`
                within `key_ttl_s` stores nothing again and returns the first ids.

        Raises:
            PublishError: As `publish` does; for several users also `PublishIncomplete`, with a result for each.
        """
        if template is not None:
            notification = from_template(await self.render(template, params), notification)
        return await self.notify_prepared(self.prepare_notification(to, **notification))

    def prepare_notification(
        self, to: str | Iterable[str], **notification: Unpack[NotificationOptions]
    ) -> Notifications:
        """Check and encode a notification for `notify_prepared`. Raises `PublishError`: something does not hold."""
        options = self._options
        limits = {"partitions": options.partitions, "max_event_bytes": options.max_event_bytes}
        return make_notifications(to, **notification, **limits)

    async def notify_prepared(self, notifications: Notifications) -> str | list[str]:
        """Store and push what `prepare_notification` returned; see `notify`."""
        commands = [self._build.notify(event) for event in notifications.events]
        return notifications.ids(await self._send_all(commands))

    def submit(self, event: Event) -> asyncio.Future[str]:
        """
        Queue an event without waiting, and return the future of its id, which fails as `publish` does.

        For hot paths: costs no task. Cancelling the future takes the event out as long as it has not been
        sent.

        Raises:
            PublishError: The publisher belongs to another event loop.
            PublishUnavailable: The queue is full.
        """
        command = self._build.publish(event)
        return self._lane(command).submit(command)

    def post(self, event: Event, then: Callable[[str | PublishError], None]) -> None:
        """
        Queue an event without waiting; `then` is called with its id or its error, once, from the event loop.

        For the hottest paths: unlike `submit` it makes no future.

        Raises:
            PublishUnavailable: The queue is full; `then` is not called.
        """
        command = self._build.publish(event)
        self._lane(command).post(command, then)

    async def kick(
        self,
        user_id: str | None = None,
        *,
        client: str | None = None,
        tenant: str = DEFAULT_TENANT,
        code: int = CLOSE_KICKED,
        reason: str = "",
    ) -> str:
        """
        Close all connections of a user, or one client's, with a close code and reason; return the event's id.

        Whoever was kicked may come back: to keep somebody out, `revoke` as well. Raises what `publish`
        raises.
        """
        event = make_kick(user_id, client=client, tenant=tenant, code=code, reason=reason)
        return await self._order(self._build.publish(event))

    async def revoke(
        self,
        *,
        jti: str | None = None,
        user: str | None = None,
        tenant: str = DEFAULT_TENANT,
        lasts_s: float = WEEK_S,
    ) -> str:
        """
        Revoke one token, by its `jti`, or all that a user was issued until now; return the event's id.

        Connections under them are closed, and gateways, those started later included, accept them no more for
        `lasts_s` seconds: this has to be as long as a token can live (the gateway caps that at 24 h by
        default). Raises what `publish` raises.
        """
        return await self._order(
            self._build.revoke(make_revocation(jti=jti, user=user, tenant=tenant, lasts_s=lasts_s))
        )

    async def _filled(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return filled(spec, await self.render(spec["template"], spec.get("params")))

    async def receipt(self, event_id: str) -> Receipt | None:
        """
        Return what became of an event that was published with `receipt=True`; None where nothing is known of it.

        Known for as long as the log is kept. The numbers grow until the receipt is `complete`, and after that with
        clients that come back or acknowledge.

        Raises:
            PublishError: This is no event's id.
            PublishUnavailable: Redis does not answer.
        """
        try:
            text = await self._send(query(event_id, self._options.partitions))
        except (PublishUnavailable, PublishUnknown):  # which speak of an event that would be stored
            raise PublishUnavailable("Redis does not answer now: ask again") from None
        return receipt_of(event_id, text)

    async def access(self, action: AccessAction, network: str, *, lasts_s: float = WEEK_S) -> str:
        """
        Block a network (CIDR) or an address on every gateway, allow it, or clear what was said; return the event's id.

        The most specific rule decides. Connections from a network that is blocked now are closed. A rule is forgotten
        after `lasts_s` seconds: lasting ones belong into the gateways' settings. Raises what `publish` raises.
        """
        return await self._order(self._build.access(make_access_change(action, network, lasts_s=lasts_s)))

    async def _order(self, command: Command) -> str:
        try:
            return await self._send(command)
        except PublishUnknown as error:
            raise unknown_order(error) from error

    async def _send(self, command: Command) -> str:
        return await (await self._lane(command).put(command))

    async def _send_all(self, commands: list[Command]) -> list[str | PublishError]:
        futures: list[asyncio.Future[str]] = []
        try:
            for command in commands:
                futures.append(await self._put(command))  # noqa: PERF401 - `finally` needs those there are
            return [await _outcome(future) for future in futures]
        finally:
            for future in futures:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # seen, or else asyncio reports it when we were cancelled

    async def _put(self, command: Command) -> asyncio.Future[str]:
        """Queue a command; a queue that is full, or closed meanwhile, fails this one and not those before it."""
        try:
            return await self._lane(command).put(command)
        except PublishError as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            return future

    def _lane(self, command: Command) -> Lane:
        if self._closed:
            raise PublishError("the publisher is closed: make another")
        lane = self._lanes.get(command.partition)
        if lane is None:
            name = f"publisher lane {command.partition}"
            lane = self._lanes[command.partition] = Lane(self._link, self._options, name)
        return lane


async def _outcome(future: asyncio.Future[str]) -> str | PublishError:
    try:
        return await future
    except PublishError as error:
        return error
