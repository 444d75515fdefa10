"""
What can go wrong in the gateway.

    GatewayError
     ├── ConfigError        a setting is wrong: refuse to start, name the setting
     ├── AuthError          a token is refused; `reason` says why, in one word
     │    ├── BadToken       its signature is good, its claims are not
     │    └── KeyUnknown     no cached key has its key id: fetch the keys, then try once more
     ├── CommandError       a client's command is refused: one `error` reply
     ├── OutputError        what a command prints cannot be written
     ├── PoisonEntry        an entry of the log cannot be delivered: skip it
     └── PresenceUnsettled  who is online is not known just now: ask again in a moment

A message can be shown to the peer: it holds nothing that came from the peer, and nothing internal.
"""

from __future__ import annotations

from typing import Final, Literal

Reason = Literal[
    "algorithm_not_allowed",
    "bad_claim",
    "bad_signature",
    "expired",
    "lifetime_too_long",
    "malformed",
    "no_expiry",
    "no_subject",
    "not_yet_valid",
    "revoked",
    "too_large",
    "unknown_key",
    "wrong_audience",
    "wrong_issuer",
    "wrong_type",
]
"""Why a token is refused: also the label of a metric, so the list is closed."""

MESSAGES: Final[dict[Reason, str]] = {
    "algorithm_not_allowed": "the token's algorithm is not allowed here",
    "bad_claim": "a claim has a wrong type or value",
    "bad_signature": "the token's signature does not match",
    "expired": "the token has expired",
    "lifetime_too_long": "the token lives longer than allowed here",
    "malformed": "this is not a well-formed signed JWT",
    "no_expiry": "the token has no `exp` claim",
    "no_subject": "the token has no `sub` claim",
    "not_yet_valid": "the token is not valid yet",
    "revoked": "the token has been revoked",
    "too_large": "the token is too large",
    "unknown_key": "the token's key is not known here",
    "wrong_audience": "the token is meant for another audience",
    "wrong_issuer": "the token comes from another issuer",
    "wrong_type": "this type of token is not accepted here",
}


class GatewayError(Exception):
    """The root of the gateway's own errors."""


class ConfigError(GatewayError):
    """
    A setting is wrong.

    Attributes:
        setting: Its dotted name, for example `auth.secret`.
    """

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


class OutputError(GatewayError):
    """What a command prints cannot be written; no OSError, so that nobody takes it for one of Redis or of a socket."""


class AuthError(GatewayError):
    """
    A token is refused.

    Attributes:
        reason: One of `Reason`.
    """

    def __init__(self, reason: Reason, claim: str | None = None) -> None:
        super().__init__(MESSAGES[reason] if claim is None else f"{MESSAGES[reason]}: `{claim}`")
        self.reason: Reason = reason


class BadToken(AuthError):
    """The claims of a token with a good signature are missing, of a wrong type or out of range."""


class KeyUnknown(AuthError):
    """
    No cached key has the key id of the token.

    Attributes:
        kid: The key id as the token has it: the peer's text, not to be shown or logged as it is.
    """

    def __init__(self, kid: str | None) -> None:
        super().__init__("unknown_key")
        self.kid = kid


class PoisonEntry(GatewayError):
    """
    An entry of the log that cannot be delivered: counted, logged once, skipped.

    Attributes:
        entry_id: Its stream id.
    """

    def __init__(self, entry_id: bytes, problem: str) -> None:
        super().__init__(problem)
        self.entry_id = entry_id


class CommandError(GatewayError):
    """
    A command is refused: becomes the one `error` reply to it.

    Attributes:
        code: 400, 401, 403, 404, 409, 413, 429, 500 (a plug-in handler failed) or 503.
        message: For the client's developer.
        retry_after_ms: When trying again makes sense.
        message_id: The command's, where the decoder got that far.
    """

    def __init__(
        self, code: int, message: str, *, retry_after_ms: int | None = None, message_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.message_id = message_id


class PresenceUnsettled(GatewayError):
    """Redis has lost who is online, and the instances are telling it again."""
