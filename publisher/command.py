"""
Commands: what is sent to Redis for an event, and how its reply is read.

Pure: builds arguments, does no I/O.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from publisher import keys
from publisher.access import MAX_RULES, AccessChange
from publisher.control import Revocation
from publisher.cursor import cursor_text
from publisher.event import Event
from publisher.options import Options
from publisher.script import ACCESS, NOTIFY, PUBLISH, PUBLISH_KEPT, RECALL, REVOKE, Script

_LENGTHS_KEPT = 1_024
_LENGTHS = tuple(b"$%d" % length for length in range(_LENGTHS_KEPT))  # the lines that say how long an argument is

# Nobody writes it into the inboxes for so long: then there is no gateway any more.
WORK_TTL_MS = 7 * 24 * 3600 * 1000


class Command(NamedTuple):
    """
    One call of a script.

    Attributes:
        script: Which.
        partition: Where.
        keys: The script's KEYS, all in the partition's slot.
        arguments: The script's ARGV after the first, which is the name of a new epoch.
        key: The idempotency key, the caller's or a made one.
    """

    script: Script
    partition: int
    keys: tuple[bytes, ...]
    arguments: tuple[bytes, ...]
    key: str | None

    def wire(self, epoch: bytes, *, with_source: bool) -> bytes:
        """
        Return the bytes to send.

        Args:
            epoch: A fresh name, in case this command begins a log.
            with_source: Send the source, which Redis then remembers, in place of its digest.
        """
        name, text = (b"EVAL", self.script.source) if with_source else (b"EVALSHA", self.script.sha)
        return pack((name, text, b"%d" % len(self.keys), *self.keys, epoch, *self.arguments))

    def read(self, reply: Any) -> str:
        """
        Return the event's id from the script's reply.

        Raises:
            ValueError: The reply is not one of this script.
        """
        try:
            entry, epoch, _ = reply
            return cursor_text(entry, self.partition, epoch)
        except (TypeError, ValueError, AttributeError):
            raise ValueError(f"the script answered {reply!r:.100}") from None


def pack(arguments: tuple[bytes, ...]) -> bytes:
    """
    Return a Redis command as RESP, an array of bulk strings.

    redis-py's own packing looks at every argument's type and costs more than all else that a publish does
    here. See https://redis.io/docs/latest/develop/reference/protocol-spec/#sending-commands-to-a-redis-server
    """
    lines = [b"*%d" % len(arguments)]
    for argument in arguments:
        length = len(argument)
        lines.append(_LENGTHS[length] if length < _LENGTHS_KEPT else b"$%d" % length)
        lines.append(argument)
    lines.append(b"")
    return b"\r\n".join(lines)


class CommandBuilder:
    """Builds the commands of one publisher: knows its partitions, limits and rules about keys."""

    def __init__(self, options: Options) -> None:
        self._partitions = options.partitions
        self._maxlen = b"%d" % options.maxlen
        self._makes_keys = options.retries > 0
        self._key_ttl_ms = b"%d" % int(options.key_ttl_s * 1000)
        self._made_key_ttl_ms = b"%d" % int(options.made_key_ttl_s * 1000)
        retention_ms = int(options.history_days * 24 * 3600 * 1000)
        self._history_bounds = (b"%d" % options.history_messages, b"%d" % retention_ms)
        self._log_keys = [
            (keys.stream(partition).encode(), keys.epoch(partition).encode()) for partition in range(options.partitions)
        ]

    def publish(self, event: Event) -> Command:
        """Return the command that appends `event`; under a made key where it has none and is to be retried."""
        partition = keys.partition_of(event.first_address, self._partitions)
        key, key_names, ttl = self._idempotency(event, partition)
        script: Script = PUBLISH
        concerns: tuple[bytes, ...] = ()
        if event.history or event.recalls is not None:
            script, concerns = self._about_history(event)
            group = event.first_address.removeprefix("group:")
            key_names = (keys.history(partition, event.tenant, group).encode(), *key_names)
        return Command(
            script,
            partition,
            self._log_keys[partition] + key_names,
            (self._maxlen, ttl, *concerns, *event.fields),
            key,
        )

    def _about_history(self, event: Event) -> tuple[Script, tuple[bytes, ...]]:
        """Return the script that changes a history, and what it is told beside what PUBLISH is."""
        if event.recalls is None:
            return PUBLISH_KEPT, self._history_bounds
        entry_id, epoch = event.recalls
        return RECALL, (entry_id.encode(), epoch.encode())

    def revoke(self, revocation: Revocation) -> Command:
        """Return the command that remembers and announces `revocation`, always in partition 0."""
        key, key_names, ttl = self._idempotency(revocation.event, 0)
        lasts_ms = b"%d" % int(revocation.lasts_s * 1000)
        return Command(
            REVOKE,
            0,
            (*self._log_keys[0], keys.revocations(0).encode(), *key_names),
            (self._maxlen, ttl, revocation.member, lasts_ms, *revocation.event.fields),
            key,
        )

    def notify(self, event: Event) -> Command:
        """Return the command that appends a notification, and the work of writing it into the inboxes."""
        partition = keys.partition_of(event.first_address, self._partitions)
        key, key_names, ttl = self._idempotency(event, partition, keys.notify_idempotency)
        return Command(
            NOTIFY,
            partition,
            (*self._log_keys[partition], keys.inbox_work(partition).encode(), *key_names),
            (self._maxlen, ttl, b"%d" % WORK_TTL_MS, b"%d" % partition, *event.fields),
            key,
        )

    def access(self, change: AccessChange) -> Command:
        """Return the command that remembers and announces an address rule, always in partition 0."""
        key, key_names, ttl = self._idempotency(change.event, 0)
        lasts_ms = b"%d" % int(change.lasts_s * 1000)
        rule = (change.action.encode(), change.network.encode(), lasts_ms, b"%d" % MAX_RULES)
        return Command(
            ACCESS,
            0,
            (*self._log_keys[0], keys.access_rules(0).encode(), *key_names),
            (self._maxlen, ttl, *rule, *change.event.fields),
            key,
        )

    @property
    def partitions(self) -> int:
        """How many streams make up the log."""
        return self._partitions

    @property
    def maxlen(self) -> bytes:
        """About how many entries a stream keeps at most."""
        return self._maxlen

    def log_keys(self, partition: int) -> tuple[bytes, bytes]:
        """Return the keys of a partition's stream and of its epoch."""
        return self._log_keys[partition]

    def idempotency(self, event: Event, partition: int) -> tuple[str | None, tuple[bytes, ...], bytes]:
        """Return the idempotency key of an event, one made for it where it is to be retried: its Redis key, its ttl."""
        return self._idempotency(event, partition)

    def _idempotency(
        self, event: Event, partition: int, name: Callable[[int, str, str], str] = keys.idempotency
    ) -> tuple[str | None, tuple[bytes, ...], bytes]:
        key, ttl = event.key, self._key_ttl_ms
        if key is None:
            if not self._makes_keys or event.repeatable:
                return None, (), ttl
            # Random every time: a counter would repeat itself after a fork, and the child's events would be
            # dropped.
            key, ttl = secrets.token_hex(12), self._made_key_ttl_ms
        return key, (name(partition, event.tenant, key).encode(),), ttl
