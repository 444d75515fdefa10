"""
Questions to all instances: `gateway explain`, and who is connected where.

A question is a control event, so that only whoever can write the log can ask, every instance is asked, and each answers
at the same place in the order of events. The answers are collected in a short-lived list in Redis.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from gateway.entry import Entry
from gateway.services import Tasks
from gateway.store.answers import answers_from, give_answer
from gateway.store.connection import REDIS_ERRORS
from publisher import Publisher, make_event
from publisher.event import KIND_CONTROL
from publisher.keys import partition_of

_log = structlog.get_logger()

_ANSWER_WITHIN_S: Final = 5.0
_POLL_S: Final = 0.02
_LEAST_LOOKS: Final = 10  # however late it is: where this process stood still, so did the instance that lives in it
_ADDRESS: Final = "topic:questions"

Facts = dict[str, Any]
Answer = Callable[[Entry, dict[str, Any]], Facts | Awaitable[Facts]]
"""Answers a question, given its entry, whose tenant is the asker's, and its data. What is long work is awaited."""


@dataclass(frozen=True, slots=True)
class Answers:
    """
    What came of a question.

    Attributes:
        given: The answers, by instance.
        silent: The instances that live and did not answer in time.
    """

    given: Mapping[str, Facts]
    silent: tuple[str, ...]


def address_in(partition: int, partitions: int) -> str:
    """Return an address of a partition, for an order that all instances are to read there. Nobody can have it."""
    number = 0
    while partition_of(f"topic:order-{number}", partitions) != partition:
        number += 1
    return f"topic:order-{number}"


class Respondent:
    """Lets one instance answer."""

    def __init__(self, redis: Redis, instance_id: str, tasks: Tasks) -> None:
        self._redis = redis
        self._instance_id = instance_id
        self._tasks = tasks

    def order(self, answer: Answer) -> Callable[[Entry, dict[str, Any]], None]:
        """Return the order, for `Orders`, that is obeyed by answering."""

        def obey(entry: Entry, data: dict[str, Any]) -> None:
            request = str(data["request"])
            facts = answer(entry, data)  # here, at its place in the log; what is awaited is later
            self._tasks.start("answer", self._give(request, facts))

        return obey

    async def _give(self, request: str, facts: Facts | Awaitable[Facts]) -> None:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                found = facts if isinstance(facts, dict) else await facts
                await give_answer(self._redis, request, {"instance": self._instance_id, **found})
        except REDIS_ERRORS as error:  # TimeoutError among them
            _log.debug("question_not_answered", error=type(error).__name__)


async def ask(
    redis: Redis,
    publisher: Publisher,
    question: str,
    data: Mapping[str, Any],
    *,
    tenant: str,
    of: Collection[str],
    to: str = _ADDRESS,
    within_s: float,
) -> Answers:
    """
    Ask the instances, and return their answers when all of `of` have given one, or the time is over.

    Args:
        question: The control event's name.
        to: An address that chooses the partition: there, the question comes after what was published before.

    Raises:
        PublishError: It could not be asked.
        RedisError, OSError: The answers could not be read.
    """
    request = secrets.token_hex(8)
    order = make_event(question, {**data, "request": request}, to=to, tenant=tenant, kind=KIND_CONTROL)
    await publisher.submit(order)
    given: dict[str, Facts] = {}
    seen = 0
    deadline = time.monotonic() + within_s
    looks = 0
    while True:
        looks += 1
        over = time.monotonic() > deadline and looks >= _LEAST_LOOKS  # before the look: what came in time is seen
        for facts in await answers_from(redis, request, seen):
            seen += 1
            given[str(facts.get("instance"))] = facts
        silent = tuple(sorted(set(of) - given.keys()))
        if not silent or over:
            return Answers(given, silent)
        await asyncio.sleep(_POLL_S)
