"""
Notifications: what is pushed to users and kept in their inboxes.

Pure: checks and encodes them, and cuts those for many users into entries, so that none is a giant. All users of an
entry are of one partition, because the script that writes their inboxes works on one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal, TypedDict

import orjson

from publisher import json_text
from publisher.address import DEFAULT_TENANT, MAX_NAME_LENGTH, is_name
from publisher.delivery import ids_of
from publisher.errors import PublishError, PublishUnknown
from publisher.event import F_DATA, KIND_NOTIFY, KIND_STATE, MAX_EVENT_BYTES, MAX_KEY_LENGTH, Event, make_event
from publisher.keys import partition_of

NOTIFICATION: Final = "notification"
UNREAD_COUNT: Final = "unread_count"

Level = Literal["info", "success", "warning", "error"]
NotificationPriority = Literal["low", "normal", "high", "urgent"]
LEVELS: Final = ("info", "success", "warning", "error")
PRIORITIES: Final = ("low", "normal", "high", "urgent")
DEFAULT_TYPE: Final = "general"

MAX_USERS: Final = 100_000
MAX_USERS_OF_ENTRY: Final = 100
MAX_TYPE_LENGTH: Final = 64
MAX_TITLE_LENGTH: Final = 256
MAX_CONTENT_LENGTH: Final = 4_096
MAX_LINK_LENGTH: Final = 2_048
MAX_NOTIFICATION_BYTES: Final = 32 * 1024  # an inbox holds a thousand of them

_SAID = ("title", "content", "type", "level", "priority", "link", "icon", "data")  # that a template may say
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class NotificationOptions(TypedDict, total=False):
    """What may be said of a notification; see `make_notifications`."""

    title: str
    content: str
    type: str
    level: Level
    priority: NotificationPriority
    link: str | None
    icon: str | None
    data: Any
    tenant: str
    key: str | None
    expires_in: float | None


@dataclass(frozen=True, slots=True)
class Notifications:
    """
    A notification for one user or for many, checked and encoded.

    Attributes:
        events: The entries to store.
        places: For each user, in the order given, which of the entries is theirs; None where one user was named.
        key: What to repeat the call under, should it not be known whether all of it was stored.
    """

    events: tuple[Event, ...]
    places: tuple[int, ...] | None
    key: str | None

    def ids(self, results: Sequence[str | PublishError]) -> str | list[str]:
        """
        Return what `notify` returns, given the entries' ids: one id, or one for each user.

        Raises:
            PublishError: Or one of its kinds; of `PublishIncomplete` the results are one for each user as well.
        """
        if self.places is None:
            return ids_of(list(results))[0]
        named = [self._under_our_key(result) for result in results]
        return ids_of([named[place] for place in self.places])

    def _under_our_key(self, result: str | PublishError) -> str | PublishError:
        """An entry's own key is of no use to the caller."""
        return PublishUnknown(str(result), key=self.key) if isinstance(result, PublishUnknown) else result


def from_template(fields: Mapping[str, Any], given: NotificationOptions) -> NotificationOptions:
    """Return what a notification is to say, given a template's rendered fields: what is given itself wins."""
    said: Any = {name: fields[name] for name in _SAID if name in fields}
    return {**said, **given}


def make_notifications(
    to: str | Iterable[str],
    *,
    title: str = "",
    content: str = "",
    type: str = DEFAULT_TYPE,
    level: Level = "info",
    priority: NotificationPriority = "normal",
    link: str | None = None,
    icon: str | None = None,
    data: Any = None,
    tenant: str = DEFAULT_TENANT,
    key: str | None = None,
    expires_in: float | None = None,
    partitions: int = 1,
    max_event_bytes: int = MAX_EVENT_BYTES,
) -> Notifications:
    """
    Check and encode a notification.

    Args:
        to: A user's id, or several, up to 100,000.
        title: One line, 1 to 256 characters.
        content: Text, up to 4,096 characters.
        type: What it is about, for filters: up to 64 printable characters.
        level: `info`, `success`, `warning` or `error`.
        priority: `low`, `normal`, `high` or `urgent`. A lagging socket goes without the push of one that is `low`.
        link, icon: Up to 2,048 printable characters.
        data: Anything JSON can hold. All together takes at most 32 KiB.
        tenant, key: As for `make_event`.
        expires_in: Seconds after which it is not pushed any more. The inbox keeps it.
        partitions: How many streams make up the log.
        max_event_bytes: Refuse an entry whose fields are larger together.

    Raises:
        PublishError: Something of this does not hold; the message says what.
    """
    users = _users(to)
    body = _body(title, content, type, level, priority)
    for name, value in (("link", link), ("icon", icon)):
        if value is not None:
            body[name] = _printable(name, value, MAX_LINK_LENGTH)
    if data is not None:
        body["data"] = data
    text = orjson.Fragment(_encode(body))
    if key is None and not isinstance(to, str):
        key = secrets.token_hex(12)
    events: list[Event] = []
    places: dict[str, int] = {}
    for part in _parts(users, partitions):
        event = make_event(
            NOTIFICATION,
            text,
            to=[f"user:{user}" for user in part],
            tenant=tenant,
            key=key,
            expires_in=expires_in,
            priority="low" if priority == "low" else "normal",
            kind=KIND_NOTIFY,
            max_event_bytes=max_event_bytes,
        )
        places.update(dict.fromkeys(part, len(events)))
        events.append(event if isinstance(to, str) else event.under(_key_of(key, part)))
    return Notifications(tuple(events), None if isinstance(to, str) else tuple(places[user] for user in users), key)


