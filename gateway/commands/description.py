"""
The commands, described as data: what the AsyncAPI document and the console's forms are made from.

Says nothing that `docs/protocol.md` does not. Tests compare the names with the command table, and the limits with what
a gateway refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.commands.arguments import MAX_CURSOR_LENGTH
from gateway.fields import Field, name_field
from gateway.filters import MAX_FIELDS, MAX_VALUES
from gateway.history import DEFAULT_LIMIT, MAX_LIMIT
from gateway.wire.v1 import ACK, AUTH_FAILED, AUTH_SUCCESS, ECHO, MAX_MESSAGE_ID_LENGTH, PONG

COMMON_CODES: Final = (400, 401, 429)
"""What every command can be answered with: not well-formed, before `auth`, too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandDescription:
    """
    One command.

    Attributes:
        name: The frame's `type`.
        summary: What it is for, in a sentence.
        takes: What its `data` is; with `object`, the `fields`.
        fields: Of its data.
        forms: Where some fields exclude each other: in each form, those that have to be there. One form at a time.
        reply: The frame's `type` when it was carried out.
        answer: The fields of the reply's data; of an `ack` those beside `success`.
        refusal: The `type` of a refusal of its own, beside `error`.
        codes: The codes of an `error`, beside `COMMON_CODES`.
    """

    name: str
    summary: str
    takes: Literal["object", "nothing", "anything"] = "object"
    fields: tuple[Field, ...] = ()
    forms: tuple[tuple[str, ...], ...] = ()
    reply: str = ACK
    answer: tuple[Field, ...] = ()
    refusal: str | None = None
    codes: tuple[int, ...] = ()


_SCALARS: Final = ("string", "number", "boolean", "null")
_GROUP_ID: Final = name_field("group_id", "The group.")
_TOPIC: Final = name_field("topic", "The topic.")
_TAG: Final = name_field("tag", "The tag.")
_SINCE: Final = Field(
    name="since",
    kind="string",
    summary="A cursor: what came after it follows the `ack`.",
    required=False,
    least=1,
    most=MAX_CURSOR_LENGTH,
)
_CURSOR: Final = Field(name="cursor", kind="string", summary="The connection's position in the log.")
_ID: Final = Field(name="id", kind="string", summary="Where it is in the log: the `id` that receivers see.")
_MESSAGE: Final = Field(
    name="message_id",
    kind="string",
    summary="The message: the `message_id` that it was sent under, or its `id`.",
    least=1,
    most=MAX_MESSAGE_ID_LENGTH,
)


def _names(name: str, summary: str) -> Field:
    return Field(name=name, kind="array", items="string", summary=summary)


_SESSION: Final = (
    CommandDescription(
        name="ping",
        summary="Ask for a sign of life, and for your position. Allowed before `auth`.",
        takes="nothing",
        reply=PONG,
        answer=(Field(name="cursor", kind="string", summary="Your position; missing before `auth`.", required=False),),
    ),
    CommandDescription(
        name="auth",
        summary="Authenticate, or refresh the token. Allowed before `auth`, of course.",
        fields=(
            Field(name="token", kind="string", summary="A JWT."),
            Field(
                name="cursor",
                kind="string",
                summary="Where to resume.",
                required=False,
                least=1,
                most=MAX_CURSOR_LENGTH,
            ),
        ),
        reply=AUTH_SUCCESS,
        answer=(
            Field(name="user_id", kind="string", summary="Who you are."),
            Field(name="expires_at", kind="integer", summary="When the token ends, ms since 1970."),
        ),
        refusal=AUTH_FAILED,
        codes=(403,),
    ),
    CommandDescription(name="echo", summary="Get the same data back.", takes="anything", reply=ECHO),
    CommandDescription(
        name="get_client_info",
        summary="Ask what the gateway knows of this connection.",
        takes="nothing",
        answer=(
            Field(name="client_id", kind="string", summary="Names this connection."),
            Field(name="session_id", kind="string", summary="Names the login."),
            Field(name="user_id", kind="string", summary="Who you are."),
            Field(name="name", kind="string", summary="What others see; from the token.", nullable=True),
            Field(name="tenant", kind="string", summary="The tenant."),
            Field(name="instance", kind="string", summary="The gateway's name."),
            Field(name="remote", kind="string", summary="The address that you come from."),
            Field(name="connected_at", kind="integer", summary="Since when, ms since 1970."),
            Field(name="expires_at", kind="integer", summary="When the token ends, ms since 1970."),
            _names("groups", "The groups that you are in."),
            _names("tags", "The tags that you carry."),
            _names("topics", "The topics that you have subscribed to."),
            Field(
                name="durable_groups",
                kind="array",
                items="string",
                summary="The groups that you belong to; `null` while Redis cannot say.",
                nullable=True,
            ),
            _CURSOR,
        ),
    ),
)

