"""
Members: what a user's profile means for the user's connections.

A connection enters once its user's profile is there. It is in the durable groups from then on, each from the place in
the log where the user was added; the log's `members` entries give and take them while it is connected. If Redis does
not answer, a connection enters without them, and has what it missed as soon as they are known.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.asyncio import Redis

from gateway.connection import Connection
from gateway.entry import Entry
from gateway.identity import OWN_ADDRESSES, Identity
from gateway.profile_loader import ProfileLoader
from gateway.profiles import Membership, Profile, Profiles, Snapshot
from gateway.resume import replay_address
from gateway.session import State
from gateway.wire import v1
from publisher import is_name
from publisher.notification import UNREAD_COUNT

if TYPE_CHECKING:
    from gateway.services import Services

_log = structlog.get_logger()

_LOST: Final = 5_000
_MAX_IDLE: Final = 100_000
_GROUP: Final = "group:"
_USER: Final = "user:"


@dataclass(frozen=True, slots=True)
class Loss:
    """An address that was taken from a connection: it had what came after `after`, up to `until` (sequence numbers)."""

    client_id: str
    address: str
    after: int
    until: int


class Members:
    """
    Keeps the profiles of an instance, and its connections in their groups.

    Args:
        keep_s: How long a profile is kept after its user's last connection.

    Attributes:
        losses: The last addresses that were taken away, for `gateway explain`.
    """

    def __init__(self, services: Services, redis: Redis, *, partitions: int, keep_s: float) -> None:
        self.profiles = Profiles(keep_s=keep_s, max_idle=_MAX_IDLE)
        self._services = services
        self._loader = ProfileLoader(
            redis, services.tasks, partitions=partitions, on_loaded=self._loaded, on_late=self._let_in
        )
        self._waiting: dict[Profile, list[Connection]] = {}
        # Entered without their groups: the position after which they are owed what these have.
        self._owed: dict[Connection, str] = {}
        self.losses: deque[Loss] = deque(maxlen=_LOST)
        self._gap = "unavailable"  # why groups could be found late, as a `resync` says it

    # What a connection calls.

    def admit(self, connection: Connection) -> None:
        """Let a connection enter: at once if the profile is here, which takes no await; else when it has come."""
        identity = connection.identity
        assert identity is not None  # noqa: S101 - it has just been authenticated
        profile = connection.profile = self.profiles.hold((identity.tenant, identity.user_id))
        if profile.loaded:
            connection.enter()
            return
        self._loader.want(profile)
        if self._loader.down:
            connection.enter()
        else:
            self._waiting.setdefault(profile, []).append(connection)
            connection.hold_commands()

    def connections_of(self, identity: Identity) -> int:
        """Return how many connections a user has here, those that wait to enter among them."""
        return self.profiles.connections_of((identity.tenant, identity.user_id))

    def entered(self, connection: Connection, after: int, start: str) -> None:
        """
        Join a connection to the durable groups.

        Args:
            after: Sequence number after which it has what is in memory.
            start: The cursor after which it is to have everything.
        """
        profile = connection.profile
        if profile is None:
            return
        if not profile.loaded:
            self._owed[connection] = start
        log, hub = self._services.log, self._services.hub
        for name, since in profile.groups.items():
            added = log.sequence_of(*since)
            if added is not None:  # else the adding has not been read yet, and joins it when it is
                hub.add(connection, _GROUP + name, max(after, added))

    def unread(self, connection: Connection) -> dict[str, int]:
        """Return what `welcome` says of unread notifications."""
        profile = connection.profile
        if profile is None or profile.unread is None:
            return {}
        return {UNREAD_COUNT: profile.unread}

    def leave(self, connection: Connection) -> None:
        """A connection has ended. Idempotent."""
        profile, connection.profile = connection.profile, None
        if profile is not None:
            self._owed.pop(connection, None)
            self.profiles.release(profile, time.monotonic())

    def is_member(self, connection: Connection, group: str) -> bool:
        """Tell whether a connection's user is a durable member of a group, at this place in the log."""
        profile = connection.profile
        since = profile.groups.get(group) if profile is not None else None
        return since is not None and self._services.log.sequence_of(*since) is not None

    def member_since(self, connection: Connection, address: str) -> Membership | None:
        """Return from where on an address is a connection's by membership; None where the token names it, or none."""
        profile, identity = connection.profile, connection.identity
        if profile is None or identity is None or not address.startswith(_GROUP):
            return None
        group = address.removeprefix(_GROUP)
        return None if group in identity.groups else profile.groups.get(group)

    def chosen(self, connection: Connection) -> int:
        """Return how many groups, tags and topics a connection has, without durable groups."""
        profile = connection.profile
        durable = profile.groups if profile is not None else ()
        held = connection.addresses
        return len(held) - OWN_ADDRESSES - sum(_GROUP + name in held for name in durable)

    # What the log says.

    def changed(self, entry: Entry, data: dict[str, Any]) -> None:
        """Obey a `members` order: `to` has been added to, or removed from, `data["group"]`."""
        group, action = data["group"], data["action"]
        if not is_name(group) or action not in ("added", "removed"):
            raise ValueError("its group or its action is not one")
        since = (entry.partition, entry.position)
        for user_address in entry.to:
            profile = self.profiles.find(entry.tenant, user_address.removeprefix(_USER))
            if profile is None:
                continue  # and so no connection of the user's either
            if action == "added":
                profile.add(group, since)
            else:
                profile.remove(group, since)
            for connection in self._active(profile):
                if action == "added":
                    self._services.hub.add(connection, _GROUP + group, entry.seq)
                else:
                    self._take_away(connection, _GROUP + group, entry.seq)

    def counted(self, entry: Entry, data: dict[str, Any]) -> None:
        """Take note of an `unread_count` entry."""
        unread = data[UNREAD_COUNT]
        if type(unread) is not int or unread < 0:
            raise ValueError("its count is not one")
        for user_address in entry.to:
            profile = self.profiles.find(entry.tenant, user_address.removeprefix(_USER))
            if profile is not None:
                profile.count(unread)

    def reload(self, reason: str) -> None:
        """Something of the log was missed: load the profiles in use again, and forget the others."""
        self._gap = reason
        self._loader.distrust()
        self.profiles.forget_idle()
        for profile in self.profiles.held():
            profile.expect()
            self._loader.want(profile)

    # What the loader says.

    def _loaded(self, profile: Profile, snapshot: Snapshot) -> None:
        gained, lost = profile.take(snapshot)
        for connection in self._active(profile):
            self._catch_up(connection, profile, gained, lost)
        for connection in self._waiting.pop(profile, ()):
            connection.enter()

    def _let_in(self, profiles: Iterable[Profile]) -> None:
        """Let those enter who have waited for long enough."""
        for profile in profiles:
            for connection in self._waiting.pop(profile, ()):
                connection.enter()

    def _catch_up(self, connection: Connection, profile: Profile, gained: list[str], lost: list[str]) -> None:
        """Let a connection that is here already have, and lose, what the load has shown."""
        for name in lost:
            self._take_away(connection, _GROUP + name, self._services.log.head)
        start = self._owed.pop(connection, None)
        if start is not None and profile.unread is not None:
            self._tell_unread(connection, profile.unread)
        services = self._services
        missed = []
        for name in gained:
            address, since = _GROUP + name, profile.groups[name]
            known = address in connection.addresses or services.log.sequence_of(*since) is None
            if known or connection.state is not State.ACTIVE:
                continue
            services.hub.add(connection, address, services.fanout.position)
            if start is None:
                missed.append(address)
            else:
                until = services.log.positions_at(connection.addresses[address])
                replay_address(services, connection, address, start, until, since)
        if missed:
            connection.resync(self._gap, frozenset(missed))

    def _tell_unread(self, connection: Connection, unread: int) -> None:
        """Say what `welcome` could not."""
        data, now_ms = {UNREAD_COUNT: unread}, self._services.now_ms()
        connection.write(v1.server_frame(UNREAD_COUNT, data, message_id=secrets.token_hex(8), now_ms=now_ms))

    def _take_away(self, connection: Connection, address: str, seq: int) -> None:
        """Take an address from a connection at a place in the log. What is due to it is judged when it is written."""
        services = self._services
        after = connection.addresses.get(address)
        if after is None:
            return
        until = min(seq, connection.written_up_to(services.log))
        self.losses.append(Loss(connection.client_id, address, after, until))
        if connection.outbox:  # of this read: what came before can no longer be asked of the log
            services.fanout.write_whole(connection)
        services.hub.remove(connection, address)

    def _active(self, profile: Profile) -> list[Connection]:
        """Return the connections of a user that have entered."""
        tenant, user_id = profile.key
        found = self._services.hub.match(tenant, (_USER + user_id,))
        return [connection for connection in found if isinstance(connection, Connection)]
