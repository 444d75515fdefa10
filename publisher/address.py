"""
Addresses: the strings that say who receives an event.

`all`, or `<kind>:<name>` with one of the kinds below. Knows nothing of tenants, rights or connections.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from publisher.errors import PublishError

ALL = "all"
KINDS = ("user", "client", "group", "tag", "topic")
DEFAULT_TENANT = "default"
MAX_NAME_LENGTH = 256
MAX_AUDIENCE = 10_000

_MAX_CACHED = 4_096

# No control characters (they would corrupt logs and terminals) and no lone surrogates (they are not UTF-8).
_ADDRESS = re.compile(rf"(?:{'|'.join(KINDS)}):[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_NAME_LENGTH}}}", re.ASCII)
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def is_address(text: object) -> bool:
    """Tell whether `text` is a well-formed address."""
    return isinstance(text, str) and (text == ALL or _ADDRESS.fullmatch(text) is not None)


def is_name(text: object) -> bool:
    """Tell whether `text` can stand behind `<kind>:`, as a user id, a group id, a tag or a topic."""
    return isinstance(text, str) and _ADDRESS.fullmatch("user:" + text) is not None


def is_tenant(text: object) -> bool:
    """Tell whether `text` can name a tenant: 1 to 64 letters, digits, `_`, `.` or `-`."""
    return isinstance(text, str) and _TENANT.fullmatch(text) is not None


def audience(to: str | Iterable[str]) -> tuple[str, ...]:
    """
    Return the addresses of `to`, each once, in the order given.

    Raises:
        PublishError: One of them is not an address, there is none, or there are over `MAX_AUDIENCE`.
    """
    if isinstance(to, str):
        return _only(to)
    try:
        addresses = tuple(dict.fromkeys(to))
    except TypeError:  # not iterable, or holding what cannot be hashed
        raise PublishError(f"{to!r:.100} is not an audience: give an address or a list of them") from None
    for address in addresses:
        _check(address)
    if not addresses:
        raise PublishError("the audience is empty: name at least one address in `to`")
    if len(addresses) > MAX_AUDIENCE:
        raise PublishError(
            f"{len(addresses)} addresses in one event: at most {MAX_AUDIENCE}; publish it in several parts"
        )
    return addresses


@lru_cache(maxsize=_MAX_CACHED)
def _only(address: str) -> tuple[str, ...]:
    """Return an audience of one address. Cached: who publishes once to a group, say, will do so again."""
    _check(address)
    return (address,)


def _check(address: object) -> None:
    if not is_address(address):
        raise PublishError(
            f"{address!r:.100} is not an address: use 'all' or one of "
            + ", ".join(f"'{kind}:<name>'" for kind in KINDS)
        )
