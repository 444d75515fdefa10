"""Who is online, and who is in which group: for services."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import PresenceUnsettled
from gateway.http.answers import AUTH_PROBLEMS, PUSH_PROBLEMS, problems
from gateway.http.bodies import Body
from gateway.http.callers import Pushing
from gateway.http.context import Context, InContext
from gateway.http.fields import Name
from gateway.http.json_route import JsonRoute
from gateway.http.problems import Problem, later
from gateway.store.online import Online, page
from publisher.failure import REDIS_ERRORS

MAX_USERS: Final = 1_000

T = TypeVar("T")

router = APIRouter(prefix="/api/v1", tags=["presence"], route_class=JsonRoute)

UserId = Annotated[Name, Path(description="The user's id.", examples=["42"])]
GroupId = Annotated[Name, Path(description="The group's id.", examples=["chat-1"])]
Page = Annotated[int, Query(ge=1, le=1_000_000, description="Which page, from 1 on.")]
PageSize = Annotated[int, Query(ge=1, le=MAX_USERS, description="Users on each page.")]
After = Annotated[Name | None, Query(description="Only those behind this user: the `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_USERS, description="Most users in one answer.")]

_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {**AUTH_PROBLEMS, **problems(422, 503)}


class UsersAsked(Body):
    """Several users."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"user_ids": ["42", "43"]}]})
    user_ids: Annotated[list[Name], Field(min_length=1, max_length=MAX_USERS, description="Their ids.")]


class UserOnline(BaseModel):
    """Whether a user is online."""

    user_id: str
    online: bool = Field(description="Connected, on any instance.")


class UsersOnline(BaseModel):
    """Which users are online."""

    online: dict[str, bool] = Field(description="For each user that was asked for.", examples=[{"42": True}])


class OnlinePage(BaseModel):
    """A page of the users who are online, sorted."""

    users: list[str] = Field(examples=[["42", "43"]])
    total: int = Field(description="How many users are online.")
    page: int
    page_size: int


class GroupPresence(BaseModel):
    """Who is in a group, sorted."""

    group_id: str
    users: list[str] = Field(examples=[["42", "43"]])
    total: int = Field(description="How many users are in it.")
    next: str | None = Field(None, description="There are more: give this back as `after`.")


@router.get("/users/online", summary="List who is online", responses=_PROBLEMS)
async def list_online(caller: Pushing, context: InContext, page: Page = 1, page_size: PageSize = 100) -> OnlinePage:
    """Return one page of the users of the tenant who are online, on any instance."""
    users = await asked(context, _online(context).users(caller.tenant))
    shown = users[(page - 1) * page_size : page * page_size]
    return OnlinePage(users=shown, total=len(users), page=page, page_size=page_size)


@router.post("/users/online", summary="Which of these users are online?", responses=PUSH_PROBLEMS)
async def which_online(caller: Pushing, context: InContext, body: UsersAsked) -> UsersOnline:
    """Return, of up to 1,000 users, whether each is online."""
    caller.check_tenant(body.tenant)
    return UsersOnline(online=await asked(context, _online(context).which(caller.tenant, body.user_ids)))


@router.get("/users/{user_id:path}/online", summary="Is this user online?", responses=_PROBLEMS)
async def is_online(user_id: UserId, caller: Pushing, context: InContext) -> UserOnline:
    """Return whether the user is connected, on any instance."""
    found = await asked(context, _online(context).which(caller.tenant, [user_id]))
    return UserOnline(user_id=user_id, online=found[user_id])


@router.get(
    "/groups/{group_id:path}/presence",
    summary="Who is in this group?",
    responses=_PROBLEMS,
    response_model_exclude_none=True,
)
async def group_presence(
    group_id: GroupId, caller: Pushing, context: InContext, after: After = None, limit: Limit = MAX_USERS
) -> GroupPresence:
    """Return the users who have a connection in the group, on any instance. Not its durable members."""
    online = _online(context)
    if group_id not in online.kept:
        raise Problem(404, "presence is off in this group: see the setting `presence.groups`")
    members = await asked(context, online.members(caller.tenant, group_id))
    users = page(members, after=after, limit=limit)
    more = users[-1] if users and users[-1] != members[-1] else None
    return GroupPresence(group_id=group_id, users=users, total=len(members), next=more)


async def asked(context: Context, question: Awaitable[T]) -> T:
    """
    Return what Redis answers to a question about presence.

    Raises:
        Problem: 503.
    """
    try:
        async with asyncio.timeout(context.timeout_s):
            return await question
    except PresenceUnsettled:
        raise later("who is online is being told anew, after a failure of Redis", 1) from None
    except REDIS_ERRORS:
        raise later("Redis does not answer", 1) from None


def _online(context: Context) -> Online:
    if context.online is None:
        raise Problem(404, "presence is off: see the setting `presence.enabled`")
    return context.online
