"""
The policy: what a client may do with an address.

Five grants per action, chosen by the first pattern that matches the name. Driven by settings, denies by default.
Pure.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from gateway.identity import Identity


class Action(StrEnum):  # which has the hash of a string: the enum's own is a call
    """What a client asks for."""

    JOIN_GROUP = "join_group"
    SEND_TO_GROUP = "send_to_group"
    SEND_TO_USER = "send_to_user"
    SUBSCRIBE = "subscribe"
    ADD_TAG = "add_tag"
    SEE_ONLINE = "see_online"


ANYONE = "anyone"  # every authenticated client
TOKEN = "token"  # those whose token names it
MEMBER = "member"  # the same, and the durable members of a group
NOBODY = "nobody"
SCOPE_PREFIX = "scope:"  # those whose token has the scope behind it


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One line of the policy.

    Attributes:
        pattern: What names it is about: `*`, `?` and `[…]` as in a shell, case-sensitive, the whole name.
        allow: `anyone`, `token`, `member`, `scope:<name>` or `nobody`.
    """

    pattern: str
    allow: str


def is_grant(text: str) -> bool:
    """Tell whether `text` can stand in `allow`."""
    return text in {ANYONE, TOKEN, MEMBER, NOBODY} or (text.startswith(SCOPE_PREFIX) and len(text) > len(SCOPE_PREFIX))


class Policy:
    """Answers whether an identity may do something; what no rule speaks of is denied."""

    def __init__(self, rules: dict[Action, Iterable[Rule]]) -> None:
        self._rules = {
            action: [(re.compile(fnmatch.translate(rule.pattern)), rule.allow) for rule in of_action]
            for action, of_action in rules.items()
        }

    def allows(self, identity: Identity, action: Action, name: str, *, member: bool = False) -> bool:
        """
        Tell whether `identity` may do `action` with the group, user, topic or tag `name`.

        Args:
            member: `name` is a group that the user durably belongs to.
        """
        for pattern, allow in self._rules.get(action, ()):
            if pattern.match(name):
                return (member and allow == MEMBER) or _granted(allow, identity, action, name)
        return False


def _granted(allow: str, identity: Identity, action: Action, name: str) -> bool:
    if allow == ANYONE:
        return True
    if allow in (TOKEN, MEMBER):
        return name in _claimed(identity, action)
    if allow.startswith(SCOPE_PREFIX):
        return allow.removeprefix(SCOPE_PREFIX) in identity.scopes
    return False


def _claimed(identity: Identity, action: Action) -> tuple[str, ...]:
    """Return the names that the token gives for an action."""
    if action is Action.SUBSCRIBE:
        return identity.topics
    if action is Action.ADD_TAG:
        return identity.tags
    if action in (Action.SEND_TO_USER, Action.SEE_ONLINE):
        return (identity.user_id,)  # oneself: one's own other devices
    return identity.groups
