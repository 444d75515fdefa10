"""
The wire format `tidegate.v1`: JSON text frames with one envelope for both directions.

    {"type": …, "message_id": …, "timestamp": <ms>, "data": …}      pushes from the log also carry "id", the cursor,
                                                                                 and some "traceparent"

Pure. An entry's `data` goes into its frame as the bytes that came; it is parsed once, when the frame is made, only
to keep what is not JSON from ever reaching a client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from gateway.entry import Entry
from gateway.errors import CommandError, PoisonEntry
from gateway.frames import deflated_frame, payload_of, text_frame
from publisher import json_text
from publisher.event import KIND_NOTIFY

SUBPROTOCOL: Final = "tidegate.v1"

# Frames from the server that are not pushes from the log.
WELCOME: Final = "welcome"
ACK: Final = "ack"
ERROR: Final = "error"
PONG: Final = "pong"
ECHO: Final = "echo"
AUTH_SUCCESS: Final = "auth_success"
AUTH_FAILED: Final = "auth_failed"
RESYNC: Final = "resync"
TOKEN_EXPIRING: Final = "token_expiring"
GOING_AWAY: Final = "going_away"

OWN_FRAMES: Final = frozenset(
    (WELCOME, ACK, ERROR, PONG, ECHO, AUTH_SUCCESS, AUTH_FAILED, RESYNC, TOKEN_EXPIRING, GOING_AWAY)
)

MAX_MESSAGE_ID_LENGTH: Final = 256

_MAX_CACHED_NAMES = 4_096


class Command(NamedTuple):
    """
    One frame from a client.

    Attributes:
        type: Name of the command.
        message_id: Comes back in the reply; None where the client gave none.
        data: The command's arguments; an empty dict where there are none. `echo` may have any, null too.
    """

    type: str
    message_id: str | None
    data: Any


class Reply(NamedTuple):
    """
    The one answer to a command.

    Attributes:
        type: `ack`, or what the command's own reply is called.
        data: Its data.
        then: Called once the reply is on its way: pushes that must come after it.
    """

    type: str
    data: Any
    then: Callable[[], None] | None = None


def ack(*, then: Callable[[], None] | None = None, **facts: Any) -> Reply:
    """Return the usual reply of success."""
    return Reply(ACK, {"success": True, **facts}, then)


def decode_command(payload: bytes) -> Command:
    """
    Read a client's text frame. Unknown fields are ignored.

    Raises:
        CommandError: 400, with the frame's `message_id` if that much could be read.
    """
    try:
        envelope = json_text.loads(payload)
    except ValueError as error:
        raise CommandError(400, f"the frame is not JSON: {error}"[:200]) from None
    if not isinstance(envelope, dict):
        raise CommandError(400, "the frame is not a JSON object")
    message_id = envelope.get("message_id")
    if message_id is not None and not _is_message_id(message_id):
        raise CommandError(400, f"message_id: use a string of 1 to {MAX_MESSAGE_ID_LENGTH} printable characters")
    command = envelope.get("type")
    if not isinstance(command, str):
        raise CommandError(400, "type: use the name of a command", message_id=message_id)
    data = envelope.get("data", {})
    return Command(command, message_id, {} if data is None and command != ECHO else data)


def _is_message_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_MESSAGE_ID_LENGTH and value.isprintable()


def server_frame(kind: str, data: Any, *, message_id: str | None, now_ms: int) -> bytes:
    """Return the finished frame of a reply or of a message of the server's own."""
    envelope = {"type": kind, "message_id": message_id, "timestamp": now_ms, "data": data}
    # What an `ack` says is our own, and a fragment is JSON text that is known to be good: neither has to be checked,
    # and a fragment may be nested deeper, inside the envelope, than is taken in.
    known = kind == ACK or isinstance(data, orjson.Fragment)
    return text_frame(orjson.dumps(envelope) if known else json_text.dumps(envelope))


