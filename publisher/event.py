"""
The event, and its one encoding: the fields of an entry in the log.

Gateways read what this module writes. Names are single letters because every entry carries them. `data`
travels as JSON text, from here to the socket: nobody in between re-serialises it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Required, TypedDict

import orjson

from publisher import json_text
from publisher.address import DEFAULT_TENANT, audience, is_tenant
from publisher.errors import PublishError
from publisher.trace import current_traceparent, is_traceparent

VERSION: Final = b"1"

# Entry fields, in the order they are written. The first six are always there.
F_VERSION: Final = b"v"
F_TENANT: Final = b"t"
F_TO: Final = b"to"  # JSON list of addresses
F_EVENT: Final = b"e"  # event name: the `type` of the frame
F_MESSAGE_ID: Final = b"m"
F_DATA: Final = b"d"  # JSON text
F_EXCLUDE: Final = b"x"  # JSON list of addresses
F_KIND: Final = b"k"  # `event` where absent
F_EXPIRES: Final = b"exp"  # ms since 1970
F_PRIORITY: Final = b"p"  # `low`, or absent
F_COLLAPSE: Final = b"c"  # collapse key
# In a history only, where entries outlive the log that they came from.
F_EPOCH: Final = b"ep"  # of the log
F_ID: Final = b"i"  # in the log, where it is not the history entry's own
F_TRACE: Final = b"tp"  # W3C traceparent, where the event belongs to a trace
F_RECEIPT: Final = b"r"  # `1` where the publisher wants a receipt, or absent

REQUIRED: Final = (F_VERSION, F_TENANT, F_TO, F_EVENT, F_MESSAGE_ID, F_DATA)

KIND_EVENT: Final = b"event"
KIND_NOTIFY: Final = b"notify"
KIND_CONTROL: Final = b"control"  # an order to the gateways, not a push
KIND_STATE: Final = b"state"  # a push that the gateways take note of as well
KIND_EPHEMERAL: Final = b"ephemeral"  # for who is there now: neither kept nor replayed
ALL_KINDS: Final = frozenset((KIND_EVENT, KIND_NOTIFY, KIND_CONTROL, KIND_STATE, KIND_EPHEMERAL))

PRIORITY_LOW: Final = b"low"

# Names of control events. Each changes who receives what, so it has its place in the log.
KICK: Final = "kick"
REVOKE: Final = "revoke"
EXPLAIN: Final = "explain"
CLIENTS: Final = "clients"
CLIENT_STATISTICS: Final = "client_statistics"
ACCESS: Final = "access"
MEMBERS: Final = "members"
CANARY: Final = "canary"

MAX_EVENT_BYTES: Final = 256 * 1024
MAX_NAME_LENGTH: Final = 128
MAX_KEY_LENGTH: Final = 256
MAX_RECEIPT_ADDRESSES: Final = 1_000
MAX_EXPIRES_S: Final = 10**10

Priority = Literal["normal", "low"]


class EventOptions(TypedDict, total=False):
    """What may be said of an event beside its name, data and audience; see `make_event`."""

    exclude: str | Iterable[str]
    tenant: str
    key: str | None
    message_id: str | None
    expires_in: float | None
    priority: Priority
    collapse: str | None
    history: bool
    receipt: bool
    traceparent: str | None


class EventSpec(EventOptions, total=False):
    """An event as a mapping, for `publish_many`."""

    event: Required[str]
    data: Required[Any]
    to: Required[str | Iterable[str]]


_SPEC_REQUIRED: Final = frozenset({"event", "data", "to"})
_SPEC_NAMES: Final = _SPEC_REQUIRED | EventOptions.__annotations__.keys()


class Event(NamedTuple):
    """
    One event to publish, checked and encoded by `make_event`.

    Attributes:
        fields: The entry's fields and values, alternating, ready for XADD.
        first_address: Decides the partition.
        tenant: Scope of the addresses and of `key`.
        message_id: Names the event for its receivers; a repeated publish of the same event keeps it.
        key: Idempotency key, if its caller gave one.
        history: Whether it goes into its group's history as well.
        recalls: Id and epoch of the entry that it takes out of its group's history.
        repeatable: To store it twice does no harm, so it needs no idempotency key.
    """

    fields: tuple[bytes, ...]
    first_address: str
    tenant: str
    message_id: str
    key: str | None = None
    history: bool = False
    recalls: tuple[str, str] | None = None
    repeatable: bool = False

    @property
    def name(self) -> str:
        """What happened."""
        return self.fields[7].decode()

    @property
    def audience(self) -> bytes:
        """The addresses, as JSON text."""
        return self.fields[5]

    @property
    def data(self) -> bytes:
        """The data, as JSON text."""
        return self.fields[11]

    def under(self, key: str) -> Event:
        """Return the same event under an idempotency key; faster than `_replace`, for a client's every message."""
        return Event(
            *(self.fields, self.first_address, self.tenant, self.message_id),
            *(key, self.history, self.recalls, self.repeatable),
        )


