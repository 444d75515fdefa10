"""The history of a group, for services: the same pages that its members get by `get_history`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from gateway.history import DEFAULT_LIMIT, MAX_LIMIT
from gateway.http.answers import AUTH_PROBLEMS, HistoryPage, problems
from gateway.http.callers import Pushing
from gateway.http.context import InContext
from gateway.http.fields import Name
from gateway.http.problems import Problem, later
from publisher.failure import REDIS_ERRORS

router = APIRouter(prefix="/api/v1", tags=["groups"])

_RETRY_S: Final = 1
_NO_ID: Final = "use the id of a message of this group"

# `:path`, because a name may hold a slash.
GroupId = Annotated[Name, Path(description="The group's id.", examples=["chat-1"])]
Before = Annotated[
    str | None, Query(description="The id of a message: those before it. Default: the newest.", max_length=100)
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most messages.")]


@router.get(
    "/groups/{group_id:path}/history",
    summary="What a group was written",
    response_model=HistoryPage,
    responses={**AUTH_PROBLEMS, **problems(422, 503)},
)
async def group_history(
    group_id: GroupId, caller: Pushing, context: InContext, before: Before = None, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """Return the messages of a group, the newest first. None where the settings keep no history of it."""
    history = context.history
    try:
        position = None if before is None else history.position(group_id, before)
    except ValueError:
        raise Problem(422, f"query.before: {_NO_ID}", errors=[{"field": "query.before", "problem": _NO_ID}]) from None
    try:
        page = await history.page(caller.tenant, group_id, before=position, limit=limit)
    except REDIS_ERRORS:
        raise later("the history cannot be read now", _RETRY_S) from None
    return Response(page.json(success=False), media_type="application/json")