def make_unread_count(tenant: str, user: str) -> Event:
    """
    Return the event that tells a user's devices, and the gateways, how many notifications are unread.

    Its data is to be filled in where the number is known: by the script that changes it, see `data_place`.
    """
    collapse = f"{UNREAD_COUNT}:{user}"
    if len(collapse) > MAX_KEY_LENGTH or not collapse.isprintable():  # a name may be long, or hold a zero width space
        collapse = f"{UNREAD_COUNT}:{blake2b(user.encode(), digest_size=16).hexdigest()}"
    return make_event(UNREAD_COUNT, {}, to=f"user:{user}", tenant=tenant, collapse=collapse, kind=KIND_STATE)


def data_place(event: Event) -> int:
    """Return where the value of the data stands among an event's fields, counted from 1, as Lua does."""
    return 2 * event.fields[::2].index(F_DATA) + 2


def _users(to: str | Iterable[str]) -> list[str]:
    try:
        users = [to] if isinstance(to, str) else list(to)
    except TypeError:
        raise PublishError(f"{to!r:.100} is not a user's id: give one or a list of them") from None
    for user in users:
        if not is_name(user):
            raise PublishError(
                f"{user!r:.100} is not a user's id: use a string of 1 to {MAX_NAME_LENGTH} characters, "
                "no control characters"
            )
    if not users:
        raise PublishError("nobody is to be notified: name at least one user")
    if len(users) > MAX_USERS:
        raise PublishError(f"{len(users)} users in one call: at most {MAX_USERS}; make several calls")
    return users


def _body(title: object, content: object, kind: object, level: object, priority: object) -> dict[str, Any]:
    """Return what every notification has. The type comes first: an inbox is filtered by how the text begins."""
    if not isinstance(title, str) or not 0 < len(title) <= MAX_TITLE_LENGTH or _CONTROL.search(title):
        raise PublishError(f"title is {title!r:.100}: use one line of 1 to {MAX_TITLE_LENGTH} characters")
    if not isinstance(content, str) or len(content) > MAX_CONTENT_LENGTH:
        raise PublishError(f"content is {content!r:.100}: use a text of at most {MAX_CONTENT_LENGTH} characters")
    return {
        "type": _printable("type", kind, MAX_TYPE_LENGTH),
        "title": title,
        "content": content,
        "level": _one_of("level", level, LEVELS),
        "priority": _one_of("priority", priority, PRIORITIES),
    }


def _printable(name: str, value: object, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise PublishError(f"{name} is {value!r:.100}: use 1 to {longest} printable characters")
    return value


def _one_of(name: str, value: object, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise PublishError(f"{name} {value!r:.40} is not known: use " + ", ".join(map(repr, known)))
    return value


def _encode(body: dict[str, Any]) -> bytes:
    try:
        text = json_text.dumps(body)
    except ValueError as error:
        raise PublishError(f"the notification cannot be written as JSON: {error}") from None
    if len(text) > MAX_NOTIFICATION_BYTES:
        raise PublishError(
            f"the notification has {len(text)} bytes, over the limit of {MAX_NOTIFICATION_BYTES}: "
            "put a reference to the data into it instead"
        )
    return text


def _parts(users: Iterable[str], partitions: int) -> Iterator[list[str]]:
    """Cut users, each once, into those of an entry."""
    by_partition: dict[int, list[str]] = {}
    for user in dict.fromkeys(users):
        by_partition.setdefault(partition_of(f"user:{user}", partitions), []).append(user)
    for those in by_partition.values():
        for first in range(0, len(those), MAX_USERS_OF_ENTRY):
            yield those[first : first + MAX_USERS_OF_ENTRY]


def _key_of(key: str | None, users: Iterable[str]) -> str:
    """Return an entry's key. Of its users, not its number: of other users, the same number is not the same entry."""
    names = "\n".join(users).encode()  # which no name holds
    return f"{key}:{blake2b(names, digest_size=12).hexdigest()}"