_MEMBERSHIP: Final = (
    CommandDescription(
        name="join_group",
        summary="Receive what is sent to a group.",
        fields=(_GROUP_ID, _SINCE),
        answer=(_CURSOR,),
        codes=(403, 409),
    ),
    CommandDescription(name="leave_group", summary="Receive it no longer.", fields=(_GROUP_ID,)),
    CommandDescription(
        name="subscribe",
        summary="Receive what is sent to a topic.",
        fields=(
            _TOPIC,
            _SINCE,
            Field(
                name="filter",
                kind="object",
                summary="Only events whose data has these fields: a value, or a list of values, for each.",
                required=False,
                most=MAX_FIELDS,
                values={
                    "type": [*_SCALARS, "array"],
                    "items": {"type": list(_SCALARS)},
                    "minItems": 1,
                    "maxItems": MAX_VALUES,
                },
            ),
        ),
        answer=(_CURSOR,),
        codes=(403, 409),
    ),
    CommandDescription(name="unsubscribe", summary="Receive it no longer.", fields=(_TOPIC,)),
    CommandDescription(
        name="add_tag",
        summary="Receive what is sent to a tag.",
        fields=(_TAG, _SINCE),
        answer=(_CURSOR,),
        codes=(403, 409),
    ),
    CommandDescription(name="remove_tag", summary="Receive it no longer.", fields=(_TAG,)),
)

_CHAT: Final = (
    CommandDescription(
        name="send_message",
        summary="Write to a group that you have joined, or to a user.",
        fields=(
            name_field("group_id", "The group …", required=False),
            name_field("to", "… or the user.", required=False),
            Field(
                name="msg_type",
                kind="string",
                summary="Passed on. Printable characters.",
                required=False,
                least=1,
                most=64,
                default="text",
            ),
            Field(name="content", kind="any", summary="What to say: anything JSON can hold."),
        ),
        forms=(("group_id",), ("to",)),
        answer=(_ID,),
        codes=(403, 413, 503),
    ),
    CommandDescription(
        name="typing", summary="Tell the others in a group that you are writing.", fields=(_GROUP_ID,), codes=(403, 503)
    ),
    CommandDescription(
        name="recall_message",
        summary="Take back what you wrote to a group.",
        fields=(_GROUP_ID, _MESSAGE),
        codes=(403, 404, 409, 503),
    ),
    CommandDescription(
        name="get_history",
        summary="Read what was written to a group, before you came too.",
        fields=(
            _GROUP_ID,
            Field(
                name="before",
                kind="string",
                summary="The `id` of a message: only those before it. The newest where absent.",
                required=False,
                least=1,
                most=MAX_CURSOR_LENGTH,
            ),
            Field(
                name="limit",
                kind="integer",
                summary="Most messages.",
                required=False,
                least=1,
                most=MAX_LIMIT,
                default=DEFAULT_LIMIT,
            ),
        ),
        answer=(
            Field(name="messages", kind="array", items="object", summary="The newest first, each as it was pushed."),
            Field(name="has_more", kind="boolean", summary="Whether there are older ones."),
        ),
        codes=(403, 503),
    ),
)

_READING: Final = (
    CommandDescription(
        name="mark_read",
        summary="Say what you have read: some notifications, or all of them, or a message in a group.",
        fields=(
            Field(
                name="notification_ids",
                kind="array",
                items="string",
                summary="The `id` of each.",
                required=False,
                least=1,
                most=1_000,
            ),
            Field(name="all", kind="boolean", summary="All there are.", required=False, choices=(True,)),
            name_field("group_id", "The message's group …", required=False),
            Field(
                name="message_id",
                kind="string",
                summary="… and the `message_id` of the message.",
                required=False,
                least=1,
                most=MAX_MESSAGE_ID_LENGTH,
            ),
        ),
        forms=(("notification_ids",), ("all",), ("group_id", "message_id")),
        answer=(
            Field(
                name="unread_count",
                kind="integer",
                summary="Of notifications: how many are unread now.",
                required=False,
            ),
            Field(name="id", kind="string", summary="Of a message: where that is in the log.", required=False),
        ),
        codes=(403, 404, 503),
    ),
)

_PRESENCE: Final = (
    CommandDescription(
        name="get_online_status",
        summary="Ask whether a user is online, or which of several.",
        fields=(
            name_field("user_id", "The user …", required=False),
            Field(
                name="user_ids",
                kind="array",
                items="string",
                summary="… or the users.",
                required=False,
                least=1,
                most=1_000,
            ),
        ),
        forms=(("user_id",), ("user_ids",)),
        answer=(Field(name="online", kind="any", summary="A boolean; of several users an object, user → boolean."),),
        codes=(403, 503),
    ),
    CommandDescription(
        name="get_presence",
        summary="Ask who is in a group that you are in.",
        fields=(
            _GROUP_ID,
            Field(
                name="limit",
                kind="integer",
                summary="Most users.",
                required=False,
                least=1,
                most=1_000,
                default=1_000,
            ),
            name_field("after", "The `next` of the page before.", required=False),
        ),
        answer=(
            _names("users", "Sorted."),
            Field(name="total", kind="integer", summary="How many there are."),
            Field(name="next", kind="string", summary="Give it back as `after`: there are more.", required=False),
        ),
        codes=(403, 503),
    ),
)

_RECEIPTS: Final = (
    CommandDescription(
        name="ack",
        summary="Say that you have an event.",
        fields=(Field(name="id", kind="string", summary="The event's.", least=1, most=MAX_CURSOR_LENGTH),),
        answer=(Field(name="counted", kind="boolean", summary="Whether it is on the event's receipt now."),),
        codes=(503,),
    ),
)

COMMANDS: Final = (*_SESSION, *_MEMBERSHIP, *_CHAT, *_READING, *_PRESENCE, *_RECEIPTS)