def error_frame(error: CommandError, *, message_id: str | None, now_ms: int) -> bytes:
    """Return the `error` reply for `error`."""
    data: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.retry_after_ms is not None:
        data["retry_after_ms"] = error.retry_after_ms
    return server_frame(ERROR, data, message_id=message_id or error.message_id, now_ms=now_ms)


def event_text(entry: Entry, epoch: str, name: bytes | None = None) -> bytes:
    """
    Return the JSON text of the push that an entry is.

    Args:
        epoch: Of the log that it comes from: the end of its cursor.
        name: The event's name as JSON, if it is at hand.

    Raises:
        PoisonEntry: It cannot be sent.
    """
    data, options = entry.data, entry.options
    cursor = b"%b.%d.%b" % (entry.id, entry.partition, epoch.encode())
    try:
        if json_text.depth_over(data, json_text.MAX_DEPTH):
            raise ValueError(f"nested more than {json_text.MAX_DEPTH} levels deep")
        parsed = orjson.loads(data)
        if options is not None and options.kind == KIND_NOTIFY:
            data = _with_id(parsed, data, cursor)
        message_id = orjson.dumps(entry.message_id.decode())
        name = name or orjson.dumps(entry.event.decode())
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise PoisonEntry(entry.id, f"its payload cannot be sent: {error}"[:200]) from None
    trace = b""
    if options is not None and options.trace is not None:
        trace = b',"traceparent":"%b"' % options.trace
    return b'{"type":%b,"message_id":%b,"timestamp":%b,"id":"%b"%b,"data":%b}' % (
        name,
        message_id,
        entry.id.partition(b"-")[0],
        cursor,
        trace,
        data,
    )


def _with_id(parsed: Any, data: bytes, cursor: bytes) -> bytes:
    """
    Return a notification's data with its id, which is known only once it is in the log, spliced in.

    Raises:
        ValueError: It is not an object, or claims an id of its own.
    """
    if not isinstance(parsed, dict) or "id" in parsed:
        raise ValueError("not the data of a notification")
    return b'{"id":"%b"%b%b' % (cursor, b"," if parsed else b"", data.lstrip()[1:])


class TextWire:
    """
    Frames of entries, uncompressed.

    Args:
        epochs: Current epoch of each partition: the end of every cursor.
        on_poison: Called once for each entry that cannot be sent.
    """

    def __init__(self, epochs: Callable[[int], str], on_poison: Callable[[PoisonEntry], None]) -> None:
        self._epoch = epochs
        self._on_poison = on_poison
        self._names: dict[bytes, bytes] = {}

    def frames(self, entries: Sequence[Entry]) -> list[bytes]:
        """See `subscriber.Wire`."""
        make = self._frame
        return [entry.frame if entry.frame is not None else make(entry) for entry in entries]

    def _frame(self, entry: Entry) -> bytes:
        name = self._names.get(entry.event)
        try:
            entry.frame = text_frame(event_text(entry, self._epoch(entry.partition), name))
        except PoisonEntry as poison:
            entry.frame = b""
            self._on_poison(poison)
        else:
            if name is None:
                self._remember(entry.event)
        return entry.frame

    def _remember(self, event: bytes) -> None:
        if len(self._names) >= _MAX_CACHED_NAMES:
            self._names.clear()
        self._names[event] = orjson.dumps(event.decode())


class DeflateWire:
    """The frames of `text`, each compressed once for all the sockets that negotiated permessage-deflate."""

    def __init__(self, text: TextWire) -> None:
        self._text = text

    def frames(self, entries: Sequence[Entry]) -> list[bytes]:
        """See `subscriber.Wire`."""
        make = self._frame
        return [entry.deflated if entry.deflated is not None else make(entry) for entry in entries]

    def _frame(self, entry: Entry) -> bytes:
        plain = self._text.frames((entry,))[0]
        entry.deflated = deflated_frame(payload_of(plain)) if plain else b""
        return entry.deflated
