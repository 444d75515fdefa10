"""Claims: what becomes an identity, and what is refused instead of guessed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.errors import AuthError, BadToken
from gateway.identity import MAX_NAMES, MAX_SCOPES, Identity, identity_from_claims
from publisher.address import is_name, is_tenant

DIGEST = b"d" * 32
EXP = 1_800_000_000


def identify(**claims: Any) -> Identity:
    return identity_from_claims({"sub": "42", "exp": EXP} | claims, DIGEST)


def refusal(**claims: Any) -> BadToken:
    with pytest.raises(BadToken) as caught:
        identify(**claims)
    return caught.value


# What becomes an identity


def test_least_token_has_the_narrowest_identity() -> None:
    identity = identify()
    assert (identity.tenant, identity.user_id, identity.name) == ("default", "42", None)
    assert (identity.groups, identity.tags, identity.topics) == ((), (), ())
    assert identity.scopes == frozenset()
    assert (identity.expires_at, identity.issued_at, identity.jti) == (EXP, None, None)


def test_every_claim_is_taken_over() -> None:
    identity = identify(
        tenant="acme",
        name="Zoë",
        scope="push read",
        groups=["ops", "dev"],
        tags=["vip"],
        topics=["orders"],
        iat=EXP - 10.5,
        jti="j1",
    )
    assert (identity.tenant, identity.name, identity.jti) == ("acme", "Zoë", "j1")
    assert identity.scopes == {"push", "read"}
    assert (identity.groups, identity.tags, identity.topics) == (("ops", "dev"), ("vip",), ("orders",))
    assert identity.issued_at == EXP - 10.5


def test_identity_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        identify().user_id = "43"  # type: ignore[misc]


def test_integer_subject_becomes_its_digits() -> None:
    assert identify(sub=42).user_id == "42"


def test_user_id_stands_in_for_a_missing_subject() -> None:
    assert identity_from_claims({"user_id": 7, "exp": EXP}, DIGEST).user_id == "7"


def test_subject_wins_over_user_id() -> None:
    assert identify(sub="42", user_id="1").user_id == "42"


def test_bad_subject_does_not_fall_back_to_user_id() -> None:
    assert refusal(sub=None, user_id="1").reason == "bad_claim"


@pytest.mark.parametrize("scope", ["a b", " a  b ", ["a", "b"], "a b a"])
def test_scope_is_text_with_spaces_or_a_list(scope: object) -> None:
    assert identify(scope=scope).scopes == {"a", "b"}


@pytest.mark.parametrize("claim", ["groups", "tags", "topics"])
def test_single_name_is_a_list_of_one(claim: str) -> None:
    assert getattr(identify(**{claim: "a b"}), claim) == ("a b",)


@pytest.mark.parametrize("claim", ["groups", "tags", "topics"])
def test_repeated_names_count_once_and_keep_their_order(claim: str) -> None:
    assert getattr(identify(**{claim: ["b", "a", "b"]}), claim) == ("b", "a")


@pytest.mark.parametrize("claim", ["groups", "tags", "topics", "scope", "name"])
def test_null_is_none_where_that_is_the_narrowest_reading(claim: str) -> None:
    assert identify(**{claim: None}) == identify()


def test_as_many_names_as_allowed_are_accepted() -> None:
    groups = [f"g{n}" for n in range(MAX_NAMES)]
    assert len(identify(groups=groups).groups) == MAX_NAMES


# The login's name


def test_session_is_named_by_the_token_id() -> None:
    first = identity_from_claims({"sub": "42", "exp": EXP, "jti": "j1"}, b"one")
    again = identity_from_claims({"sub": "42", "exp": EXP + 60, "jti": "j1"}, b"other")
    assert first.session_id == again.session_id


def test_session_without_token_id_is_named_by_the_token() -> None:
    one, same, other = (
        identity_from_claims({"sub": "42", "exp": EXP}, digest).session_id for digest in (b"1", b"1", b"2")
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize("other", [{"tenant": "acme"}, {"sub": "43"}, {"jti": "j2"}])
def test_sessions_of_different_logins_differ(other: dict[str, object]) -> None:
    assert identify(jti="j1").session_id != identify(**({"jti": "j1"} | other)).session_id


def test_session_id_is_short_hex_and_shows_neither_token_id_nor_digest() -> None:
    session_id = identify().session_id
    assert len(session_id) == 16
    int(session_id, 16)
    assert not DIGEST.hex().startswith(session_id)


# What is refused

HOSTILE_NAMES = ["", "a\nb", "a\x00", "\x7f", "\ud800", "x" * 257, 1, True, 1.5, ["a"], {"a": 1}]


@pytest.mark.parametrize("value", [*HOSTILE_NAMES[:6], None, True, 1.0, 2**64, -(2**64), [], ["42"], {}])
def test_hostile_subject_is_refused(value: object) -> None:
    assert refusal(sub=value).reason == "bad_claim"


def test_missing_subject_is_refused() -> None:
    with pytest.raises(BadToken) as caught:
        identity_from_claims({"exp": EXP}, DIGEST)
    assert caught.value.reason == "no_subject"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "acme ",
        "acme\n",
        "a:b",
        "a/b",
        "*",
        "ä",
        "x" * 65,
        "{x}",
        None,
        1,
        True,
        ["acme"],
        {},
        "\ud800",
    ],
)
def test_hostile_tenant_is_refused(value: object) -> None:
    assert refusal(tenant=value).reason == "bad_claim"


@pytest.mark.parametrize("value", HOSTILE_NAMES[1:])
def test_hostile_display_name_is_refused(value: object) -> None:
    assert refusal(name=value).reason == "bad_claim"


@pytest.mark.parametrize("value", [*HOSTILE_NAMES, None])
def test_hostile_token_id_is_refused(value: object) -> None:
    assert refusal(jti=value).reason == "bad_claim"


@pytest.mark.parametrize("value", [1, True, {}, [1], ["a b"], [["a"]], "a\tb", 'a"b', "ä", "x" * 129, [None], [""]])
def test_hostile_scope_is_refused(value: object) -> None:
    assert refusal(scope=value).reason == "bad_claim"


def test_too_many_scopes_are_refused() -> None:
    assert refusal(scope=[f"s{n}" for n in range(MAX_SCOPES + 1)]).reason == "bad_claim"


@pytest.mark.parametrize("claim", ["groups", "tags", "topics"])
@pytest.mark.parametrize("value", ["", 1, True, 0, {}, {"a": 1}, [1], [None], [["a"]], ["ok", ""], ["a\n"], ["\ud800"]])
def test_hostile_names_are_refused(claim: str, value: object) -> None:
    error = refusal(**{claim: value})
    assert error.reason == "bad_claim"
    assert claim in str(error)


def test_names_are_bounded_together() -> None:
    half = [f"n{n}" for n in range(MAX_NAMES // 2 + 1)]
    assert refusal(groups=half, tags=half).reason == "bad_claim"


@pytest.mark.parametrize("claim", ["exp", "iat"])
@pytest.mark.parametrize(
    "value",
    [None, True, "1800000000", [], {}, float("nan"), float("inf"), -float("inf"), -1, 1.8e12, 2**64, 10**400],
)
def test_hostile_time_is_refused(claim: str, value: object) -> None:
    assert refusal(**{claim: value}).reason == "bad_claim"


def test_missing_expiry_is_refused() -> None:
    with pytest.raises(BadToken) as caught:
        identity_from_claims({"sub": "42"}, DIGEST)
    assert caught.value.reason == "no_expiry"


# A busy machine, or hypothesis reading its Unicode tables for the first time, is no failure of ours.
PATIENT = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
CLAIM = st.sampled_from(
    ["sub", "user_id", "tenant", "name", "scope", "groups", "tags", "topics", "exp", "iat", "jti", "other"]
)


@PATIENT
@given(st.dictionaries(CLAIM, JSON))
def test_any_claims_are_an_identity_or_a_refusal(claims: dict[str, object]) -> None:
    try:
        identity = identity_from_claims({"sub": "42", "exp": EXP} | claims, DIGEST)
    except AuthError:
        return
    assert is_name(identity.user_id)
    assert is_tenant(identity.tenant)
    assert all(map(is_name, identity.groups + identity.tags + identity.topics))
