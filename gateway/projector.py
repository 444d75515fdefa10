"""
The projector: writes the notifications of the log into the inboxes of their users.

Every instance that holds sockets runs one for each partition; together they are the consumers of one group, so each
notification is taken by one of them. Exactly once although any of them may die at any moment: the script that writes
an inbox acknowledges the work in the same step, and does nothing where that has been done. So work may be tried
again, here after an error, or elsewhere once it has lain for `CLAIM_IDLE_S`.

It survives every failure of Redis. Work that can never be done is logged once, acknowledged and dropped.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

import structlog
from redis.exceptions import ResponseError

from gateway.errors import PoisonEntry
from gateway.metrics import Metrics
from gateway.store.connection import REDIS_ERRORS
from gateway.store.inbox_work import RawWork, Work, WorkStream, Written
from publisher.failure import Failure, failure_of

_log = structlog.get_logger()

BLOCK_S: Final = 2.0
CLAIM_IDLE_S: Final = 10.0

_READ_COUNT: Final = 64
# What goes into one round trip. Redis does all of it before it turns to others: a hundred inboxes take it 5 ms.
_MOST_AT_ONCE: Final = 32
_MOST_USERS_AT_ONCE: Final = 100
_CLAIM_EVERY_S: Final = 3.0
_PRUNE_EVERY_S: Final = 600.0
_GONE_FOR_S: Final = 3_600.0
_LONGEST_PAUSE_S: Final = 1.0
_MOST_TRIES: Final = 5  # of work that Redis refuses for what it is


class Projector:
    """
    Does one instance's part of one partition's work, for as long as `run` runs.

    Args:
        keeps: Whether notifications are kept; without it they are pushed only, and the work is cleared away.

    Attributes:
        backlog: How many notifications waited to be written, by whomever, a few seconds ago.
    """

    def __init__(self, stream: WorkStream, partition: int, metrics: Metrics, *, keeps: bool = True) -> None:
        self.backlog = 0
        self._stream = stream
        self._partition = partition
        self._metrics = metrics
        self._keeps = keeps
        self._tries: dict[bytes, int] = {}
        self._failures = 0
        self._problem: str | None = None
        self._claim_at = 0.0
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self._stream.join()
                await self._finish_own()
                await self._follow()
            except REDIS_ERRORS as error:
                self._failed(error)
            longest = min(_LONGEST_PAUSE_S, 0.05 * 2 ** min(self._failures, 6))
            await asyncio.sleep(random.uniform(0.5, 1.0) * longest)

    async def _follow(self) -> None:
        while True:
            if time.monotonic() >= self._claim_at:
                await self._claim()
            raw = await self._stream.read(_READ_COUNT, int(BLOCK_S * 1000))
            self._recovered()
            await self._do(raw)

    async def _finish_own(self) -> None:
        """Do what was taken and not done: before an error, or before this process began."""
        while raw := await self._stream.own(_READ_COUNT):
            await self._do(raw)

    async def _claim(self) -> None:
        """Do what others have left behind, and forget those of them that are gone."""
        while raw := await self._stream.claim(int(CLAIM_IDLE_S * 1000), _READ_COUNT):
            _log.info("inbox_work_claimed", partition=self._partition, count=len(raw))
            await self._do(raw)
        self.backlog = await self._stream.backlog()
        now = time.monotonic()
        # Jittered, so that instances do not all look at once.
        self._claim_at = now + _CLAIM_EVERY_S * random.uniform(0.7, 1.3)
        if now >= self._prune_at:
            await self._stream.prune(int(_GONE_FOR_S * 1000))
            self._prune_at = now + _PRUNE_EVERY_S

    async def _do(self, raw: Sequence[RawWork]) -> None:
        works = [work for one in raw if (work := await self._understood(one)) is not None]
        for part in _parts(works):
            outcomes = await self._stream.project(part)
            for work, outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Written):
                    self._done(work, outcome)
                else:
                    await self._refused(work, outcome)

    async def _understood(self, raw: RawWork) -> Work | None:
        """Return work that is to be done; clear other work away."""
        work_id, fields = raw
        if fields and self._keeps:
            try:
                return self._stream.decode(raw)
            except PoisonEntry as poison:
                self._poison(work_id, str(poison))
        await self._stream.drop(work_id)
        return None

    def _done(self, work: Work, outcome: Written) -> None:
        self._tries.pop(work.work_id, None)
        if outcome.done:
            self._metrics.notifications += len(work.users) - len(outcome.failures)
        for user, problem in outcome.failures:
            _log.error("inbox_unusable", tenant=work.tenant, user=user, problem=problem[:200])

    async def _refused(self, work: Work, error: Exception) -> None:
        """Try again later; but not for ever what is refused for what it is, or nothing else would be done."""
        tries = self._tries.pop(work.work_id, 0) + 1
        # Not its subclasses: that we lack a right, or a script is unknown, says nothing of this work.
        if type(error) is not ResponseError or failure_of(error) is not Failure.PERMANENT or tries < _MOST_TRIES:
            self._tries[work.work_id] = tries
            raise error
        self._poison(work.work_id, str(error))
        await self._stream.drop(work.work_id)

    def _poison(self, work_id: bytes, problem: str) -> None:
        self._metrics.poison += 1
        _log.error("poison_notification", work=work_id.decode("ascii", "replace"), problem=problem[:200])

    def _recovered(self) -> None:
        self._failures = 0
        if self._problem is not None:
            _log.info("inbox_work_reached", partition=self._partition, after=self._problem)
            self._problem = None

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._metrics.redis_errors[type(error).__name__] += 1
        problem = f"{type(error).__name__} {str(error).partition(' ')[0]}"
        if self._problem != problem:  # one line per change, not per try
            _log.warning("inbox_work_unreachable", partition=self._partition, error=problem, detail=str(error)[:200])
        self._problem = problem


def _parts(works: Sequence[Work]) -> Iterator[list[Work]]:
    """Cut work into round trips; what is too much for one goes alone."""
    part: list[Work] = []
    users = 0
    for work in works:
        users += len(work.users)
        if part and (users > _MOST_USERS_AT_ONCE or len(part) == _MOST_AT_ONCE):
            yield part
            part, users = [], len(work.users)
        part.append(work)
    if part:
        yield part
