"""
The frames that a gateway sends, described as data: replies, notices of its own, and the events that it makes itself.

Pure. A test compares the names with those in the code, and the fields with what a real gateway sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from gateway.errors import Reason
from gateway.fields import Field
from gateway.wire import v1

Family = Literal["reply", "notice", "event"]

CODES: Final = (400, 401, 403, 404, 409, 413, 429, 500, 503)
"""Of an `error`; 500 where a plug-in handler has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDescription:
    """
    One kind of frame.

    Attributes:
        name: Its `type`.
        family: `reply` to a command, `notice` of the gateway's own, or `event` from the log, which has an `id`.
        summary: When it comes.
        fields: Of its data; None where the data can be anything.
    """

    name: str
    family: Family
    summary: str
    fields: tuple[Field, ...] | None


def _one_of(name: str, summary: str, *choices: str) -> Field:
    return Field(name=name, kind="string", summary=summary, choices=choices)


def _text(name: str, summary: str, *, required: bool = True) -> Field:
    return Field(name=name, kind="string", summary=summary, required=required)


_ERROR: Final = FrameDescription(
    name=v1.ERROR,
    family="reply",
    summary="A command was refused. The connection stays open.",
    fields=(
        Field(name="code", kind="integer", summary="Decide by this.", choices=CODES),
        _text("message", "For developers."),
        Field(name="retry_after_ms", kind="integer", summary="When to try again.", required=False, least=0),
    ),
)
_AUTH_FAILED: Final = FrameDescription(
    name=v1.AUTH_FAILED,
    family="reply",
    summary="The token was refused; a close with 4401 follows.",
    fields=(
        Field(name="reason", kind="string", summary="Why.", choices=tuple(sorted(get_args(Reason)))),
        _text("message", "For developers."),
    ),
)

_NOTICES: Final = (
    FrameDescription(
        name=v1.WELCOME,
        family="notice",
        summary="The first frame once you are authenticated, after `auth_success` where `auth` was used.",
        fields=(
            _text("client_id", "Names this connection."),
            _text("session_id", "Names the login."),
            _text("user_id", "Who you are."),
            _text("cursor", "Your position: what comes next is after it."),
            Field(name="resumed", kind="boolean", summary="Whether your cursor was found; what you missed follows."),
            Field(name="heartbeat_s", kind="number", summary="How often to send `ping`."),
            Field(name="max_message_bytes", kind="integer", summary="The largest frame that you may send."),
            Field(name="unread_count", kind="integer", summary="Unread notifications.", required=False, least=0),
        ),
    ),
    FrameDescription(
        name=v1.RESYNC,
        family="notice",
        summary="Something is gone: load the state behind `addresses` again, and go on from `cursor`.",
        fields=(
            Field(
                name="reason",
                kind="string",
                summary="Why. New reasons may come.",
                examples=("expired", "too_far", "unknown_cursor", "epoch", "trimmed", "unavailable"),
            ),
            _text("cursor", "Your position from now on."),
            Field(name="addresses", kind="array", items="string", summary="What is concerned."),
        ),
    ),
    FrameDescription(
        name=v1.TOKEN_EXPIRING,
        family="notice",
        summary="The token ends soon: send `auth` with a new one.",
        fields=(Field(name="expires_in_ms", kind="integer", summary="How soon."),),
    ),
    FrameDescription(
        name=v1.GOING_AWAY,
        family="notice",
        summary="The gateway restarts; a close with 1012 follows.",
        fields=(Field(name="reconnect_in_ms", kind="integer", summary="How long to wait before you reconnect."),),
    ),
)

_EVENTS: Final = (
    FrameDescription(
        name="new_message",
        family="event",
        summary="What `send_message` makes: to a group, or to a user and the sender's own devices.",
        fields=(
            _text("from", "Who wrote it."),
            _text("from_name", "Their name, if the token has one.", required=False),
            _text("group_id", "The group that it was written to …", required=False),
            _text("to", "… or the user.", required=False),
            _text("msg_type", "The sender's word for what it is."),
            Field(name="content", kind="any", summary="What was said."),
        ),
    ),
    FrameDescription(
        name="typing",
        family="event",
        summary="Somebody in a group writes, now. Never replayed.",
        fields=(_text("group_id", "Where."), _text("user_id", "Who.")),
    ),
    FrameDescription(
        name="message_recalled",
        family="event",
        summary="An author has taken back a message: remove it.",
        fields=(
            _text("group_id", "Where."),
            _text("message_id", "The `message_id` of its `new_message`."),
            _text("id", "The `id` of its `new_message`."),
            _text("user_id", "Who."),
        ),
    ),
    FrameDescription(
        name="message_read",
        family="event",
        summary="Somebody in a group has read a message.",
        fields=(_text("group_id", "Where."), _text("user_id", "Who."), _text("message_id", "What.")),
    ),
    FrameDescription(
        name="presence",
        family="event",
        summary="A user has come into a group that you are in, or has left it.",
        fields=(
            _text("group_id", "Where."),
            _text("user_id", "Who."),
            _one_of("action", "Take `join` as 'is there', `leave` as 'is not'.", "join", "leave"),
        ),
    ),
    FrameDescription(
        name="notification",
        family="event",
        summary="Kept in the inbox as well.",
        fields=(
            _text("id", "Names it: for `mark_read`, and in the inbox."),
            _text("type", "What it is about; the producer's own word."),
            _text("title", "In a line."),
            _text("content", "In full."),
            _one_of("level", "How it is to be shown.", "info", "success", "warning", "error"),
            _one_of("priority", "How much it matters.", "low", "normal", "high", "urgent"),
            _text("link", "Where it leads.", required=False),
            _text("icon", "What to show with it.", required=False),
            Field(name="data", kind="any", summary="Whatever the producer added.", required=False),
        ),
    ),
    FrameDescription(
        name="unread_count",
        family="event",
        summary="The number of unread notifications has changed.",
        fields=(Field(name="unread_count", kind="integer", summary="How many there are now.", least=0),),
    ),
)

FRAMES: Final = (_ERROR, _AUTH_FAILED, *_NOTICES, *_EVENTS)
"""All but the replies of success: those are described with their commands."""
