"""Revocations: which tokens they hit, for how long, and whose."""

from __future__ import annotations

import pytest

from gateway.identity import Identity, identity_from_claims
from gateway.revocations import Revocations

FOREVER = 10**15


def token(
    *, tenant: str = "default", user: str = "42", issued_at: float | None = 100, jti: str | None = "j1"
) -> Identity:
    claims: dict[str, object] = {"sub": user, "tenant": tenant, "exp": 10_000}
    if issued_at is not None:
        claims["iat"] = issued_at
    if jti is not None:
        claims["jti"] = jti
    return identity_from_claims(claims, b"digest")


def test_nothing_is_revoked_at_first() -> None:
    assert not Revocations().is_revoked(token())


# By token id


def test_revoked_token_id_is_hit() -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", FOREVER)
    assert revocations.is_revoked(token(jti="j1"))


@pytest.mark.parametrize("other", [token(jti="j2"), token(jti=None), token(tenant="acme")])
def test_other_tokens_are_not_hit_by_a_token_id(other: Identity) -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", FOREVER)
    assert not revocations.is_revoked(other)


# By user


@pytest.mark.parametrize(
    ("issued_at", "hit"),
    [
        (0, True),
        (99, True),
        (100, True),  # the second of the revocation, 100.5, belongs to it
        (100.5, True),
        (100.999, True),
        (101, False),
        (101.2, False),
        (None, True),
    ],
)
def test_user_revocation_hits_what_was_issued_up_to_the_end_of_its_second(issued_at: float | None, hit: bool) -> None:
    revocations = Revocations()
    revocations.add_user("default", "42", 100_500, FOREVER)
    assert revocations.is_revoked(token(issued_at=issued_at)) is hit


@pytest.mark.parametrize("issued_before_ms", [100_000, 100_001, 100_999])
def test_token_of_the_same_second_is_hit_wherever_in_it_the_revocation_falls(issued_before_ms: int) -> None:
    revocations = Revocations()
    revocations.add_user("default", "42", issued_before_ms, FOREVER)
    assert revocations.is_revoked(token(issued_at=100))


@pytest.mark.parametrize("other", [token(user="43"), token(tenant="acme")])
def test_other_users_are_not_hit(other: Identity) -> None:
    revocations = Revocations()
    revocations.add_user("default", "42", FOREVER, FOREVER)
    assert not revocations.is_revoked(other)


def test_earlier_revocation_does_not_undo_a_later_one() -> None:
    revocations = Revocations()
    revocations.add_user("default", "42", 200_000, 900_000)
    revocations.add_user("default", "42", 100_000, 500_000)
    revocations.prune(600_000)
    assert revocations.is_revoked(token(issued_at=150))


# Forgetting


def test_revocation_is_forgotten_at_its_time() -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", 1_000)
    revocations.add_user("default", "42", FOREVER, 2_000)
    assert [revocations.prune(now) for now in (999, 1_000, 1_999, 2_000)] == [0, 1, 0, 1]
    assert not revocations.is_revoked(token())


def test_revocation_lasts_until_its_time() -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", 1_000)
    revocations.prune(999)
    assert revocations.is_revoked(token(jti="j1"))


def test_repeated_token_revocation_keeps_the_later_time() -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", 2_000)
    revocations.add_jti("default", "j1", 1_000)
    revocations.prune(1_500)
    assert revocations.is_revoked(token(jti="j1"))


def test_length_counts_what_is_in_force() -> None:
    revocations = Revocations()
    revocations.add_jti("default", "j1", 1_000)
    revocations.add_jti("acme", "j1", 1_000)
    revocations.add_user("default", "42", 0, 2_000)
    assert len(revocations) == 3
    revocations.prune(1_000)
    assert len(revocations) == 1
