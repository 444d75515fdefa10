"""
The commands described: what each does and which fields its data has, for those who build forms of them.

Says nothing of how a command works: its function decides, and answers what is wrong. A test compares the names here
with the table of commands, so that a new one is described too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FieldKind = Literal["name", "names", "text", "number", "json", "flag", "secret"]
"""`name`: a group, a user, a topic, a tag. `names`: several. `secret`: is not to be shown."""


@dataclass(frozen=True, slots=True)
class Field:
    """
    One member of a command's data.

    Attributes:
        about: What it is, as a hint.
        needed: The command is refused without it.
        example: Something to begin with.
    """

    name: str
    kind: FieldKind
    about: str
    needed: bool = False
    example: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """
    One command.

    Attributes:
        type: Its name on the wire.
        family: What it belongs to.
        about: What it does, in a sentence.
        one_of: Fields of which exactly one is needed.
        whole: Its data is any JSON, which the only field stands for.
    """

    type: str
    family: str
    about: str
    fields: tuple[Field, ...] = ()
    one_of: tuple[str, ...] = ()
    whole: bool = False


_GROUP: Final = Field("group_id", "name", "Which group.", needed=True, example="chat-1")
_SINCE: Final = Field("since", "text", "A cursor: what came after it is sent again first.")
_TOPIC: Final = Field("topic", "name", "Which topic.", needed=True, example="orders")
_TAG: Final = Field("tag", "name", "Which tag.", needed=True, example="vip")
_MESSAGE: Final = Field("message_id", "text", "The id of the message.", needed=True)

DESCRIBED: Final = (
    Command("join_group", "Groups", "Receive what is sent to a group.", (_GROUP, _SINCE)),
    Command("leave_group", "Groups", "Receive no more of a group.", (_GROUP,)),
    Command(
        "send_message",
        "Groups",
        "Write to a group that you are in, or to a user.",
        (
            Field("group_id", "name", "To which group.", example="chat-1"),
            Field("to", "name", "Or to which user."),
            Field("msg_type", "text", "What the content is; `text` unless given."),
            Field("content", "json", "Any JSON.", needed=True, example='"Hello!"'),
        ),
        one_of=("group_id", "to"),
    ),
    Command("typing", "Groups", "Tell a group that you are writing; kept nowhere.", (_GROUP,)),
    Command("recall_message", "Groups", "Take back a message of yours.", (_GROUP, _MESSAGE)),
    Command(
        "get_history",
        "Groups",
        "Read what a group was written before.",
        (
            _GROUP,
            Field("before", "text", "The id of a message: only older ones."),
            Field("limit", "number", "How many at most."),
        ),
    ),
    Command("get_presence", "Groups", "Ask who is in a group.", (_GROUP,)),
    Command(
        "mark_read",
        "Inbox",
        "Say what you have read: notifications, or messages up to one in a group.",
        (
            Field("notification_ids", "names", "Ids of notifications, one a line."),
            Field("all", "flag", "All notifications."),
            Field("group_id", "name", "Or in which group,"),
            Field("message_id", "text", "up to which message."),
        ),
        one_of=("notification_ids", "all", "group_id"),
    ),
    Command(
        "subscribe",
        "Topics and tags",
        "Receive what is published to a topic.",
        (_TOPIC, Field("filter", "json", "Only events whose data match it."), _SINCE),
    ),
    Command("unsubscribe", "Topics and tags", "Receive no more of a topic.", (_TOPIC,)),
    Command("add_tag", "Topics and tags", "Take a tag: what is pushed to it reaches you.", (_TAG, _SINCE)),
    Command("remove_tag", "Topics and tags", "Give a tag back.", (_TAG,)),
    Command(
        "get_online_status",
        "Connection",
        "Ask whether users are online.",
        (
            Field("user_id", "name", "Which user.", example="42"),
            Field("user_ids", "names", "Or several, one a line."),
        ),
        one_of=("user_id", "user_ids"),
    ),
    Command("get_client_info", "Connection", "Ask what the gateway knows of this connection."),
    Command("ping", "Connection", "Ask for a sign of life, and for the cursor."),
    Command(
        "echo",
        "Connection",
        "Get the same data back.",
        (Field("data", "json", "Any JSON.", example='{"hello": "world"}'),),
        whole=True,
    ),
    Command(
        "ack",
        "Connection",
        "Confirm that an event has arrived, for its receipt.",
        (Field("id", "text", "The `id` of the event.", needed=True),),
    ),
    Command(
        "auth",
        "Connection",
        "Give a new token of the same user, and stay connected beyond the old one.",
        (Field("token", "secret", "The JWT.", needed=True),),
    ),
)
"""Every command of the gateway's own, in the order in which a form offers them."""
