"""
Profiles: what this instance knows of a user beyond the token: the durable groups, and how much is unread.

A profile is loaded once, when the user's first connection comes, and kept right by the log's own entries from then on,
also while nobody is connected: so who comes back within the retention costs no look-up. Pure: no clock, no I/O.

A load and the log race, so both are merged by entry id: for each group the later of what was loaded and what the log
said meanwhile holds. The entries of one group are in one partition, so their ids compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.entry import EntryId

Key = tuple[str, str]
"""Tenant and user id."""

Membership = tuple[int, EntryId]
"""The partition and the id of the entry that added a user to a group: it is a member after that entry."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    What Redis had of a user at one moment.

    Attributes:
        groups: The durable groups, each with when it was added.
        unread: How many notifications are unread; None where that could not be read.
    """

    groups: dict[str, Membership]
    unread: int | None


class Profile:
    """
    One user.

    Attributes:
        key: Whose it is.
        groups: The durable groups; as far as is known, while not `loaded`.
        unread: How many notifications are unread, or None where nobody knows.
        loaded: Whether it is complete.
        connections: How many connections of this instance it is held for.
    """

    __slots__ = ("_meanwhile", "connections", "groups", "key", "loaded", "unread")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.groups: dict[str, Membership] = {}
        self.unread: int | None = None
        self.loaded = False
        self.connections = 0
        # What the log said during a load: group → the entry, and whether it added; unread, under the name None.
        self._meanwhile: dict[str | None, tuple[Membership, bool] | int] | None = {}

    def add(self, group: str, added: Membership) -> None:
        """Take note that the log has added the user to a group."""
        if group not in self.groups or self.groups[group][1] <= added[1]:
            self.groups[group] = added
        if self._meanwhile is not None:
            self._meanwhile[group] = (added, True)

    def remove(self, group: str, removed: Membership) -> None:
        """Take note that the log has removed the user from a group."""
        if group in self.groups and self.groups[group][1] <= removed[1]:
            del self.groups[group]
        if self._meanwhile is not None:
            self._meanwhile[group] = (removed, False)

    def count(self, unread: int) -> None:
        """Take note of how much is unread."""
        self.unread = unread
        if self._meanwhile is not None:
            self._meanwhile[None] = unread

    def expect(self) -> None:
        """Await another load: something may have been missed. What is known remains until then."""
        self.loaded = False
        self._meanwhile = {}

    def take(self, snapshot: Snapshot) -> tuple[list[str], list[str]]:
        """Complete the profile by what was loaded; return the groups that are new to it and those that are gone."""
        groups = dict(snapshot.groups)
        self.unread = snapshot.unread
        for group, said in (self._meanwhile or {}).items():
            if group is None or isinstance(said, int):
                self.unread = said if isinstance(said, int) else self.unread
                continue
            (at, adding), known = said, groups.get(group)
            if adding and (known is None or known[1] < at[1]):
                groups[group] = at
            elif not adding and known is not None and known[1] <= at[1]:
                del groups[group]
        before, self.groups = self.groups, groups
        self.loaded = True
        self._meanwhile = None
        return [name for name in groups if name not in before], [name for name in before if name not in groups]


class Profiles:
    """
    The profiles of the users who are connected here, or lately were.

    Args:
        keep_s: How long after a user's last connection its profile is kept.
        max_idle: How many profiles of users without a connection are kept at most.
    """

    def __init__(self, *, keep_s: float, max_idle: int) -> None:
        self._keep_s = keep_s
        self._max_idle = max_idle
        self._profiles: dict[Key, Profile] = {}
        self._idle: dict[Key, float] = {}  # since when; in that order

    def __len__(self) -> int:
        return len(self._profiles)

    def find(self, tenant: str, user_id: str) -> Profile | None:
        """Return a user's profile, if there is one."""
        return self._profiles.get((tenant, user_id))

    def held(self) -> Iterator[Profile]:
        """Iterate over the profiles of users who are connected."""
        return (profile for profile in list(self._profiles.values()) if profile.connections)

    def connections_of(self, key: Key) -> int:
        """Return for how many connections a profile is held."""
        profile = self._profiles.get(key)
        return profile.connections if profile is not None else 0

    def hold(self, key: Key) -> Profile:
        """Return the profile for one connection more; one that is not loaded where there was none."""
        profile = self._profiles.get(key)
        if profile is None:
            profile = self._profiles[key] = Profile(key)
        elif not profile.connections:
            self._idle.pop(key, None)
        profile.connections += 1
        return profile

    def release(self, profile: Profile, now: float) -> None:
        """One connection less."""
        profile.connections -= 1
        if not profile.connections:
            self._idle[profile.key] = now
            self.prune(now)

    def prune(self, now: float) -> None:
        """Forget who has been gone for too long, and who went first where there are too many."""
        while self._idle:
            key, since = next(iter(self._idle.items()))
            if now - since < self._keep_s and len(self._idle) <= self._max_idle:
                return
            del self._idle[key], self._profiles[key]

    def forget_idle(self) -> None:
        """Forget everybody who is not connected."""
        for key in self._idle:
            del self._profiles[key]
        self._idle.clear()
