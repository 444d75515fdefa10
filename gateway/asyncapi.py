"""
The AsyncAPI 3 document of the WebSocket protocol, made from the descriptions of commands and frames.

Pure: a value in, a value out. `gateway asyncapi` prints it; `docs/asyncapi.yaml` is what it printed last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gateway.commands.description import COMMANDS, COMMON_CODES, CommandDescription
from gateway.fields import Field, object_schema
from gateway.wire.description import FRAMES, FrameDescription
from gateway.wire.v1 import ACK, AUTH_FAILED, ERROR, MAX_MESSAGE_ID_LENGTH, SUBPROTOCOL

_DESCRIPTION: Final = (
    "Push to browsers and apps, over a WebSocket and JSON. All frames are text frames with one envelope. "
    "Every command gets exactly one reply, in the order of the commands; events come in between. "
    "Unknown fields are to be ignored, in both directions: new ones will come. "
    "`docs/protocol.md` says all of this at length, with examples."
)

_SUCCESS: Final = Field(name="success", kind="boolean", summary="It was carried out.", choices=(True,))

_EVENT: Final = "event"  # the key of any event that has no description of its own

Document = dict[str, Any]

_TRACEPARENT: Final[Document] = {
    "type": "string",
    "description": "W3C Trace Context: the trace that the event's producer works in, where there is one.",
}


def asyncapi(version: str) -> Document:
    """Return the document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidegate",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"gateway": _server()},
        "channels": {"socket": _channel()},
        "operations": dict(_operations()),
        "components": {
            "messages": dict(_messages()),
            "schemas": {"Push": _push(), "Data": {"description": "Anything JSON can hold."}},
            "securitySchemes": _security_schemes(),
        },
    }


def _server() -> Document:
    return {
        "host": "localhost:8889",
        "protocol": "wss",
        "protocolVersion": "13",
        "description": f"Offer the subprotocol `{SUBPROTOCOL}`. Without TLS in development: `ws`.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security_schemes()],
    }


def _security_schemes() -> Document:
    return {
        "header": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Or the subprotocol `bearer.<JWT>` beside the other, or `auth` as the first frame.",
        },
        "query": {
            "type": "httpApiKey",
            "in": "query",
            "name": "token",
            "description": "A JWT. Proxies may log it.",
        },
    }


def _channel() -> Document:
    text = {"type": "string"}
    return {
        "address": "/ws",
        "title": "The socket",
        "description": "One connection of one user: commands in, replies and events out.",
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key, _ in _messages()},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {
                        "token": {**text, "description": "A JWT."},
                        "cursor": {**text, "description": "Where to resume, beside a token in the handshake."},
                    },
                },
                "bindingVersion": "0.1.0",
            }
        },
    }


# Operations: what the gateway does. It receives commands, and sends the rest.


def _operations() -> Iterator[tuple[str, Document]]:
    for command in COMMANDS:
        yield command.name, _operation(command)
    notices = [frame for frame in FRAMES if frame.family != "reply"]
    yield (
        "push",
        {
            "action": "send",
            "channel": {"$ref": "#/channels/socket"},
            "summary": "What the gateway sends without being asked.",
            "messages": [_in_channel(_key(frame)) for frame in notices] + [_in_channel(_EVENT)],
        },
    )


def _operation(command: CommandDescription) -> Document:
    codes = ", ".join(str(code) for code in sorted({*COMMON_CODES, *command.codes}))
    refusals = [command.refusal] if command.refusal else []
    replies = [_reply_key(command), *(f"reply-{name}" for name in (*refusals, ERROR))]
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/socket"},
        "summary": command.summary,
        "description": f"`error` has one of the codes {codes}.",
        "messages": [_in_channel(f"command-{command.name}")],
        "reply": {
            "channel": {"$ref": "#/channels/socket"},
            "messages": [_in_channel(key) for key in replies],
        },
    }


def _in_channel(key: str) -> Document:
    return {"$ref": f"#/channels/socket/messages/{key}"}


# Messages


def _messages() -> Iterator[tuple[str, Document]]:
    for command in COMMANDS:
        yield f"command-{command.name}", _message(command.name, command.summary, _command_payload(command))
    for key, command in {_reply_key(command): command for command in COMMANDS}.items():
        yield key, _message(command.reply, f"`{command.name}` was carried out.", _reply_payload(command))
    for frame in FRAMES:
        yield _key(frame), _message(frame.name, frame.summary, _frame_payload(frame))
    summary = "Whatever a producer publishes: `type` is the name that it chose, `data` what it gave."
    yield _EVENT, _message(_EVENT, summary, {"$ref": "#/components/schemas/Push"})


def _message(name: str, summary: str, payload: Document) -> Document:
    return {
        "name": name,
        "title": name,
        "summary": summary,
        "correlationId": {"location": "$message.payload#/message_id"},
        "payload": payload,
    }


def _key(frame: FrameDescription) -> str:
    return f"{frame.family}-{frame.name}"


def _reply_key(command: CommandDescription) -> str:
    """Commands whose `ack` says nothing but `success` share one message."""
    return f"reply-{ACK}-{command.name}" if command.reply == ACK and command.answer else f"reply-{command.reply}"


def _command_payload(command: CommandDescription) -> Document:
    named = {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE_ID_LENGTH}
    properties: Document = {
        "type": {"const": command.name},
        "message_id": {**named, "description": "Comes back in the reply. Printable characters."},
    }
    required = ["type"]
    if command.takes == "anything":
        properties["data"] = {"$ref": "#/components/schemas/Data"}
    elif command.takes == "object":
        properties["data"] = _data(command)
        required.append("data")
    return {"type": "object", "required": required, "properties": properties}


def _data(command: CommandDescription) -> Document:
    schema = object_schema(command.fields)
    if not command.forms:
        return schema
    others = {form: {name for other in command.forms if other != form for name in other} for form in command.forms}
    return {
        **schema,
        "oneOf": [
            {"required": list(form), "properties": dict.fromkeys(sorted(others[form] - set(form)), False)}
            for form in command.forms
        ],
    }


def _reply_payload(command: CommandDescription) -> Document:
    if command.takes == "anything":
        return _envelope({"const": command.reply}, {"$ref": "#/components/schemas/Data"})
    fields = (_SUCCESS, *command.answer) if command.reply == ACK else command.answer
    return _envelope({"const": command.reply}, object_schema(fields))


def _frame_payload(frame: FrameDescription) -> Document:
    data = {"$ref": "#/components/schemas/Data"} if frame.fields is None else object_schema(frame.fields)
    name = {"const": frame.name}
    if frame.family == "event":
        return _envelope(name, data, with_id=True)
    return _envelope(name, data, nullable=frame.name in {ERROR, AUTH_FAILED})


def _push() -> Document:
    name = {"type": "string", "minLength": 1, "maxLength": 128, "description": "The name that the producer chose."}
    return _envelope(name, {"$ref": "#/components/schemas/Data"}, with_id=True)


def _envelope(name: Document, data: Document, *, with_id: bool = False, nullable: bool = True) -> Document:
    """Return the schema of a frame. A reply's `message_id` is `null` where the command had none."""
    identifier: Document = {"type": "string", "description": "Where it is in the log: a cursor."}
    return {
        "type": "object",
        "required": ["type", "message_id", "timestamp", "data", *(["id"] if with_id else [])],
        "properties": {
            "type": name,
            "message_id": {"type": ["string", "null"] if nullable and not with_id else "string"},
            "timestamp": {"type": "integer", "description": "ms since 1970."},
            **({"id": identifier, "traceparent": _TRACEPARENT} if with_id else {}),
            "data": data,
        },
    }