def make_event(
    event: str,
    data: Any,
    *,
    to: str | Iterable[str],
    exclude: str | Iterable[str] = (),
    tenant: str = DEFAULT_TENANT,
    key: str | None = None,
    message_id: str | None = None,
    expires_in: float | None = None,
    priority: Priority = "normal",
    collapse: str | None = None,
    history: bool = False,
    receipt: bool = False,
    traceparent: str | None = None,
    kind: bytes = KIND_EVENT,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> Event:
    """
    Check and encode an event.

    Args:
        event: What happened; becomes the frame's `type`. 1 to 128 characters.
        data: Anything JSON can hold, at most 64 levels deep.
        to: Address or addresses that receive it.
        exclude: Address or addresses that do not, though `to` selects them.
        tenant: 1 to 64 letters, digits, `_`, `.` or `-`.
        key: Idempotency key, up to 256 characters: what is published again under it is not stored again.
        message_id: A name for the receivers; a random one where absent.
        expires_in: Seconds after which nobody receives it any more.
        priority: `low` events are the first that a lagging socket goes without.
        collapse: A lagging or returning socket receives only the newest event of a collapse key.
        history: Keep it in the history of the group it is for, which gateways then show.
        receipt: Let the gateways note what becomes of it, per address, for `Publisher.receipt`; for up to 1,000
            addresses.
        traceparent: The trace it belongs to (W3C Trace Context); that of the current OpenTelemetry span where absent;
            none where empty.
        kind: One of the `KIND_` constants.
        max_event_bytes: Refuse an entry whose fields are larger together.

    Raises:
        PublishError: Something of this does not hold; the message says what.
    """
    _check_text("event", event, MAX_NAME_LENGTH)
    addresses = audience(to)
    excluded = audience(exclude) if exclude else ()
    if tenant != DEFAULT_TENANT and not is_tenant(tenant):
        raise PublishError(f"{tenant!r:.100} is not a tenant: use 1 to 64 letters, digits, '_', '.' or '-'")
    if key is not None:
        _check_text("key", key, MAX_KEY_LENGTH)
    if message_id is None:
        message_id = secrets.token_hex(12)
    else:
        _check_text("message_id", message_id, MAX_KEY_LENGTH)
    fields = [
        *(F_VERSION, VERSION, F_TENANT, tenant.encode(), F_TO, orjson.dumps(addresses)),
        *(F_EVENT, event.encode(), F_MESSAGE_ID, message_id.encode(), F_DATA, _encode_data(event, data)),
    ]
    if excluded:
        fields += (F_EXCLUDE, orjson.dumps(excluded))
    if kind != KIND_EVENT:
        fields += (F_KIND, kind)
    if expires_in is not None:
        fields += (F_EXPIRES, _expiry(expires_in))
    if priority != "normal":
        fields += (F_PRIORITY, _priority_mark(priority))
    if collapse is not None:
        _check_text("collapse", collapse, MAX_KEY_LENGTH)
        fields += (F_COLLAPSE, collapse.encode())
    if history is not False:
        _check_history(history, addresses, excluded, kind, expires_in)
    if receipt:
        fields += (F_RECEIPT, _receipt_mark(receipt, addresses))
    fields += _trace_of(traceparent)
    _check_size(event, fields, max_event_bytes)
    return Event(
        tuple(fields), addresses[0], tenant, message_id, key, history=history, repeatable=kind == KIND_EPHEMERAL
    )


def listed(events: Any) -> list[Any]:
    """
    Return what `publish_many` was given as a list.

    Raises:
        PublishError: It is not several events.
    """
    if isinstance(events, str | bytes | Mapping | Event):
        raise PublishError(f"{events!r:.100} is not a list of events: publish one with `publish`")
    try:
        several = iter(events)
    except TypeError:
        raise PublishError(
            f"{events!r:.100} is not a list of events: give mappings, or what make_event returns"
        ) from None
    return list(several)


def event_from(spec: Event | EventSpec | Mapping[str, Any], *, max_event_bytes: int = MAX_EVENT_BYTES) -> Event:
    """
    Return the event that a mapping describes, or `spec` itself where it is one already.

    Raises:
        PublishError: A name is missing or unknown, or a value does not hold.
    """
    if isinstance(spec, Event):
        return spec
    if not isinstance(spec, Mapping):
        raise PublishError(f"{spec!r:.100} is not an event: give a mapping, or what make_event returns")
    missing = _SPEC_REQUIRED - spec.keys()
    unknown = spec.keys() - _SPEC_NAMES
    if missing or unknown:
        names = ", ".join(map(repr, sorted(map(str, missing or unknown))))
        raise PublishError(f"the event {'lacks' if missing else 'has the unknown'} {names:.200}")
    return make_event(**spec, max_event_bytes=max_event_bytes)


def _encode_data(event: str, data: Any) -> bytes:
    try:
        return json_text.dumps(data)
    except ValueError as error:
        raise PublishError(f"the data of {event!r} cannot be written as JSON: {error}") from None


def _expiry(expires_in: float) -> bytes:
    # `not >` also refuses NaN.
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not 0 < expires_in <= MAX_EXPIRES_S:
        raise PublishError(
            f"expires_in is {expires_in!r:.40}: use a positive number of seconds, at most {MAX_EXPIRES_S}"
        )
    return b"%d" % int((time.time() + expires_in) * 1000)


def _priority_mark(priority: object) -> bytes:
    if priority != "low":
        raise PublishError(f"priority {priority!r:.40} is not known: use 'normal' or 'low'")
    return PRIORITY_LOW


def _check_size(event: str, fields: Iterable[bytes], most: int) -> None:
    size = sum(map(len, fields))
    if size > most:
        raise PublishError(
            f"the event {event!r} has {size} bytes, over the limit of {most}: publish a reference to the data instead"
        )


def _check_history(
    history: object, addresses: Sequence[str], excluded: Sequence[str], kind: bytes, expires_in: float | None
) -> None:
    """Refuse to keep what not every member of one group may read, now and later."""
    if history is not True:
        raise PublishError(f"history is {history!r:.40}: use True or False")
    if len(addresses) != 1 or not addresses[0].startswith("group:"):
        raise PublishError("history is a group's: publish to one 'group:<name>' and nobody else")
    if not all(address.startswith("client:") for address in excluded):
        raise PublishError("whoever is excluded would read it in the history: exclude a 'client:<id>', or keep none")
    if kind != KIND_EVENT or expires_in is not None:
        raise PublishError("an event that expires is not kept: leave out either history or expires_in")


def _receipt_mark(receipt: bool, addresses: tuple[str, ...]) -> bytes:
    if receipt is not True:
        raise PublishError(f"receipt is {receipt!r:.40}: use True or False")
    if len(addresses) > MAX_RECEIPT_ADDRESSES:
        raise PublishError(
            f"a receipt is for at most {MAX_RECEIPT_ADDRESSES} addresses: this event has {len(addresses)}"
        )
    return b"1"


def _trace_of(traceparent: str | None) -> tuple[bytes, ...]:
    """Return the fields that say to which trace an event belongs; none where it belongs to none."""
    value: object = current_traceparent() if traceparent is None else traceparent
    if value is None or value == "":
        return ()
    if not isinstance(value, str) or not is_traceparent(value.encode(errors="replace")):
        raise PublishError(
            f"traceparent is {value!r:.80}: use '00-<trace id>-<parent id>-<flags>', in small hex digits"
        )
    return F_TRACE, value.encode()


def _check_text(what: str, text: object, longest: int) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= longest or not text.isprintable():
        raise PublishError(f"{what} is {text!r:.100}: use 1 to {longest} printable characters")
