"""What a publisher can be told, checked once, and the waits that follow from it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from publisher.event import MAX_EVENT_BYTES

MAX_BATCH = 512
MAX_PARTITIONS = 64
"""Streams of a log; the gateways' settings have the same bound."""

_COUNTS = ("partitions", "maxlen", "max_event_bytes", "max_queue", "history_messages")
_DURATIONS = ("timeout_s", "key_ttl_s", "history_days")
_LONGEST = 10**9  # Redis counts milliseconds in 64 bits; even as days these fit

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
# A key that the publisher makes has to outlive every try of its event, on a server that stood still for a
# while too.
_MADE_KEY_TTL_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """
    The options that both publishers share.

    Attributes:
        partitions: How many streams make up the log, at most `MAX_PARTITIONS`. The same number everywhere, gateways
            included.
        maxlen: About how many entries a stream keeps at most.
        timeout_s: An event is stored, refused or given up within this time, all tries included.
        retries: How often to try again, under an idempotency key, what was refused for now or had no answer.
        key_ttl_s: How long a caller's idempotency key is remembered.
        max_event_bytes: Refuse a larger event.
        max_queue: Of the asyncio publisher: how many events of a partition may wait to be sent.
        history_messages, history_days: How many events a group's history holds at most, and for how long.
    """

    partitions: int = 1
    maxlen: int = 1_000_000
    timeout_s: float = 5.0
    retries: int = 3
    key_ttl_s: float = 600.0
    max_event_bytes: int = MAX_EVENT_BYTES
    max_queue: int = 10_000
    history_messages: int = 1_000
    history_days: float = 30.0

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _check_whole(name, getattr(self, name), least=1)
        _check_whole("retries", self.retries, least=0)
        if self.partitions > MAX_PARTITIONS:
            raise ValueError(f"partitions is {self.partitions!r:.40}: a log has at most {MAX_PARTITIONS}")
        for name in _DURATIONS:
            _check_duration(name, getattr(self, name))

    @property
    def attempt_timeout_s(self) -> float:
        """How long one try may take: all of them fit into `timeout_s`, so that a dead connection costs only one."""
        return self.timeout_s / (self.retries + 1)

    @property
    def made_key_ttl_s(self) -> float:
        """How long a key that the publisher made itself is remembered."""
        return max(_MADE_KEY_TTL_S, 4 * self.timeout_s)


def _check_whole(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r:.40}: use a whole number, {least} or more")


def _check_duration(name: str, value: object) -> None:
    # `not <` also refuses NaN.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _LONGEST:
        raise ValueError(f"{name} is {value!r:.40}: use a positive number, at most {_LONGEST}")


def pause_s(retry: int) -> float:
    """
    Return how long to wait before the given retry, counted from 1: doubling, jittered so that publishers
    spread.
    """
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * (1 << min(retry - 1, 10)))
    return longest * random.uniform(0.5, 1.0)
