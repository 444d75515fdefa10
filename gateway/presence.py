"""
Presence: who is here, on this instance, and what Redis has not been told of it yet.

Counts, by observing the hub, the connections of each user, and of each user in each group whose presence is kept; so a
user with several devices counts once. `take` yields the difference between what is and what was told. One who leaves
and is back within the grace period never appears in it. Pure: no clock, no I/O.

What was sent and not acknowledged is *doubtful*: it may have been carried out or not, so it is sent again, as it is by
then, until one try succeeds.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from gateway.identity import Identity

Mark = tuple[str, str, str]
"""(tenant, group, user): the user is in the group; with an empty group, which no group's name is: is online."""

AT_A_TIME: Final = 2_000
"""Changes to be told: making them takes a millisecond or two, and then others have their turn."""

_AT_ONCE: Final = float("-inf")
_MAX_CACHED: Final = 10_000


class Change(NamedTuple):
    """
    Something to tell.

    Attributes:
        here: The mark holds from now on; else no longer.
        aloud: Others should hear of it, if no other instance holds the mark. Not where the log was lost with the
            presence: then nobody came, and everybody reloads.
    """

    mark: Mark
    here: bool
    aloud: bool


class Kept:
    """The groups whose presence is kept: those whose name one of the patterns (`*`, `?`, `[…]`) matches."""

    def __init__(self, patterns: Iterable[str]) -> None:
        chosen = [fnmatch.translate(pattern) for pattern in patterns]
        self._pattern = re.compile("|".join(chosen)) if chosen else None
        self._known: dict[str, bool] = {}

    def __contains__(self, group: str) -> bool:
        if self._pattern is None:
            return False
        known = self._known.get(group)
        if known is None:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            known = self._known[group] = self._pattern.match(group) is not None
        return known


class Tracker:
    """
    The presence of one instance's connections.

    Args:
        kept: The groups that it is about.
        leave_grace_s: One who is back within this time has not left.
    """

    def __init__(self, kept: Kept, leave_grace_s: float) -> None:
        self._kept = kept
        self._grace_s = leave_grace_s
        self._here: dict[Mark, int] = {}  # connections
        self._told: dict[tuple[str, str], set[str]] = {}  # (tenant, group) → users that Redis knows to be here
        self._doubtful: set[Mark] = set()
        self._joins: dict[Mark, bool] = {}  # to be told; whether aloud
        self._left: dict[Mark, None] = {}  # gone since the last `take`, which knows the time
        self._leaves: dict[Mark, float] = {}  # gone, with when to tell
        self._no_leave_before = _AT_ONCE

    def observe(self, subscriber: object, address: str, added: bool) -> None:
        """
        Take note of a change of the hub; see `hub.Observer`. A few dict operations.

        Of the subscriber it knows the `identity` only, of which it takes tenant and user; who has none is nobody.
        """
        if address.startswith("group:"):
            group = address[6:]
            if group not in self._kept:
                return
        elif address.startswith("user:"):
            group = ""
        else:
            return
        identity: Identity | None = getattr(subscriber, "identity", None)
        if identity is None or (not group and address[5:] != identity.user_id):
            return
        mark = (identity.tenant, group, identity.user_id)
        count = self._here.get(mark, 0) + (1 if added else -1)
        if count > 0:
            self._here[mark] = count
            if added and count == 1:
                self._arrived(mark)
        elif count == 0:
            del self._here[mark]
            self._departed(mark)

    def _arrived(self, mark: Mark) -> None:
        self._left.pop(mark, None)
        self._leaves.pop(mark, None)
        if mark in self._doubtful or not self._is_told(mark):
            self._joins[mark] = True

    def _departed(self, mark: Mark) -> None:
        self._joins.pop(mark, None)
        if mark in self._doubtful or self._is_told(mark):
            self._left[mark] = None

    def _is_told(self, mark: Mark) -> bool:
        return mark[2] in self._told.get(mark[:2], ())

    # Telling.

    def take(self, now: float, most: int = AT_A_TIME) -> list[Change]:
        """Return what is to be told now, up to `most`. `settle` or `put_back` each of it, before the next `take`."""
        if self._left:
            due_at = max(now + self._grace_s, self._no_leave_before)
            self._leaves.update(dict.fromkeys(self._left, due_at))
            self._left.clear()
        joins = list(islice(self._joins.items(), most))
        due = (mark for mark, due_at in self._leaves.items() if due_at <= now)
        leaves = list(islice(due, most - len(joins)))
        for mark, _ in joins:
            del self._joins[mark]
        for mark in leaves:
            del self._leaves[mark]
        changes = [Change(mark, True, aloud) for mark, aloud in joins]
        changes += [Change(mark, False, True) for mark in leaves]
        self._doubtful.update(change.mark for change in changes)
        return changes

    def settle(self, changes: Iterable[Change]) -> None:
        """Redis has these."""
        for mark, here, _ in changes:
            self._doubtful.discard(mark)
            scope = mark[:2]
            if here:
                self._told.setdefault(scope, set()).add(mark[2])
                self._joins.pop(mark, None)  # gone and back meanwhile
            else:
                self._forget(mark)
                self._left.pop(mark, None)
                self._leaves.pop(mark, None)

    def put_back(self, changes: Iterable[Change]) -> None:
        """Redis may have these or not: tell them again, as they are now."""
        for mark, _, aloud in changes:
            if mark in self._here:
                self._joins.setdefault(mark, aloud)
            elif mark not in self._left:
                self._leaves.setdefault(mark, self._no_leave_before)

    def _forget(self, mark: Mark) -> None:
        users = self._told.get(mark[:2])
        if users is not None:
            users.discard(mark[2])
            if not users:
                del self._told[mark[:2]]

    # When Redis and we disagree.

    def tell_again(self, scopes: Iterable[tuple[str, str]], *, aloud: bool, leaves_after: float = _AT_ONCE) -> None:
        """
        Tell some (tenant, group) anew: Redis does not have all that it was told of them.

        Args:
            leaves_after: No leave is told before: other instances have to tell anew that they hold the same users.
        """
        self._no_leave_before = max(self._no_leave_before, leaves_after)
        for mark, due_at in self._leaves.items():
            self._leaves[mark] = max(due_at, leaves_after)
        for tenant, group in scopes:
            for user in self._told.pop((tenant, group), ()):
                mark = (tenant, group, user)
                if mark in self._here:
                    self._joins.setdefault(mark, aloud)
                else:
                    self._doubtful.add(mark)  # its leave is on its way

    def adopt(self, marks: Iterable[Mark], leave_at: float) -> None:
        """Redis says that this instance holds these. Those of which we know nothing leave, unless they come by then."""
        for mark in marks:
            if not (mark in self._here or mark in self._left or mark in self._leaves):
                self._told.setdefault(mark[:2], set()).add(mark[2])
                self._leaves[mark] = leave_at

    def end(self) -> None:
        """Nobody is here any more, from now on, and without grace."""
        told = [(tenant, group, user) for (tenant, group), users in self._told.items() for user in users]
        self._here.clear()
        self._joins.clear()
        self._left.clear()
        self._leaves = dict.fromkeys([*told, *self._doubtful], _AT_ONCE)

    def scopes(self) -> list[tuple[str, str]]:
        """Return each (tenant, group) of which Redis was told somebody."""
        return list(self._told)
