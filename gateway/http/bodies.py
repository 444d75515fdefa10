"""
Request bodies: what each route takes, with its description and an example for the OpenAPI document.

Unknown members are ignored, as in the WebSocket protocol. The members in `VERBATIM` are forwarded as they were sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    model_validator,
)

from gateway.http.fields import (
    MAX_TARGETS,
    Action,
    Addresses,
    CloseCode,
    CloseReason,
    EventName,
    Id,
    Json,
    Key,
    Name,
    Names,
    Object,
    TemplateName,
    Text,
)
from publisher.address import ALL
from publisher.event import Priority

VERBATIM: Final = frozenset({"data", "org_info", "user_info", "role_info"})
MAX_BATCH: Final = 1_000


class Body(BaseModel):
    """What all bodies have in common."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant: StrictStr | None = Field(
        None, description="Not needed: it is the credential's. Naming another one is refused with 403."
    )

    def options(self) -> dict[str, Any]:
        """Return what `publisher.make_event` takes beside name, data and audience."""
        return {}

    def stated(self) -> dict[str, Any]:
        """Return the members that were sent, but for the tenant."""
        return {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set - {"tenant"}
        }


def _needed(value: Any, info: ValidationInfo) -> Any:
    """Ask for what a template does not give. An explicit null is JSON text here, and so something."""
    if value is None and info.data.get("template", value) is None and "template" in info.data:
        raise ValueError("Field required")
    return value


def _once(data: Any, info: ValidationInfo) -> Any:
    if data is not None and info.data.get("template") is not None:
        raise ValueError("leave it out: the template has it")
    return data


class Message(Body):
    """An event, whomever it is for."""

    template: TemplateName | None = Field(None, description="A message template, instead of `data`.")
    params: dict[str, Any] = Field({}, description="Parameters of the template.")
    event: Annotated[EventName | None, AfterValidator(_needed)] = Field(
        None,
        validate_default=True,
        description="What happened: the `type` of the frame that clients get. Needed, unless the template has it.",
    )
    data: Annotated[Json, AfterValidator(_needed), AfterValidator(_once)] = Field(None, validate_default=True)
    exclude: Addresses = Field([], max_length=10_000, description="Addresses that do not get it, although targeted.")
    message_id: Key | None = Field(None, description="Names the event for its receivers; default: a random one.")
    expires_in: float | None = Field(None, gt=0, lt=1e10, description="Seconds after which nobody gets it any more.")
    priority: Priority = Field("normal", description="`low` events are the first that a lagging socket goes without.")
    collapse: Key | None = Field(
        None, description="A lagging or returning socket gets only the newest event of a collapse key."
    )

    receipt: StrictBool = Field(
        False, description="Note what becomes of it, address by address: see `/api/v1/receipts`. Up to 1,000 addresses."
    )

    def options(self) -> dict[str, Any]:
        """See `Body`."""
        names = ("exclude", "message_id", "expires_in", "priority", "collapse", "receipt")
        return {name: getattr(self, name) for name in names}


def _example(**members: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [members]})


_SHIPPED: Final = {"event": "order.shipped", "data": {"order": 7}}


class ToAll(Message):
    """An event for everybody of the tenant."""

    model_config = _example(event="data_update", data={"table": "prices"})


class ToUser(Message):
    """An event for all connections of a user."""

    model_config = _example(user_id="42", **_SHIPPED)
    user_id: Name = Field(description="The user's id: the `sub` of their tokens.")


class ToUsers(Message):
    """An event for several users."""

    model_config = _example(user_ids=["42", "43"], **_SHIPPED)
    user_ids: Names = Field(description="Their ids. From 10,000 on it becomes several events.")


class ToClient(Message):
    """An event for one connection."""

    model_config = _example(client_id="8f14e45fceea167a", **_SHIPPED)
    client_id: Name = Field(description="The connection's id, from its `welcome`.")


class ToTag(Message):
    """An event for the connections that carry a tag."""

    model_config = _example(tag="vip", event="offer", data={"percent": 10})
    tag: Name = Field(description="The tag.")


class ToGroup(Message):
    """An event for the connections in a group."""

    model_config = _example(group_id="ops", event="alarm", data={"door": 3})
    group_id: Name = Field(description="The group's id.")
    history: StrictBool = Field(False, description="Keep it in the group's history, where the settings keep one.")

    def options(self) -> dict[str, Any]:
        """See `Body`."""
        return {**super().options(), "history": self.history}


