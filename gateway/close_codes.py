"""
Close codes: why the gateway ends a connection.

Up to 2999 they are those of RFC 6455, section 7.4.1; the rest are Tidegate's. After the codes in `FINAL` a client
must not just reconnect.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes that the gateway sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    OVERLOADED = 1013
    PROTOCOL = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403  # banned or revoked
    TIMEOUT = 4408  # no `auth` in time, or idle
    REPLACED = 4409
    RATE = 4429


FINAL = frozenset({CloseCode.PROTOCOL, CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN, CloseCode.REPLACED})
