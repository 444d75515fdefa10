"""
`/api/v1/groups/…/members` and `/api/v1/users/…/groups`: who belongs to which group, durably.

Adding and removing are idempotent, so a request whose answer was lost is simply sent again.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.http.answers import problems
from gateway.http.bodies import Body
from gateway.http.callers import Pushing
from gateway.http.context import InContext
from gateway.http.fields import Name
from gateway.http.json_route import JsonRoute
from gateway.http.problems import Problem, later
from publisher import Changed, PublishError, PublishUnavailable
from publisher.membership import MAX_PAGE

_log = structlog.get_logger()
_T = TypeVar("_T")

_MAX_USERS = 10_000
_MAX_NUMBER = 2**31

router = APIRouter(prefix="/api/v1", tags=["groups"], route_class=JsonRoute)

_CHANGE: dict[str, Any] = {
    "response_model_exclude_none": True,
    "responses": problems(400, 401, 403, 413, 415, 422, 429, 503),
}
_LIST: dict[str, Any] = {"responses": problems(401, 403, 422, 429, 503)}

GroupId = Annotated[Name, Path(description="The group's id.", examples=["ops"])]
UserName = Annotated[Name, Path(description="The user's id.", examples=["42"])]
UserIds = Annotated[list[Name], Field(min_length=1, max_length=_MAX_USERS)]
Page = Annotated[int, Query(ge=1, le=_MAX_NUMBER, description="Which page, from 1.")]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many on a page.")]


class Users(Body):
    """Several users."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["42", "43"]}]})
    user_ids: UserIds = Field(description="Their ids, up to 10,000.")


class MembersChanged(BaseModel):
    """What has changed; done again, nothing would."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"changed": 2, "id": "1795000000000-0.0.kq3v9x"}]})
    changed: int = Field(description="How many users were added, or removed: those who already were are not counted.")
    id: str | None = Field(None, description="Where in the log; what is published later comes after. Only if changed.")


class MembersPage(BaseModel):
    """A page of a group's members."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"group_id": "ops", "user_ids": ["42", "43"], "total": 2, "page": 1, "page_size": 100}]
        }
    )
    group_id: str
    user_ids: list[str] = Field(description="The members on this page, those added first on the first.")
    total: int = Field(description="How many there are on all pages.")
    page: int
    page_size: int


class UsersGroups(BaseModel):
    """The groups of a user."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_id": "42", "group_ids": ["chat-1", "ops"]}]})
    user_id: str
    group_ids: list[str] = Field(description="In the order of their names.")


@router.get("/groups/{group_id:path}/members", summary="List a group's members", **_LIST)
async def list_members(
    group_id: GroupId, caller: Pushing, context: InContext, page: Page = 1, page_size: PageSize = 100
) -> MembersPage:
    """List the durable members of a group. Nobody need be connected, and a group without members is empty."""
    listing = context.publisher.groups.members(group_id, page=page, page_size=page_size, tenant=caller.tenant)
    users = await _answered(listing)
    return MembersPage(group_id=group_id, user_ids=users, total=users.total, page=page, page_size=page_size)


@router.put("/groups/{group_id:path}/members", summary="Add members to a group", **_CHANGE)
async def add_members(group_id: GroupId, body: Users, caller: Pushing, context: InContext) -> MembersChanged:
    """Add users to a group, up to 10,000 at once. Those who are connected receive what is sent to it from here on."""
    caller.check_tenant(body.tenant)
    return await _changed(context.publisher.groups.add(group_id, body.user_ids, tenant=caller.tenant))


@router.delete("/groups/{group_id:path}/members", summary="Remove members from a group", **_CHANGE)
async def remove_members(
    group_id: GroupId,
    caller: Pushing,
    context: InContext,
    body: Users | None = None,
    user_id: Annotated[list[Name], Query(max_length=_MAX_USERS, description="Instead of a body.")] = [],  # noqa: B006
) -> MembersChanged:
    """Remove users from a group, named in the body or in the query (`?user_id=42&user_id=43`)."""
    caller.check_tenant(body.tenant if body is not None else None)
    users = [*(body.user_ids if body is not None else ()), *user_id]
    if not users:
        raise Problem(422, "user_ids: name at least one user, in the body or as `?user_id=`")
    return await _changed(context.publisher.groups.remove(group_id, users, tenant=caller.tenant))


@router.put("/groups/{group_id:path}/members/{user_id:path}", summary="Add a member to a group", **_CHANGE)
async def add_member(group_id: GroupId, user_id: UserName, caller: Pushing, context: InContext) -> MembersChanged:
    """Add one user to a group."""
    return await _changed(context.publisher.groups.add(group_id, user_id, tenant=caller.tenant))


@router.delete("/groups/{group_id:path}/members/{user_id:path}", summary="Remove a member from a group", **_CHANGE)
async def remove_member(group_id: GroupId, user_id: UserName, caller: Pushing, context: InContext) -> MembersChanged:
    """Remove one user from a group."""
    return await _changed(context.publisher.groups.remove(group_id, user_id, tenant=caller.tenant))


@router.get("/users/{user_id:path}/groups", summary="List a user's groups", **_LIST)
async def list_groups(user_id: UserName, caller: Pushing, context: InContext) -> UsersGroups:
    """List the groups that a user durably belongs to; those that only a token or a connection names are not known."""
    groups = await _answered(context.publisher.groups.of(user_id, tenant=caller.tenant))
    return UsersGroups(user_id=user_id, group_ids=groups)


async def _changed(change: Awaitable[Changed]) -> MembersChanged:
    made = await _answered(change)
    return MembersChanged(changed=int(made), id=made.id)


async def _answered(call: Awaitable[_T]) -> _T:
    try:
        return await call
    except PublishUnavailable as error:
        raise later("Redis cannot be asked now", max(1, math.ceil(error.retry_after_ms / 1000))) from None
    except PublishError as error:  # what is sent has been checked
        _log.warning("members_unanswered", error=str(error))
        raise later("it is not known whether all of it was done; send the same request again", 1) from None
