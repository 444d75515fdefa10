"""
Fields: the types of which request bodies are made, with what holds for them.

A validator's message says what to use instead; it does not repeat what was sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, StrictInt, StrictStr

from gateway.http.json_body import Verbatim
from publisher.address import MAX_NAME_LENGTH, is_address, is_name
from publisher.event import MAX_KEY_LENGTH
from publisher.event import MAX_NAME_LENGTH as MAX_EVENT_NAME_LENGTH

MAX_TARGETS: Final = 100_000

_MAX_TEXT: Final = 10_000
_MAX_REASON_BYTES: Final = 123  # RFC 6455, section 5.5: a control frame holds 125 bytes, two of them the code


def _from_integer(value: Any) -> Any:
    """Take a number for an id, as tokens may have it in `sub`."""
    return str(value) if type(value) is int and abs(value) < 2**63 else value


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"use 1 to {MAX_NAME_LENGTH} characters, and no control characters")
    return text


def _address(text: str) -> str:
    if not is_address(text):
        raise ValueError("use `all`, or `user:`, `client:`, `group:`, `tag:` or `topic:` with a name")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("use printable characters")
    return text


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _payload(value: Any) -> Any:
    """Let JSON text be written as it came."""
    return orjson.Fragment(value.text) if isinstance(value, Verbatim) else value


def _object(value: Any) -> Any:
    if not isinstance(value, Verbatim) or not value.text.startswith("{"):
        raise ValueError("use an object")
    return _payload(value)


def _close_code(code: int) -> int:
    if code != 1000 and not 4000 <= code <= 4999:
        raise ValueError("use 1000 or an application's close code, 4000 to 4999")
    return code


def _close_reason(text: str) -> str:
    if len(text.encode()) > _MAX_REASON_BYTES:
        raise ValueError(f"use at most {_MAX_REASON_BYTES} bytes")
    return _printable(text)


Name = Annotated[str, BeforeValidator(_from_integer), AfterValidator(_name)]
"""An id, a tag or a topic."""
PrintableName = Annotated[Name, AfterValidator(_printable)]
"""The same for orders, which are stricter."""
Names = Annotated[list[Name], Field(min_length=1, max_length=MAX_TARGETS)]
Addresses = Annotated[list[Annotated[str, AfterValidator(_address)]], BeforeValidator(_listed)]
EventName = Annotated[StrictStr, Field(min_length=1, max_length=MAX_EVENT_NAME_LENGTH), AfterValidator(_printable)]
Key = Annotated[StrictStr, Field(min_length=1, max_length=MAX_KEY_LENGTH), AfterValidator(_printable)]
TemplateName = Annotated[StrictStr, Field(min_length=1, max_length=64)]
Text = Annotated[StrictStr, Field(max_length=_MAX_TEXT)]
Id = StrictStr | Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
"""An id that is only forwarded, as it was sent."""
Json = Annotated[
    Any, AfterValidator(_payload), Field(description="Any JSON, at most 64 levels deep; reaches clients byte for byte.")
]
Object = Annotated[Any, AfterValidator(_object), Field(json_schema_extra={"type": "object"})]
Action = Literal["created", "updated", "deleted", "status_changed"]
CloseCode = Annotated[StrictInt, AfterValidator(_close_code)]
CloseReason = Annotated[StrictStr, AfterValidator(_close_reason)]
