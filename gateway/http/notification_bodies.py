"""What the routes of notifications take and answer, with descriptions and examples for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from gateway.http.bodies import Body
from gateway.http.fields import Json, Name, Names, TemplateName
from gateway.store.inbox import MAX_ID_LENGTH
from publisher.notification import (
    DEFAULT_TYPE,
    MAX_CONTENT_LENGTH,
    MAX_LINK_LENGTH,
    MAX_TITLE_LENGTH,
    MAX_TYPE_LENGTH,
    Level,
    NotificationOptions,
    NotificationPriority,
)

MAX_IDS: Final = 1_000

_ID: Final = "1795000000000-0.0.kq3v9x"
_ITEM: Final[Any] = {
    "id": _ID,
    "created_at": 1795000000000,
    "read": False,
    "type": "order",
    "title": "Shipped",
    "content": "Your order is on its way.",
    "level": "success",
    "priority": "normal",
    "link": "/orders/7",
    "data": {"order": 7},
}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("use printable characters")
    return text


TypeName = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TYPE_LENGTH), AfterValidator(_printable)]
_Link = Annotated[StrictStr, Field(min_length=1, max_length=MAX_LINK_LENGTH), AfterValidator(_printable)]


class Notify(Body):
    """A notification for one user or for many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "42",
                    "title": "Shipped",
                    "content": "Your order is on its way.",
                    "type": "order",
                    "level": "success",
                    "link": "/orders/7",
                    "data": {"order": 7},
                }
            ]
        }
    )
    user_id: Name | None = Field(None, description="Whom to notify.")
    user_ids: Names | None = Field(None, description="Whom to notify, if several; up to 100,000.")
    template: TemplateName | None = Field(None, description="A message template; it says what is not given here.")
    params: dict[str, Any] = Field({}, description="Parameters of the template.")
    title: StrictStr | None = Field(
        None, min_length=1, max_length=MAX_TITLE_LENGTH, description="One line. Needed, unless the template has it."
    )
    content: StrictStr = Field("", max_length=MAX_CONTENT_LENGTH, description="Its text.")
    type: TypeName = Field(DEFAULT_TYPE, description="What it is about, for filters.")
    level: Level = Field("info", description="How serious it is.")
    priority: NotificationPriority = Field(
        "normal", description="How urgent it is. A slow client goes without the push of one that is `low`."
    )
    link: _Link | None = Field(None, description="Where it leads.")
    icon: _Link | None = Field(None, description="What to show beside it.")
    data: Json = None
    expires_in: float | None = Field(
        None, gt=0, lt=1e10, description="Seconds after which it is not pushed any more. The inbox keeps it."
    )

    @model_validator(mode="after")
    def _is_for_somebody(self) -> Notify:
        if (self.user_id is None) == (self.user_ids is None):
            raise ValueError("name either user_id or user_ids")
        if self.title is None and self.template is None:
            raise ValueError("name a title, or a template that has it")
        return self

    def spec(self) -> NotificationOptions:
        """Return what the body itself says of the notification, as `publisher.make_notifications` takes it."""
        names = {"title", "content", "type", "level", "priority", "link", "icon", "data", "expires_in"}
        said: Any = {name: getattr(self, name) for name in names & self.model_fields_set}
        return cast(NotificationOptions, said)


class MarkRead(BaseModel):
    """Which notifications have been read: `ids`, or `all`. An empty body means all."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"examples": [{"ids": [_ID]}]})
    ids: list[Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_LENGTH)]] | None = Field(
        None, min_length=1, max_length=MAX_IDS, description="Their ids; one that is not there changes nothing."
    )
    all: StrictBool | None = Field(None, description="`true`: all that there are.")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_all(cls, value: Any) -> Any:
        return {"all": True} if value == {} else value

    @model_validator(mode="after")
    def _is_one(self) -> MarkRead:
        if (self.ids is None) == (self.all is None) or self.all is False:
            raise ValueError("give either ids, or all: true")
        return self


class Notified(BaseModel):
    """The notification is stored, and on its way."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": _ID}]})
    id: str | None = Field(None, description="Of the notification, where `user_id` was given.")
    ids: list[str] | None = Field(None, description="One for each of `user_ids`, in order.")


class NotificationItem(BaseModel):
    """A notification in an inbox."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})
    id: str = Field(description="The same as in the frame.")
    created_at: int = Field(description="When it was stored, ms since 1970.")
    read: bool = Field(description="Whether its user has read it.")
    type: str
    title: str
    content: str
    level: Level
    priority: NotificationPriority
    link: str | None = Field(None, description="Only where there is one.")
    icon: str | None = Field(None, description="Only where there is one.")
    data: Any = Field(None, description="Only where there is any; byte for byte as it was sent.")


class NotificationPage(BaseModel):
    """Some notifications, the newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [_ITEM], "total": 1, "unread_count": 1, "page": 1, "page_size": 20}]}
    )
    items: list[NotificationItem]
    total: int = Field(description="How many there are of those that were asked for.")
    unread_count: int = Field(description="How many of all are unread.")
    page: int
    page_size: int


class Unread(BaseModel):
    """How many notifications are unread."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"unread_count": 3}]})
    unread_count: int
