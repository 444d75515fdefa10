"""The policy: the first rule that matches decides, and what none matches is denied."""

from __future__ import annotations

import pytest

from gateway.identity import Identity, identity_from_claims
from gateway.policy import Action, Policy, Rule, is_grant

ANYBODY = "x"
CLAIMED = {
    Action.JOIN_GROUP: "chat",
    Action.SEND_TO_GROUP: "chat",
    Action.SEND_TO_USER: "42",
    Action.SUBSCRIBE: "orders",
    Action.ADD_TAG: "vip",
    Action.SEE_ONLINE: "42",
}


def identity(*, scope: str = "push staff") -> Identity:
    claims = {"sub": "42", "exp": 10, "scope": scope, "groups": ["chat"], "tags": ["vip"], "topics": ["orders"]}
    return identity_from_claims(claims, b"digest")


def allows(rules: list[tuple[str, str]], name: str, action: Action = Action.JOIN_GROUP) -> bool:
    return Policy({action: [Rule(*rule) for rule in rules]}).allows(identity(), action, name)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    ("allow", "claimed", "other"),
    [
        ("anyone", True, True),
        ("token", True, False),
        ("member", True, False),
        ("nobody", False, False),
        ("scope:push", True, True),
        ("scope:admin", False, False),
        ("scope:pus", False, False),
        ("scope:push staff", False, False),
        ("whoever", False, False),
    ],
)
def test_grant(action: Action, allow: str, claimed: bool, other: bool) -> None:
    assert allows([("*", allow)], CLAIMED[action], action) is claimed
    assert allows([("*", allow)], "somebody else's", action) is other


@pytest.mark.parametrize("action", list(Action))
def test_what_no_rule_speaks_of_is_denied(action: Action) -> None:
    assert not Policy({}).allows(identity(), action, CLAIMED[action])


def test_rules_of_one_action_say_nothing_of_another() -> None:
    policy = Policy({Action.JOIN_GROUP: [Rule("*", "anyone")]})
    assert not policy.allows(identity(), Action.SEND_TO_GROUP, "chat")


@pytest.mark.parametrize("action", list(Action))
def test_claim_of_one_kind_gives_nothing_of_another(action: Action) -> None:
    others = {name for other, name in CLAIMED.items() if name != CLAIMED[action]}
    assert not [name for name in others if allows([("*", "token")], name, action)]


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ([("room-*", "nobody"), ("*", "anyone")], False),
        ([("*", "anyone"), ("room-*", "nobody")], True),
        ([("hall-*", "nobody"), ("*", "anyone")], True),
        ([("room-1", "token"), ("*", "anyone")], False),
    ],
)
def test_first_match_decides(rules: list[tuple[str, str]], allowed: bool) -> None:
    assert allows(rules, "room-1") is allowed


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("room", "room", True),
        ("room", "room-1", False),
        ("room", "my-room", False),
        ("room", "Room", False),
        ("room-?", "room-1", True),
        ("room-?", "room-12", False),
        ("room-[ab]", "room-b", True),
        ("room-[!ab]", "room-b", False),
        ("*", "with\u2028separator", True),
        ("room-*", "room-\n", True),
        ("room", "room\n", False),
        ("a.c", "abc", False),
    ],
)
def test_pattern_is_of_the_whole_name_as_in_a_shell(pattern: str, name: str, matches: bool) -> None:
    assert allows([(pattern, "anyone")], name) is matches


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("anyone", True),
        ("token", True),
        ("member", True),
        ("nobody", True),
        ("scope:push", True),
        ("scope:", False),
        ("", False),
        ("Anyone", False),
        ("everyone", False),
    ],
)
def test_grants_that_can_be_written(text: str, known: bool) -> None:
    assert is_grant(text) is known


@pytest.mark.parametrize("action", [Action.JOIN_GROUP, Action.SEND_TO_GROUP])
@pytest.mark.parametrize(
    ("allow", "allowed"), [("member", True), ("token", False), ("nobody", False), ("scope:x", False)]
)
def test_durable_member_may_what_is_for_members(action: Action, allow: str, allowed: bool) -> None:
    policy = Policy({action: [Rule("*", allow)]})
    assert policy.allows(identity(), action, "ops", member=True) is allowed
    assert not policy.allows(identity(), action, "ops")


def test_member_is_bound_by_the_first_rule_that_matches() -> None:
    policy = Policy({Action.JOIN_GROUP: [Rule("o*", "nobody"), Rule("*", "member")]})
    assert not policy.allows(identity(), Action.JOIN_GROUP, "ops", member=True)
    assert policy.allows(identity(), Action.JOIN_GROUP, "chat-2", member=True)
