"""
Tokens for the clients of a bench: HS256, one user each.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import jwt

from tests.bench.subjects import SECRET

LIFETIME_S = 3600

_serial = itertools.count()


def no_groups(_: int) -> Sequence[str]:
    return ()


def make_tokens(count: int, groups: Callable[[int], Sequence[str]] = no_groups) -> list[str]:
    """
    Return tokens for the users u0, u1, …, in the groups that `groups` gives for the number of each.

    No two tokens are alike, also between calls.
    """
    expires = int(time.time()) + LIFETIME_S
    return [
        jwt.encode(
            {"sub": f"u{k}", "exp": expires, "jti": str(next(_serial)), "groups": list(groups(k))},
            SECRET,
            algorithm="HS256",
        )
        for k in range(count)
    ]
