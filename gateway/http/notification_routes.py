"""
`/api/v1/notifications`: services notify; users, with their own token, read, mark and delete what is in their inbox.

A service may do the latter for them, and says in `user_id` for whom.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Annotated, Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Header, Query, Response

from gateway.http.answers import AUTH_PROBLEMS, PUSH_PROBLEMS, problems
from gateway.http.callers import Owning, Pushing
from gateway.http.context import InContext, InInbox
from gateway.http.fields import Key
from gateway.http.json_route import JsonRoute
from gateway.http.notification_bodies import (
    MarkRead,
    NotificationItem,
    NotificationPage,
    Notified,
    Notify,
    TypeName,
    Unread,
)
from gateway.http.problems import Problem, later
from gateway.http.push import refusal
from gateway.store.inbox import MAX_ID_LENGTH, Item
from publisher import PublishError
from publisher.failure import REDIS_ERRORS
from publisher.notification import NotificationOptions, from_template

router = APIRouter(prefix="/api/v1/notifications", tags=["notifications"], route_class=JsonRoute)

_MOST_PAGES: Final = 100_000
_MOST_ON_PAGE: Final = 100
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {**AUTH_PROBLEMS, **problems(422, 503)}
_NO_SUCH: Final[dict[int | str, dict[str, Any]]] = {
    404: {**problems(401)[401], "description": "There is no such notification in this inbox."}
}

_Result = TypeVar("_Result")


@router.post(
    "",
    summary="Notify users",
    status_code=202,
    response_model_exclude_none=True,
    responses=PUSH_PROBLEMS,
)
async def notify(
    body: Notify,
    caller: Pushing,
    context: InContext,
    idempotency_key: Annotated[
        Key | None,
        Header(
            alias="Idempotency-Key",
            description="What is sent again under the same key within 10 minutes is not stored again: same ids.",
        ),
    ] = None,
) -> Notified:
    """Store a notification in the inboxes of one user or of many, and push it to those who are connected."""
    caller.check_tenant(body.tenant)
    key = idempotency_key or secrets.token_hex(12)
    to = [*body.user_ids] if body.user_ids is not None else str(body.user_id)
    try:
        said = body.spec()
        if body.template is not None:
            said = from_template(context.templates.render(body.template, body.params), said)
        options: NotificationOptions = {**said, "tenant": caller.tenant, "key": key}
        prepared = context.publisher.prepare_notification(to, **options)
    except PublishError as error:
        raise Problem(422, str(error)) from None
    try:
        ids = await context.publisher.notify_prepared(prepared)
    except PublishError as error:
        raise refusal(error, key) from None
    context.metrics.http_published += len(prepared.events)
    return Notified(id=ids) if isinstance(ids, str) else Notified(ids=ids)


@router.get("", summary="List notifications", response_model=NotificationPage, responses=_PROBLEMS)
async def list_notifications(
    owner: Owning,
    inbox: InInbox,
    page: Annotated[int, Query(ge=1, le=_MOST_PAGES, description="Counted from 1.")] = 1,
    page_size: Annotated[int, Query(ge=1, le=_MOST_ON_PAGE)] = 20,
    unread_only: Annotated[bool, Query(description="Only those that are not read.")] = False,
    type: Annotated[TypeName | None, Query(description="Only those of this type.")] = None,
) -> Response:
    """Return a page of an inbox, the newest first."""
    found = await _answered(
        inbox.page(owner.tenant, owner.user_id, page=page, size=page_size, unread_only=unread_only, kind=type)
    )
    return _json(
        {
            "items": [orjson.Fragment(_text(item)) for item in found.items],
            "total": found.total,
            "unread_count": found.unread,
            "page": page,
            "page_size": page_size,
        }
    )


@router.get("/unread-count", summary="Count unread notifications", responses=_PROBLEMS)
async def unread_count(owner: Owning, inbox: InInbox) -> Unread:
    """Return how many notifications are unread: what the frame `unread_count` says."""
    return Unread(unread_count=await _answered(inbox.unread_count(owner.tenant, owner.user_id)))


@router.put("/read", summary="Mark notifications as read", responses={**_PROBLEMS, **problems(400, 415)})
async def mark_read(owner: Owning, inbox: InInbox, body: MarkRead | None = None) -> Unread:
    """Mark some notifications, or all, as read; all the user's devices are told the new count."""
    if body is None or body.ids is None:
        marked = await _answered(inbox.mark_all_read(owner.tenant, owner.user_id))
    else:
        marked = await _answered(inbox.mark_read(owner.tenant, owner.user_id, body.ids))
    return Unread(unread_count=marked.unread)


@router.put("/{notification_id}/read", summary="Mark a notification as read", responses={**_PROBLEMS, **_NO_SUCH})
async def mark_one_read(notification_id: str, owner: Owning, inbox: InInbox) -> Unread:
    """Mark a notification as read; all the user's devices are told the new count."""
    _check(notification_id)
    marked = await _answered(inbox.mark_read(owner.tenant, owner.user_id, [notification_id]))
    if not marked.known:
        raise _unknown()
    return Unread(unread_count=marked.unread)


@router.get(
    "/{notification_id}",
    summary="Read a notification",
    response_model=NotificationItem,
    responses={**_PROBLEMS, **_NO_SUCH},
)
async def get_notification(notification_id: str, owner: Owning, inbox: InInbox) -> Response:
    """Return one notification. It is not marked as read by that."""
    _check(notification_id)
    item = await _answered(inbox.get(owner.tenant, owner.user_id, notification_id))
    if item is None:
        raise _unknown()
    return _json(orjson.Fragment(_text(item)))


@router.delete("/{notification_id}", summary="Delete a notification", responses={**_PROBLEMS, **_NO_SUCH})
async def delete_notification(notification_id: str, owner: Owning, inbox: InInbox) -> Unread:
    """Delete a notification; if it was not read, all the user's devices are told the new count."""
    _check(notification_id)
    unread = await _answered(inbox.delete(owner.tenant, owner.user_id, notification_id))
    if unread is None:
        raise _unknown()
    return Unread(unread_count=unread)


async def _answered(question: Awaitable[_Result]) -> _Result:
    """Return what Redis answers. Raises `Problem`: 503."""
    try:
        return await question
    except REDIS_ERRORS:
        raise later("the inbox cannot be reached now", 1) from None


def _text(item: Item) -> bytes:
    """Return a notification as JSON: what was stored, as it is, with what has become known since in front."""
    facts = orjson.dumps({"id": item.id, "created_at": int(item.id.partition("-")[0]), "read": item.read})
    return b"%b,%b" % (facts[:-1], item.text.lstrip()[1:])


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _check(notification_id: str) -> None:
    if len(notification_id) > MAX_ID_LENGTH:
        raise _unknown()


def _unknown() -> Problem:
    return Problem(404, "there is no such notification in this inbox")
