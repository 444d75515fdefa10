"""
Durable membership: who belongs to a group, whether connected or not.

Pure: checks the arguments, builds the commands and reads their outcomes, for the asyncio and the blocking publisher.
One script changes the group's members and the users' groups and announces it by one control entry, so members and
messages have one order. Adding and removing are idempotent; the key that a change is sent under serves only to count
right where a reply was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import orjson

from publisher import keys
from publisher.address import DEFAULT_TENANT, MAX_NAME_LENGTH, is_name, is_tenant
from publisher.command import Command, CommandBuilder
from publisher.cursor import cursor_text
from publisher.errors import PublishError, PublishIncomplete, PublishUnknown
from publisher.event import KIND_CONTROL, MEMBERS, Event, make_event
from publisher.script import LIST_GROUPS, LIST_MEMBERS
from publisher.script import MEMBERS as CHANGE_MEMBERS

MAX_USERS: Final = 500
"""Users in one entry; a larger change is cut into several."""
MAX_PAGE: Final = 1_000

_MAX_AUDIENCE_BYTES: Final = 128 * 1024

Action = Literal["added", "removed"]


class Changed(int):
    """
    How many users a change has changed: a number that knows where the change stands in the log.

    Attributes:
        ids: The ids of its entries; none where nothing has changed.
    """

    ids: tuple[str, ...]

    def __new__(cls, count: int, ids: Sequence[str] = ()) -> Changed:
        """Return `count` with `ids`."""
        made = super().__new__(cls, count)
        made.ids = tuple(ids)
        return made

    @property
    def id(self) -> str | None:
        """The id of the last entry: what is published later comes after the change. None where nothing has changed."""
        return self.ids[-1] if self.ids else None


class Members(list[str]):
    """
    One page of a group's members: a list that knows how many there are in all.

    Attributes:
        total: The number of members, on all pages.
    """

    def __init__(self, users: Iterable[str], total: int) -> None:
        super().__init__(users)
        self.total = total


class _Change(Command):
    """A call of members.lua. Its outcome is the number of users changed and, behind a space, the id of the entry."""

    __slots__ = ()

    def read(self, reply: Any) -> str:
        """See `Command`."""
        try:
            entry, epoch, changed = reply
            if not changed:
                return "0"
            return f"{changed:d} {cursor_text(entry, self.partition, epoch)}"
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"the script answered {reply!r:.100}") from None


class _Question(Command):
    """A call of a script that lists names. Its outcome is the reply as JSON."""

    __slots__ = ()

    def read(self, reply: Any) -> str:
        """See `Command`."""
        try:
            return orjson.dumps(reply, default=bytes.decode).decode()
        except (TypeError, ValueError):
            raise ValueError(f"the script answered {reply!r:.100}") from None


class MembershipBuilder:
    """Builds the commands of one publisher about groups; what they raise of bad input is `PublishError`."""

    def __init__(self, builder: CommandBuilder) -> None:
        self._builder = builder

    def change(self, action: Action, group: str, users: tuple[str | Iterable[str], ...], tenant: str) -> list[Command]:
        """Return the commands that add users to a group, or remove them, each with as many as go into one entry."""
        _check(group=group, tenant=tenant)
        names = _names(users)
        return [self._part(action, group, part, tenant) for part in _parts(names)]

    def members(self, group: str, tenant: str, page: int, page_size: int) -> Command:
        """Return the command that lists one page of a group's members."""
        _check(group=group, tenant=tenant)
        _check_number("page", page, 2**31)
        _check_number("page_size", page_size, MAX_PAGE)
        partition = keys.partition_of(f"group:{group}", self._builder.partitions)
        key = keys.members(partition, tenant, group).encode()
        return _Question(LIST_MEMBERS, partition, (key,), (b"%d" % ((page - 1) * page_size), b"%d" % page_size), None)

    def groups(self, user: str, tenant: str) -> list[Command]:
        """Return the commands that list a user's groups, one for each partition."""
        _check(user=user, tenant=tenant)
        return [
            _Question(LIST_GROUPS, number, (keys.memberships(number, tenant, user).encode(),), (), None)
            for number in range(self._builder.partitions)
        ]

    def _part(self, action: Action, group: str, users: Sequence[str], tenant: str) -> Command:
        addresses = [f"user:{user}" for user in users]
        data = {"group": group, "action": action}
        event = make_event(MEMBERS, data, to=addresses, tenant=tenant, kind=KIND_CONTROL)
        partition = keys.partition_of(f"group:{group}", self._builder.partitions)
        key, key_names, ttl = self._builder.idempotency(event, partition)
        own = [keys.members(partition, tenant, group), *(keys.memberships(partition, tenant, user) for user in users)]
        return _Change(
            CHANGE_MEMBERS,
            partition,
            (*self._builder.log_keys(partition), *(name.encode() for name in own), *key_names),
            (
                *(self._builder.maxlen, ttl, action.encode(), group.encode(), b"%d" % len(users)),
                *(user.encode() for user in users),
                *map(orjson.dumps, addresses),
                *_fields(event),
            ),
            key,
        )


