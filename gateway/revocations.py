"""
What has been revoked: token ids, and whole users up to a moment. Pure: no clock, `now` is an argument.

It answers one question about an identity. Where revocations come from and what happens to open connections is
not known here.

Times of issue are whole seconds in almost every token, rounded down. So a token issued in the very second of
a user's revocation may be from before or after it, and is taken for revoked: nothing issued before a
revocation may survive it, whereas a user who logs in again within that second is refused once and tries
again. A token without `iat` cannot show that it is newer, and is revoked too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.identity import Identity

_Key = tuple[str, str]
_V = TypeVar("_V")


class Revocations:
    """
    The revocations in force, per tenant.

    A revocation is kept until its `until_ms`, which should be the end of the longest life of a token it hits:
    forgetting it earlier would revive the token.
    """

    def __init__(self) -> None:
        self._jtis: dict[_Key, int] = {}  # (tenant, jti) → until_ms
        self._users: dict[_Key, tuple[int, int]] = {}  # (tenant, user) → issued_before_ms, until_ms

    def __len__(self) -> int:
        return len(self._jtis) + len(self._users)

    def add_jti(self, tenant: str, jti: str, until_ms: int) -> None:
        """Revoke one token. Repeated, the later `until_ms` holds."""
        self._jtis[tenant, jti] = max(until_ms, self._jtis.get((tenant, jti), until_ms))

    def add_user(self, tenant: str, user_id: str, issued_before_ms: int, until_ms: int) -> None:
        """Revoke all tokens of a user issued up to that moment. Repeated, the later times hold."""
        issued, until = self._users.get((tenant, user_id), (issued_before_ms, until_ms))
        self._users[tenant, user_id] = (max(issued, issued_before_ms), max(until, until_ms))

    def is_revoked(self, identity: Identity) -> bool:
        """Tell whether the token behind `identity` is revoked. Cheap: one or two look-ups."""
        if identity.jti is not None and (identity.tenant, identity.jti) in self._jtis:
            return True
        revoked = self._users.get((identity.tenant, identity.user_id))
        if revoked is None:
            return False
        # Both in whole seconds, rounded down: the second of the revocation belongs to the revocation.
        return identity.issued_at is None or int(identity.issued_at) <= revoked[0] // 1000

    def prune(self, now_ms: int) -> int:
        """Forget what has passed its `until_ms`; return how many revocations that were."""
        before = len(self)
        self._jtis = _kept(self._jtis, lambda until_ms: until_ms > now_ms)
        self._users = _kept(self._users, lambda times: times[1] > now_ms)
        return before - len(self)


def _kept(revocations: dict[_Key, _V], holds: Callable[[_V], bool]) -> dict[_Key, _V]:
    return {key: value for key, value in revocations.items() if holds(value)}
