"""
Control events: what changes who receives what, and so has its place in the log.

Pure: checks and encodes them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import orjson

from publisher.address import ALL, DEFAULT_TENANT, is_name
from publisher.errors import PublishError
from publisher.event import KICK, KIND_CONTROL, MAX_KEY_LENGTH, REVOKE, Event, make_event

CLOSE_KICKED: Final = 4403
WEEK_S: Final = 7 * 24 * 3600.0

_LONGEST_S = 10 * 365 * 24 * 3600.0
_MAX_REASON_BYTES = 123  # RFC 6455, section 5.5: a control frame holds 125 bytes, two of them the code


@dataclass(frozen=True, slots=True)
class Revocation:
    """
    A revoked token, or a user's tokens up to now.

    Attributes:
        event: The control event that announces it.
        member: How the set of revocations names it: a JSON list, `[tenant, "jti", id]` or
            `[tenant, "user", id, issued-before ms]`.
        lasts_s: How long it has to be remembered.
    """

    event: Event
    member: bytes
    lasts_s: float


def make_kick(
    user_id: str | None,
    *,
    client: str | None = None,
    tenant: str = DEFAULT_TENANT,
    code: int = CLOSE_KICKED,
    reason: str = "",
) -> Event:
    """
    Return the event that closes a user's connections, or one client's, with `code` and `reason`.

    Raises:
        PublishError: Neither or both are named, or something is not well-formed.
    """
    kind, name = _one_of(user=user_id, client=client)
    if not isinstance(code, int) or not (code == 1000 or 4000 <= code <= 4999):
        raise PublishError(f"code is {code!r:.40}: use 1000 or an application's close code, 4000 to 4999")
    if not isinstance(reason, str) or (reason and not reason.isprintable()):
        raise PublishError(f"reason is {reason!r:.100}: use printable characters")
    if len(reason.encode()) > _MAX_REASON_BYTES:
        raise PublishError(f"reason is over {_MAX_REASON_BYTES} bytes: a WebSocket close frame holds no more")
    return make_event(KICK, {"code": code, "reason": reason}, to=f"{kind}:{name}", tenant=tenant, kind=KIND_CONTROL)


def make_revocation(
    *,
    jti: str | None = None,
    user: str | None = None,
    tenant: str = DEFAULT_TENANT,
    lasts_s: float = WEEK_S,
) -> Revocation:
    """
    Return the revocation of one token, or of all that `user` was issued until now.

    Raises:
        PublishError: Neither or both are named, or something is not well-formed.
    """
    kind, name = _one_of(jti=jti, user=user)
    if isinstance(lasts_s, bool) or not isinstance(lasts_s, int | float) or not 0 < lasts_s <= _LONGEST_S:
        raise PublishError(f"lasts_s is {lasts_s!r:.40}: use seconds, at least the longest life of a token")
    if kind == "jti":
        event = make_event(REVOKE, {"jti": name}, to=ALL, tenant=tenant, kind=KIND_CONTROL)
        return Revocation(event, orjson.dumps([tenant, kind, name]), lasts_s)
    issued_before = int(time.time() * 1000)
    data = {"user": name, "issued_before": issued_before}
    event = make_event(REVOKE, data, to=f"user:{name}", tenant=tenant, kind=KIND_CONTROL)
    return Revocation(event, orjson.dumps([tenant, kind, name, issued_before]), lasts_s)


def _one_of(**names: str | None) -> tuple[str, str]:
    """Return the one that is given, with its kind."""
    given = [(kind, name) for kind, name in names.items() if name is not None]
    if len(given) != 1:
        raise PublishError(f"name either {' or '.join(names)}, one of them")
    kind, name = given[0]
    if not is_name(name) or not name.isprintable():
        raise PublishError(f"{kind} is {name!r:.100}: use 1 to {MAX_KEY_LENGTH} printable characters")
    return kind, name