def changed(outcomes: Sequence[str | PublishError]) -> Changed:
    """
    Return what the commands of one change have changed together.

    Raises:
        PublishError: What has become of it otherwise; it can be called again as it was.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, PublishError)]
    for error in errors:
        if isinstance(error, PublishUnknown):
            raise PublishUnknown(
                "Redis did not answer: the members may be changed or not; call it again, which does no harm",
                key=error.key,
            ) from error
    if errors and len(errors) < len(outcomes):
        raise PublishIncomplete(list(outcomes))
    if errors:
        raise errors[0]
    texts = [outcome.split(" ") for outcome in outcomes if isinstance(outcome, str)]
    return Changed(sum(int(text[0]) for text in texts), [text[1] for text in texts if len(text) > 1])


def page_of(outcome: str) -> Members:
    """Return the page of members that a command has listed."""
    total, users = orjson.loads(outcome)
    return Members(users, total)


def groups_of(outcomes: Iterable[str]) -> list[str]:
    """Return the groups that the commands have listed, in the order of their names."""
    return sorted(group for outcome in outcomes for group in orjson.loads(outcome))


def _fields(event: Event) -> tuple[bytes, ...]:
    """Return an event's fields; the script fills in whom it concerns."""
    names, values = event.fields[::2], event.fields[1::2]
    pairs = [(name, b"" if name == b"to" else value) for name, value in zip(names, values, strict=True)]
    return tuple(part for pair in pairs for part in pair)


def _names(users: tuple[str | Iterable[str], ...]) -> list[str]:
    """Return the users of a call, each once: they may be given one by one or as a list."""
    given: list[Any] = []
    for item in users:
        try:
            given += [item] if isinstance(item, str) else item
        except TypeError:
            raise PublishError(f"{item!r:.100} is not a user: give user ids, or a list of them") from None
    for name in given:
        _check(user=name)
    if not given:
        raise PublishError("name at least one user")
    return list(dict.fromkeys(given))


def _parts(users: Sequence[str]) -> Iterator[list[str]]:
    """Cut users into parts that fit into an entry each."""
    part: list[str] = []
    size = 0
    for user in users:
        cost = 2 * len(user.encode()) + 8  # in JSON, should every character need a backslash
        if part and (len(part) == MAX_USERS or size + cost > _MAX_AUDIENCE_BYTES):
            yield part
            part, size = [], 0
        part.append(user)
        size += cost
    yield part


def _check(*, group: Any = "-", user: Any = "-", tenant: Any = DEFAULT_TENANT) -> None:
    for what, name in (("group", group), ("user", user)):
        if not is_name(name):
            raise PublishError(
                f"{what} is {name!r:.100}: use a string of 1 to {MAX_NAME_LENGTH} characters, no control characters"
            )
    if not is_tenant(tenant):
        raise PublishError(f"{tenant!r:.100} is not a tenant: use 1 to 64 letters, digits, '_', '.' or '-'")


def _check_number(what: str, number: Any, most: int) -> None:
    if type(number) is not int or not 1 <= number <= most:
        raise PublishError(f"{what} is {number!r:.40}: use a whole number from 1 to {most}")
