"""
Durable groups, for both publishers: `Publisher.groups`.

Composes: what to send and what an outcome means comes from `membership`, the sending from the publisher.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from publisher.address import DEFAULT_TENANT
from publisher.command import Command, CommandBuilder
from publisher.delivery import ids_of
from publisher.errors import PublishError
from publisher.membership import Changed, Members, MembershipBuilder, changed, groups_of, page_of

_PAGE = 100

Outcomes = list[str | PublishError]


class Groups:
    """
    Who belongs to which group, durably: connected or not.

    What a call raises is what `Publisher.publish` raises; every call may be repeated.
    """

    def __init__(self, builder: CommandBuilder, send_all: Callable[[list[Command]], Awaitable[Outcomes]]) -> None:
        self._build = MembershipBuilder(builder)
        self._send_all = send_all

    async def add(self, group: str, *users: str | Iterable[str], tenant: str = DEFAULT_TENANT) -> Changed:
        """
        Add users to a group, and return how many were not in it; its `id` is where in the log they were added.

        Their connections receive what is sent to the group from there on, and those that they open later too. Give
        any number of users, or lists of them; over 500 become several entries. Idempotent.
        """
        return changed(await self._send_all(self._build.change("added", group, users, tenant)))

    async def remove(self, group: str, *users: str | Iterable[str], tenant: str = DEFAULT_TENANT) -> Changed:
        """
        Remove users from a group, and return how many were in it; its `id` is where in the log they were removed.

        Their connections receive nothing more of what is sent to it, however they had joined. Idempotent.
        """
        return changed(await self._send_all(self._build.change("removed", group, users, tenant)))

    async def members(
        self, group: str, *, page: int = 1, page_size: int = _PAGE, tenant: str = DEFAULT_TENANT
    ) -> Members:
        """Return one page (from 1; at most 1,000) of a group's members, the first added first, with their `total`."""
        command = self._build.members(group, tenant, page, page_size)
        return page_of(ids_of(await self._send_all([command]))[0])

    async def of(self, user: str, *, tenant: str = DEFAULT_TENANT) -> list[str]:
        """Return the groups that a user belongs to, in the order of their names."""
        return groups_of(ids_of(await self._send_all(self._build.groups(user, tenant))))


class BlockingGroups:
    """The blocking twin of `Groups`."""

    def __init__(self, builder: CommandBuilder, send_all: Callable[[list[Command]], Outcomes]) -> None:
        self._build = MembershipBuilder(builder)
        self._send_all = send_all

    def add(self, group: str, *users: str | Iterable[str], tenant: str = DEFAULT_TENANT) -> Changed:
        """Add users to a group, and return how many were not in it. See `Groups.add`."""
        return changed(self._send_all(self._build.change("added", group, users, tenant)))

    def remove(self, group: str, *users: str | Iterable[str], tenant: str = DEFAULT_TENANT) -> Changed:
        """Remove users from a group, and return how many were in it. See `Groups.remove`."""
        return changed(self._send_all(self._build.change("removed", group, users, tenant)))

    def members(self, group: str, *, page: int = 1, page_size: int = _PAGE, tenant: str = DEFAULT_TENANT) -> Members:
        """Return one page of a group's members. See `Groups.members`."""
        return page_of(ids_of(self._send_all([self._build.members(group, tenant, page, page_size)]))[0])

    def of(self, user: str, *, tenant: str = DEFAULT_TENANT) -> list[str]:
        """Return the groups that a user belongs to. See `Groups.of`."""
        return groups_of(ids_of(self._send_all(self._build.groups(user, tenant))))