class ToTopic(Message):
    """An event for the subscribers of a topic."""

    model_config = _example(topic="prices", event="price", data={"ACME": 12.5})
    topic: Name = Field(description="The topic.")


class Custom(Message):
    """An event for any number of targets of one kind."""

    model_config = _example(target_type="tag", target_ids=["vip", "beta"], event="offer", data={"percent": 10})
    target_type: Literal["all", "user", "client", "tag", "group", "topic"] = Field(description="What the ids name.")
    target_ids: list[Name] = Field([], max_length=MAX_TARGETS, description="The targets; none with `all`.")

    @model_validator(mode="after")
    def _has_targets(self) -> Custom:
        if (self.target_type == ALL) == bool(self.target_ids):
            raise ValueError("target_ids: use none with target_type `all`, and at least one with any other")
        return self

    def targets(self) -> list[str]:
        """Return the addresses."""
        return [f"{self.target_type}:{name}" for name in self.target_ids] or [ALL]


class OrgChange(Body):
    """A change of an organisation."""

    model_config = _example(org_id="7", action="updated", org_info={"name": "Sales"})
    org_id: Id = Field(description="Which organisation.")
    action: Action = Field(description="What became of it.")
    org_info: Object = Field(None, description="The organisation; reaches clients byte for byte.")


class UserChange(Body):
    """A change of a user."""

    model_config = _example(user_id="42", action="status_changed", user_info={"status": "away"})
    user_id: Id = Field(description="Which user.")
    action: Action = Field(description="What became of them.")
    user_info: Object = Field(None, description="The user; reaches clients byte for byte.")


class RoleChange(Body):
    """A change of a role."""

    model_config = _example(role_id="editor", action="created", role_info={"rights": ["write"]})
    role_id: Id = Field(description="Which role.")
    action: Action = Field(description="What became of it.")
    role_info: Object = Field(None, description="The role; reaches clients byte for byte.")


class Notice(Body):
    """A notice or an alert for everybody."""

    model_config = _example(title="New version", content="Reload to get it.", level="info", data={"version": "2.1"})
    title: Text = Field(min_length=1, description="Its headline.")
    content: Text = Field(description="Its text.")
    level: Annotated[StrictStr, Field(max_length=64)] | None = Field(None, description="How serious it is: `info` …")
    data: Json = None


class Maintenance(Body):
    """An announced maintenance, for everybody."""

    model_config = _example(
        title="Maintenance",
        content="We are back soon.",
        start_time="2027-01-01T02:00:00Z",
        end_time="2027-01-01T03:00:00Z",
        affected_services=["orders"],
    )
    title: Text = Field(min_length=1, description="Its headline.")
    content: Text = Field(description="Its text.")
    start_time: Id | None = Field(None, description="When it begins: a text, or a number such as ms since 1970.")
    end_time: Id | None = Field(None, description="When it ends.")
    affected_services: list[Text] = Field([], max_length=1_000, description="What will not work meanwhile.")
    data: Json = None


class BatchEvent(Message):
    """One event of a batch."""

    model_config = _example(to=["user:42", "tag:vip"], key="order-7-shipped", **_SHIPPED)
    to: Addresses = Field(
        min_length=1,
        max_length=10_000,
        description="Address or addresses: `all`, `user:42`, `tag:vip`, `topic:prices` …",
    )
    key: Key | None = Field(None, description="The event's own idempotency key.")


def _kept(value: Any, validate: Any) -> Any:
    """Let one event that does not hold stand beside those that do."""
    try:
        return validate(value)
    except ValidationError as error:
        return error


if TYPE_CHECKING:
    BatchItem = BatchEvent | ValidationError
else:
    BatchItem = Annotated[BatchEvent, WrapValidator(_kept)]


class Batch(Body):
    """Up to 1,000 events; each is stored or refused by itself."""

    model_config = _example(events=[{"to": "user:42", **_SHIPPED}, {"to": ["tag:vip"], "event": "offer", "data": {}}])
    events: list[BatchItem] = Field(min_length=1, max_length=MAX_BATCH, description="The events, in order.")


class Kick(Body):
    """How connections are closed."""

    model_config = _example(reason="signed out by an administrator")
    code: CloseCode = Field(
        4403, description="Close code: 1000, or 4000 to 4999. With 4403 clients do not just reconnect."
    )
    reason: CloseReason = Field("", description="Close reason, up to 123 bytes.")
