"""Users, connections and tokens: sent away, and kept out. Each is an entry of the log, so it holds everywhere."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import APIRouter, Path

from gateway.http.answers import PUSH_PROBLEMS, Accepted
from gateway.http.bodies import Kick
from gateway.http.callers import Pushing
from gateway.http.context import InContext
from gateway.http.fields import PrintableName
from gateway.http.json_route import JsonRoute
from gateway.http.push import refusal
from publisher import PublishError

router = APIRouter(prefix="/api/v1", tags=["users"], route_class=JsonRoute)

_ANSWER: dict[str, Any] = {
    "status_code": 202,
    "response_model_exclude_none": True,
    "responses": PUSH_PROBLEMS,
}
# `:path`, because a name may hold a slash.
UserId = Annotated[PrintableName, Path(description="The user's id.", examples=["42"])]
ClientId = Annotated[PrintableName, Path(description="The connection's id.", examples=["8f14e45fceea167a"])]
TokenId = Annotated[PrintableName, Path(description="The token's `jti`.", examples=["login-1"])]


@router.post("/users/{user_id:path}/kick", summary="Close a user's connections", **_ANSWER)
async def kick_user(user_id: UserId, caller: Pushing, context: InContext, body: Kick | None = None) -> Accepted:
    """Close all connections of a user. They may come back: to keep them out, revoke as well."""
    how = body or Kick()
    caller.check_tenant(how.tenant)
    kick = context.publisher.kick(user_id, tenant=caller.tenant, code=how.code, reason=how.reason)
    return await _accepted(kick)


@router.post("/clients/{client_id:path}/kick", summary="Close a connection", **_ANSWER)
async def kick_client(client_id: ClientId, caller: Pushing, context: InContext, body: Kick | None = None) -> Accepted:
    """Close one connection."""
    how = body or Kick()
    caller.check_tenant(how.tenant)
    kick = context.publisher.kick(client=client_id, tenant=caller.tenant, code=how.code, reason=how.reason)
    return await _accepted(kick)


@router.post("/users/{user_id:path}/revoke", summary="Revoke a user's tokens", **_ANSWER)
async def revoke_user(user_id: UserId, caller: Pushing, context: InContext) -> Accepted:
    """Accept no token any more that the user was issued until now, and close the connections made with them."""
    revoke = context.publisher.revoke(user=user_id, tenant=caller.tenant, lasts_s=context.revocation_s)
    return await _accepted(revoke)


@router.post("/tokens/{jti:path}/revoke", summary="Revoke a token", **_ANSWER)
async def revoke_token(jti: TokenId, caller: Pushing, context: InContext) -> Accepted:
    """Accept one token no more, and close the connections made with it."""
    revoke = context.publisher.revoke(jti=jti, tenant=caller.tenant, lasts_s=context.revocation_s)
    return await _accepted(revoke)


async def _accepted(order: Awaitable[str]) -> Accepted:
    try:
        return Accepted(id=await order)
    except PublishError as error:  # what is sent has been checked
        raise refusal(error, None) from None
