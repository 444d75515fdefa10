"""What clients may do and use up: the sections `limits`, `heartbeat` and `policy`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gateway.policy import Rule as PolicyRule
from gateway.policy import is_grant
from gateway.settings.section import Seconds, Section
from publisher.event import MAX_EVENT_BYTES


class Limits(Section):
    """What one client may use up."""

    connections: int = Field(
        0, ge=0, description="Most connections. 0: as many as the open file limit leaves room for."
    )
    connections_per_ip: int = Field(
        0, ge=0, description="Most connections from one address; IPv6 counts by its /64. 0: no limit."
    )
    connections_per_user: int = Field(
        0, ge=0, description="Most connections of one user to this instance. 0: no limit."
    )
    over_user_limit: Literal["refuse", "replace"] = Field(
        "refuse", description="Beyond it: `refuse` the new connection, or `replace` the oldest (close 4409)."
    )
    handshakes_per_s: float = Field(
        0.0, ge=0, description="Connections that one address may open per second, in the long run. 0: no limit."
    )
    handshakes_burst: float = Field(100.0, ge=1, description="Connections that one address may open at once.")
    max_message_bytes: int = Field(65_536, ge=1_024, description="Largest frame from a client, in bytes.")
    max_event_bytes: int = Field(
        MAX_EVENT_BYTES, ge=1_024, description="Largest event that a client's message may become, in bytes."
    )
    messages_per_s: float = Field(50.0, gt=0, description="Commands of one connection per second, in the long run.")
    messages_burst: float = Field(100.0, ge=1, description="Commands of one connection at once.")
    addresses: int = Field(1_000, ge=1, description="Groups, tags and topics of one connection.")
    pending_commands: int = Field(64, ge=1, description="Unanswered commands after which a client is not read from.")
    handshake_timeout_s: Seconds = Field(10.0, description="Time for the HTTP upgrade, in seconds.")
    auth_timeout_s: Seconds = Field(10.0, description="Time for a first `auth` frame, in seconds.")
    stall_timeout_s: Seconds = Field(
        10.0, description="A socket that takes nothing for so long is aborted, in seconds."
    )
    handler_timeout_s: Seconds = Field(5.0, description="Time for one call of a plug-in handler, in seconds.")


class Heartbeat(Section):
    """How a vanished peer is noticed."""

    ping_interval_s: Seconds = Field(25.0, description="A ping is sent to each client so often, in seconds.")
    timeout_s: Seconds = Field(60.0, description="A client from which no byte came for so long is gone, in seconds.")


class Rule(Section):
    """One line of the policy."""

    pattern: str = Field("*", min_length=1, description="Names it is about: `*`, `?` and `[…]` as in a shell.")
    allow: str = Field(
        description="`anyone`, `token` (named in the claims), `member` (that, or a durable member of the group), "
        "`scope:<name>` or `nobody`."
    )

    @model_validator(mode="after")
    def _known(self) -> Rule:
        if not is_grant(self.allow):
            raise ValueError(f"{self.allow!r} is not one of: anyone, token, member, scope:<name>, nobody")
        return self

    def plain(self) -> PolicyRule:
        """Return the rule as `policy` takes it."""
        return PolicyRule(self.pattern, self.allow)


Rules = tuple[Rule, ...]


class Policy(Section):
    """What clients may do; the first matching rule decides, and what no rule matches is denied."""

    join_group: Rules = Field((Rule(allow="member"),), description="Who may join which group.")
    send_to_group: Rules = Field((Rule(allow="member"),), description="Who, having joined, may send to which group.")
    send_to_user: Rules = Field((), description="Who may send to which user.")
    subscribe: Rules = Field((Rule(allow="token"),), description="Who may subscribe to which topic.")
    add_tag: Rules = Field((Rule(allow="token"),), description="Who may give themselves which tag.")
    see_online: Rules = Field((Rule(allow="token"),), description="Who may ask whether which user is online.")
