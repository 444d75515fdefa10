"""
Why did a user get an event, or not? Each instance's answer to `gateway explain`.

The question comes after the event in its partition, so every instance has seen the event when it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.connection import Connection
from gateway.entry import Entry
from gateway.log import Log
from gateway.outcomes import COLLAPSED, EXPIRED, FELL_OUT, LOW, RESYNC
from gateway.questions import Facts
from gateway.services import Departure, Services
from gateway.subscriber import REMEMBERED, Subscriber

_MOST_DEPARTED = 20
_SENT = "sent"
_NOT_JSON = "not sent: the event's payload is not JSON"
_WHY_NOT = {
    EXPIRED: "it had expired before it could be sent",
    LOW: "it is low priority, and the socket was slow",
    COLLAPSED: "a newer one of its collapse key took its place while the socket was slow or resuming",
    FELL_OUT: "the socket was so slow that it fell out of memory",
    RESYNC: "the client was told by `resync` to load its state anew",
}


def verdict(log: Log, receiver: Subscriber, entry: Entry, now_ms: int = 0) -> str:
    """Say what became of an entry in memory for one receiver of the same tenant, as things stand at `now_ms`."""
    matched = [address for address in entry.to if address in receiver.addresses]
    if not matched:
        return "not addressed: it holds none of the event's addresses"
    options = entry.options
    if options is not None and entry.excludes(receiver.addresses):
        excluded = [address for address in options.exclude if address in receiver.addresses]
        return f"excluded by {', '.join(excluded)}"
    if all(receiver.addresses[address] >= entry.seq for address in matched):
        return f"too early: it joined {', '.join(matched)} after the event, or resumed behind it"
    if not any(receiver.claims(entry, log.sieve)):
        return f"filtered: its filter on {', '.join(a for a in matched if a in receiver.filters)} does not let it pass"
    if entry.frame == b"":
        return "recalled: whoever did not have it before gets it no more" if _is_json(entry.data) else _NOT_JSON
    if receiver.without is not None and entry.seq in receiver.without:
        return f"not sent: {_WHY_NOT[receiver.without[entry.seq]]}"
    if receiver.lagging and entry.seq > receiver.written_up_to(log):
        if options is not None and not options.kept:
            return "not sent: it is ephemeral, and the socket was slow or still resuming when it came"
        if options is not None and options.expired(now_ms):
            return "not sent: it expired while the socket was slow or still resuming"
        return "not yet: the socket is slow or still resuming, and the event waits in the log"
    return f"{_SENT}, by way of {', '.join(matched)}" + _doubts(receiver, entry)


def _doubts(receiver: Subscriber, entry: Entry) -> str:
    """Return what might nevertheless have kept an event from a receiver: what nobody remembers for certain."""
    options = entry.options
    if options is None:
        return ""
    notes = [] if options.kept else ["it is ephemeral: not if the socket lagged when it came"]
    if receiver.without is not None and len(receiver.without) == REMEMBERED and entry.seq < min(receiver.without):
        notes += ["it may have expired while the socket lagged"] if options.expires_at is not None else []
        notes += ["it is low priority: dropped if the socket lagged"] if options.low else []
        notes += ["a newer one of its collapse key may have taken its place"] if options.collapse else []
    return f" ({'; '.join(notes)})" if notes else ""


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


class Explainer:
    """Answers for one instance."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def answer(self, order: Entry, data: dict[str, Any]) -> Facts:
        """Answer a question with `entry` (a stream id), `partition` and `user`."""
        user_id = str(data["user"])
        entry = self._services.log.find(str(data["entry"]).encode(), int(data["partition"]))
        departed = self._departed(order.tenant, user_id)
        return {
            "in_memory": entry is not None,
            "connections": [self._describe(c, entry) for c in self._connections(order.tenant, user_id)],
            "departed": self._describe_departed(departed),
            "forgot_until": self._forgot_until(departed),
        }

    def _connections(self, tenant: str, user_id: str) -> list[Connection]:
        receivers = self._services.hub.match(tenant, (f"user:{user_id}",))
        return [receiver for receiver in receivers if isinstance(receiver, Connection)]

    def _describe(self, connection: Connection, entry: Entry | None) -> dict[str, Any]:
        text = (
            self._had_once(connection, entry) or verdict(self._services.log, connection, entry, self._services.now_ms())
            if entry is not None
            else "unknown: the event is no longer in this instance's memory"
        )
        return {
            "client": connection.client_id,
            "opened_at": connection.opened_at,
            "remote": connection.remote,
            "lagging": connection.lagging,
            "addresses": sorted(connection.addresses)[:50],
            "verdict": text,
            "sent": text.startswith(_SENT),
        }

    def _had_once(self, connection: Connection, entry: Entry) -> str | None:
        """Say so if the connection was sent an entry by way of an address that was taken from it since."""
        for loss in self._services.members.losses:
            its = loss.client_id == connection.client_id and loss.address in entry.to
            if its and loss.after < entry.seq <= loss.until and not entry.excludes(connection.addresses):
                return f"{_SENT}, by way of {loss.address}, which the user has lost since"
        return None

    def _departed(self, tenant: str, user_id: str) -> list[Departure]:
        return [d for d in self._services.departed if (d.tenant, d.user_id) == (tenant, user_id)]

    def _describe_departed(self, departed: Sequence[Departure]) -> list[dict[str, Any]]:
        return [
            {
                "client": d.client_id,
                "opened_at": d.opened_at,
                "closed_at": d.closed_at,
                "code": d.code,
                "resumed": d.resumed,
            }
            for d in departed[-_MOST_DEPARTED:]
        ]

    def _forgot_until(self, departed: Sequence[Departure]) -> int:
        """Return until when connections may have closed that are not in the answer; 0 where it has all of them."""
        remembered = self._services.departed
        first = remembered[0].closed_at if len(remembered) == remembered.maxlen else 0
        return departed[-_MOST_DEPARTED].closed_at if len(departed) > _MOST_DEPARTED else first
