"""
Receipts: what became of an event, address by address; and how the gateways write it down.

Every instance that has read the event writes one field of a hash: what it has counted, once for all, each time anew, so
that a report can be repeated. A `Query` reads them and adds them up. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from publisher import keys
from publisher.command import Command
from publisher.cursor import Cursor
from publisher.errors import PublishError
from publisher.event import F_RECEIPT, F_TENANT, F_TO
from publisher.script import RECEIPT

ALIVE_S: Final = 30.0
"""An instance that has not asked for entries for so long is not waited for."""

# Fields of the hash. Those of the instances begin with a prefix, and end with a random name of the process.
TENANT: Final = b"tenant"
TO: Final = b"to"
_INSTANCE: Final = b"i:"


@dataclass(frozen=True, slots=True)
class Target:
    """
    What became of an event for one of its addresses.

    Attributes:
        delivered: How often it was written to a socket, at once or after a reconnect.
        acked: How many clients have acknowledged it.
        no_socket: It has reached nobody, for there was none.
        dropped: How many sockets went without it, by reason: `low`, `collapsed`, `fell_out`, `resync`.
        expired: How many sockets it was too late for.
    """

    delivered: int = 0
    acked: int = 0
    no_socket: bool = False
    dropped: Mapping[str, int] = field(default_factory=dict)
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    What became of an event, as far as is known.

    Attributes:
        id: The event's.
        tenant: Whose it is.
        complete: Every live instance has read it and reported. Numbers can still grow: clients come back, or
            acknowledge.
        targets: Each address of the event, with what became of it.
    """

    id: str
    tenant: str
    complete: bool
    targets: Mapping[str, Target]


# Writing: what an instance counted.

Report = Mapping[str, tuple[int, int, int, int, Mapping[str, int]]]
"""Address → how many sockets there were, delivered, acked, expired, and dropped by reason."""


def reporter(instance_id: str, process: str) -> bytes:
    """Return the name of the field that one process of an instance writes."""
    return b"%b%b#%b" % (_INSTANCE, instance_id.encode(), process.encode())


def written(report: Report) -> bytes:
    """Return the value of that field."""
    return orjson.dumps(report)


# Reading.


class Query(Command):
    """A call of the script that reads a receipt; its outcome is that as JSON text, `null` where there is none."""

    __slots__ = ()

    def read(self, reply: Any) -> str:
        """See `Command`."""
        try:
            entry, reports, readers = (dict(zip(part[::2], part[1::2], strict=True)) for part in reply)
            return orjson.dumps(_added_up(entry, reports, readers)).decode()
        except (TypeError, ValueError, LookupError, AttributeError):
            raise ValueError(f"the script answered {reply!r:.100}") from None


def _added_up(entry: dict[bytes, bytes], reports: dict[bytes, bytes], readers: dict[bytes, int]) -> object:
    tenant, to = reports.get(TENANT), reports.get(TO)
    if F_RECEIPT in entry:
        tenant, to = entry[F_TENANT], entry[F_TO]
    if tenant is None or to is None:
        return None
    group = keys.GROUP_PREFIX.encode()
    alive = {name.removeprefix(group) for name, idle in readers.items() if name.startswith(group) and _is_alive(idle)}
    said = [(name.removeprefix(_INSTANCE), text) for name, text in reports.items() if name.startswith(_INSTANCE)]
    complete = bool(alive) and alive <= {name.rpartition(b"#")[0] for name, _ in said}
    values = [orjson.loads(text) for _, text in said]
    targets = {address: _target(address, values, complete=complete) for address in orjson.loads(to)}
    return {"tenant": tenant.decode(), "complete": complete, "targets": targets}


def _is_alive(idle_ms: int) -> bool:
    return idle_ms < ALIVE_S * 1000


def _target(address: str, reports: list[Any], *, complete: bool) -> dict[str, Any]:
    sockets = delivered = acked = expired = 0
    dropped: dict[str, int] = {}
    for report in reports:
        if address in report:
            counts = report[address]
            sockets += counts[0]
            delivered += counts[1]
            acked += counts[2]
            expired += counts[3]
            for reason, count in counts[4].items():
                dropped[reason] = dropped.get(reason, 0) + count
    no_socket = complete and not (sockets or delivered)
    return {"delivered": delivered, "acked": acked, "no_socket": no_socket, "dropped": dropped, "expired": expired}


def receipt_of(event_id: str, text: str) -> Receipt | None:
    """Return the receipt that a `Query` has read."""
    found = orjson.loads(text)
    if found is None:
        return None
    targets = {address: Target(**counts) for address, counts in found["targets"].items()}
    return Receipt(event_id, found["tenant"], found["complete"], targets)


def query(event_id: str, partitions: int) -> Query:
    """
    Return the command that reads an event's receipt.

    Raises:
        PublishError: This is no event's id.
    """
    try:
        place = Cursor.parse(event_id)
    except (TypeError, ValueError):
        raise PublishError(f"{event_id!r:.80} is not the id of an event") from None
    if place.partition >= partitions:
        raise PublishError(f"{event_id!r:.80} is of partition {place.partition}, and there are {partitions}")
    names = (keys.stream(place.partition).encode(), keys.receipt(place.partition, str(place)).encode())
    return Query(RECEIPT, place.partition, names, (b"%d-%d" % (place.ms, place.n),), None)
