"""`/message/push/…`: events to whom the path and the body name."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.http import bodies
from gateway.http.answers import PUSH_PROBLEMS, Accepted
from gateway.http.json_route import JsonRoute
from gateway.http.push import ToPush
from publisher.address import ALL

_ANSWER: dict[str, Any] = {
    "status_code": 202,
    "response_model_exclude_none": True,
    "responses": PUSH_PROBLEMS,
}

router = APIRouter(prefix="/message/push", tags=["push"], route_class=JsonRoute)
system = APIRouter(prefix="/message/push/system", tags=["system messages"], route_class=JsonRoute)


@router.post("/all", summary="Push to everybody", **_ANSWER)
async def push_to_all(body: bodies.ToAll, push: ToPush) -> Accepted:
    """Push an event to every connection of the tenant."""
    return await push.message(body, [ALL])


@router.post("/user", summary="Push to a user", **_ANSWER)
async def push_to_user(body: bodies.ToUser, push: ToPush) -> Accepted:
    """Push an event to all connections of a user, on whichever instances they are."""
    return await push.message(body, [f"user:{body.user_id}"])


@router.post("/users", summary="Push to several users", **_ANSWER)
async def push_to_users(body: bodies.ToUsers, push: ToPush) -> Accepted:
    """Push an event to several users; from 10,000 on it is stored in several parts, whose ids are in `ids`."""
    return await push.message(body, [f"user:{name}" for name in body.user_ids])


@router.post("/client", summary="Push to a connection", **_ANSWER)
async def push_to_client(body: bodies.ToClient, push: ToPush) -> Accepted:
    """Push an event to one connection."""
    return await push.message(body, [f"client:{body.client_id}"])


@router.post("/tag", summary="Push to a tag", **_ANSWER)
async def push_to_tag(body: bodies.ToTag, push: ToPush) -> Accepted:
    """Push an event to the connections that carry a tag."""
    return await push.message(body, [f"tag:{body.tag}"])


@router.post("/group", summary="Push to a group", **_ANSWER)
async def push_to_group(body: bodies.ToGroup, push: ToPush) -> Accepted:
    """Push an event to the connections in a group."""
    return await push.message(body, [f"group:{body.group_id}"])


@router.post("/topic", summary="Push to a topic", **_ANSWER)
async def push_to_topic(body: bodies.ToTopic, push: ToPush) -> Accepted:
    """Push an event to the subscribers of a topic."""
    return await push.message(body, [f"topic:{body.topic}"])


@router.post("/custom", summary="Push to targets of a kind", **_ANSWER)
async def push_to_targets(body: bodies.Custom, push: ToPush) -> Accepted:
    """Push an event to any number of users, connections, tags, groups or topics; who is hit twice gets it once."""
    return await push.message(body, body.targets())


@router.post("/org", summary="Tell of an organisation", **_ANSWER)
async def push_org_change(body: bodies.OrgChange, push: ToPush) -> Accepted:
    """Push the event `org_event` to the topic `org_event`."""
    return await push(body, "org_event", body.stated(), ["topic:org_event"])


@router.post("/user-event", summary="Tell of a user", **_ANSWER)
async def push_user_change(body: bodies.UserChange, push: ToPush) -> Accepted:
    """Push the event `user_event` to the topic `user_event`."""
    return await push(body, "user_event", body.stated(), ["topic:user_event"])


@router.post("/role", summary="Tell of a role", **_ANSWER)
async def push_role_change(body: bodies.RoleChange, push: ToPush) -> Accepted:
    """Push the event `role_event` to the topic `role_event`."""
    return await push(body, "role_event", body.stated(), ["topic:role_event"])


@system.post("/notice", summary="Notice", **_ANSWER)
async def push_notice(body: bodies.Notice, push: ToPush) -> Accepted:
    """Push `system_message` to everybody: `data.type` is `notice`, and the body is under that name."""
    return await _system_message("notice", body, push)


@system.post("/alert", summary="Alert", **_ANSWER)
async def push_alert(body: bodies.Notice, push: ToPush) -> Accepted:
    """Push `system_message` to everybody: `data.type` is `alert`, and the body is under that name."""
    return await _system_message("alert", body, push)


@system.post("/maintenance", summary="Maintenance", **_ANSWER)
async def push_maintenance(body: bodies.Maintenance, push: ToPush) -> Accepted:
    """Push `system_message` to everybody: `data.type` is `maintenance`, and the body is under that name."""
    return await _system_message("maintenance", body, push)


async def _system_message(kind: str, body: bodies.Body, push: ToPush) -> Accepted:
    return await push(body, "system_message", {"type": kind, kind: body.stated()}, [ALL])
