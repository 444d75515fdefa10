"""Answers: what the routes return, with descriptions and examples for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from gateway.http.problems import MEDIA_TYPE

_ID: Final = "1795000000000-0.0.kq3v9x"


class Accepted(BaseModel):
    """The event is in the log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": _ID}]})
    id: str = Field(description="Its place in the log, and the `id` of the frames that clients get.")
    ids: list[str] | None = Field(None, description="Of all its parts, where there were 10,000 targets or more.")


class BatchResult(BaseModel):
    """What became of one event of a batch: its id, or the problem that it met."""

    id: str | None = Field(None, description="Its place in the log, if it was stored.")
    problem: dict[str, Any] | None = Field(None, description="Why it was not, as problem JSON.")


class BatchAccepted(BaseModel):
    """A batch of which at least one event was stored, or all were refused for what they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"stored": 1, "failed": 0, "results": [{"id": _ID}]}]})
    stored: int = Field(description="How many events are in the log.")
    failed: int = Field(description="How many are not.")
    results: list[BatchResult] = Field(description="For each event, in order.")


class HistoryMessage(BaseModel):
    """A frame, as the group's members got it."""

    type: str = Field(examples=["new_message"])
    message_id: str
    timestamp: int = Field(description="ms since 1970.")
    id: str = Field(examples=[_ID])
    data: Any = Field(examples=[{"from": "7", "group_id": "chat-1", "msg_type": "text", "content": "Hello!"}])


class HistoryPage(BaseModel):
    """Messages of a group."""

    messages: list[HistoryMessage] = Field(description="The newest first.")
    has_more: bool = Field(description="There are older ones: ask again, with the last one's id as `before`.")


class Health(BaseModel):
    """The process answers."""

    status: str = Field(examples=["ok"])


class Ready(BaseModel):
    """Whether it can do its work."""

    ready: bool
    reasons: list[str] = Field(description="What is missing.", examples=[[]])


class Cluster(BaseModel):
    """The instances that live, as their leases say; up to 10 seconds old."""

    connections: int = Field(description="Of all instances.")
    instances: list[dict[str, Any]]
    statistics: dict[str, Any] = Field(
        description="What became of pushes, on all instances: `accepted` by the HTTP API, `delivered` to sockets, "
        "`acked` by clients, `dropped` by reason, and `by_event` name."
    )


class Stats(BaseModel):
    """Counts."""

    online_users: int | None = Field(description="Users of all tenants who are online, on all instances.")
    instance: dict[str, Any] = Field(description="This process, since its start.")
    cluster: Cluster


class Client(BaseModel):
    """A connection."""

    client_id: str = Field(description="Names it: what is pushed to this client reaches it.")
    user_id: str
    name: str | None = Field(description="The token's `name`.")
    instance: str = Field(description="The instance that holds it.")
    remote: str = Field(description="The peer's address.")
    connected_at: int = Field(description="ms since 1970.")
    groups: list[str] = Field(description="The first 100, as of tags and topics.")
    tags: list[str]
    topics: list[str]
    lagging: bool = Field(description="It is slower than its events, or resuming.")


class ClientPage(BaseModel):
    """A page of the connections."""

    total: int = Field(description="How many there are on all pages.")
    page: int
    page_size: int
    clients: list[Client] = Field(description="The longest connected first.")
    silent: list[str] = Field(description="Instances that live and did not answer: theirs are missing.", examples=[[]])


class Messages(BaseModel):
    """Counts of frames, since the instances started."""

    received: int = Field(description="Commands of the tenant's clients.")
    delivered: int = Field(description="Pushes handed to sockets, of all tenants.")


class ClientStatistics(BaseModel):
    """Counts of connections."""

    active: int = Field(description="Connections now.")
    total: int = Field(description="Connections since the instances started.")
    messages: Messages
    groups: dict[str, int] = Field(description="Connections in each group; the 1,000 largest.", examples=[{"ops": 2}])
    users: dict[str, int] = Field(description="Connections of each user; the 1,000 with most.", examples=[{"42": 2}])
    instances: list[str] = Field(description="Those that answered.")
    silent: list[str] = Field(description="Instances that live and did not: theirs are missing.", examples=[[]])


class ProblemJson(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str


_SAID: Final = {
    400: "The body is not JSON, or repeats a name.",
    401: "No credential, or one that is refused; `reason` says why in one word.",
    403: "The credential does not reach that far.",
    413: "The body or the event is too large.",
    415: "The body is of another media type than JSON.",
    422: "A field does not hold; `errors` lists them.",
    429: "Too many requests of this caller; see `Retry-After`.",
    503: "Redis cannot take it now; see `Retry-After`. `stored` is `no`, `unknown` or `partly`: in the latter two "
    "cases send the same request again with `idempotency_key` as its `Idempotency-Key`, and nothing is stored twice.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can meet these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemJson"}}}
    return {status: {"description": _SAID[status], "content": content} for status in statuses}


AUTH_PROBLEMS: Final = problems(401, 403, 429)
PUSH_PROBLEMS: Final = problems(400, 401, 403, 413, 415, 422, 429, 503)
