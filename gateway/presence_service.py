"""
The presence service: tells Redis who is here, and clears up after instances that have died.

One task. Every fifth of a second it tells what has changed, in batches; every few seconds it says that this instance
lives, looks whether Redis still has what it was told, and who of the others is silent. What cannot be told is kept, as
a difference, so an outage costs nothing but time.

An instance is dead once its lease is gone and it has been silent for several looks in a row: looks, not seconds,
because while Redis stands still everybody is silent.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.presence import AT_A_TIME, Change, Tracker
from gateway.store.connection import REDIS_ERRORS
from gateway.store.presence import SETTLING, Beat, PresenceStore
from publisher.failure import describe

_log = structlog.get_logger()

_BATCH: Final = 256
_LOOKS: Final = 4
_RENEW_EVERY_S: Final = 300.0  # a third of what a hash lives
_LONGEST_PAUSE_S: Final = 2.0
_END_WITHIN_S: Final = 5.0
_GIVE_UP_AFTER_S: Final = 1.0  # the same, where Redis did not answer before either


@dataclass(slots=True)
class _Partition:
    """What Redis should have of us in one partition: if it has something else, it has lost something."""

    epoch: str
    number: int
    held: int


class PresenceService:
    """
    Keeps Redis in step with `tracker`, for as long as `run` runs.

    Args:
        flush_every_s: How often changes are told.
        beat_every_s: How often the instance says that it lives, and looks who else does.
        inherited_grace_s: How long the users of a process that died under this instance's id have to come back.
    """

    def __init__(
        self,
        tracker: Tracker,
        store: PresenceStore,
        instance_id: str,
        *,
        flush_every_s: float = 0.2,
        beat_every_s: float = 2.5,
        inherited_grace_s: float = 10.0,
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._instance_id = instance_id
        self._flush_every_s = flush_every_s
        self._beat_every_s = beat_every_s
        self._inherited_grace_s = inherited_grace_s
        self._settle_s = 2 * beat_every_s + 1.0  # by then everybody has noticed that Redis forgot
        self._numbers = itertools.count(1)
        self._partitions: dict[int, _Partition] = {}
        self._silent: dict[tuple[int, str], tuple[str, int]] = {}  # what stood there, and at how many looks in a row
        self._beat_at = 0.0
        self._renew_at = time.monotonic() + _RENEW_EVERY_S
        self._failures = 0
        self._talking = asyncio.Lock()
        self._ended = False

    async def begin(self) -> None:
        """Begin, before anybody connects: take over what a process that died under this id has left. Raises errors."""
        for partition in range(self._store.partitions):
            await self._claim(partition, leave_at=time.monotonic() + self._inherited_grace_s)

    async def run(self) -> None:
        """Tell, and look, until cancelled or ended."""
        while not self._ended:
            await asyncio.sleep(min(_LONGEST_PAUSE_S, self._flush_every_s * 2 ** min(self._failures, 8)))
            async with self._talking:
                if not self._ended:
                    await self._try()

    async def end(self) -> None:
        """Tell that nobody is here any more, and be gone; within a few seconds, or leave it to the others."""
        self._ended = True
        try:
            async with asyncio.timeout(_GIVE_UP_AFTER_S if self._failures else _END_WITHIN_S), self._talking:
                self._tracker.end()
                await self._flush()
                for partition in self._partitions:
                    await self._store.apply(partition, self._instance_id, [], number=next(self._numbers), forget=True)
        except REDIS_ERRORS as error:  # TimeoutError is an OSError
            _log.warning("presence_not_removed", error=describe(error))

    async def _try(self) -> None:
        try:
            await self._flush()
            if time.monotonic() >= self._beat_at:
                await self._beat()
                self._beat_at = time.monotonic() + self._beat_every_s
        except REDIS_ERRORS as error:
            if not self._failures:
                _log.warning("presence_unavailable", error=describe(error))
            self._failures += 1
            self._silent.clear()  # a look that fails says nothing of the others
        else:
            self._failures = 0

    # Telling.

    async def _flush(self) -> None:
        """Tell what has changed until now. What changes meanwhile is told next time: in a storm a lot, and at once."""
        more = True
        while more:
            changes = self._tracker.take(time.monotonic())
            more = len(changes) == AT_A_TIME
            if changes and not await self._tell(changes):
                self._beat_at = 0.0  # somebody else speaks for us: see at once why
                return

    async def _tell(self, changes: Sequence[Change]) -> bool:
        """Tell changes; what Redis may not have is put back. False where somebody else speaks for us."""
        batches = deque(self._batches(changes))
        try:
            while batches and await self._apply(*batches[0]):
                self._tracker.settle(batches.popleft()[1])
        finally:
            for _, batch in batches:
                self._tracker.put_back(batch)
        return not batches

    def _batches(self, changes: Sequence[Change]) -> Iterator[tuple[int, Sequence[Change]]]:
        """Yield changes by partition, in parts."""
        places: dict[int, list[Change]] = {}
        for change in changes:
            places.setdefault(self._store.partition(change.mark[:2]), []).append(change)
        for partition, of_one in places.items():
            for batch in _parts(of_one):
                yield partition, batch

    async def _apply(self, partition: int, batch: Sequence[Change]) -> bool:
        number = next(self._numbers)
        held = await self._store.apply(partition, self._instance_id, batch, number=number)
        if held is None:
            return False
        state = self._partitions[partition]
        state.number, state.held = number, held
        return True

    # Looking.

    async def _beat(self) -> None:
        for partition, state in list(self._partitions.items()):
            beat = await self._store.beat(partition, self._instance_id)
            state.epoch = state.epoch or beat.epoch  # the log has only just begun
            if beat.mine and (beat.epoch, beat.number, beat.held) == (state.epoch, state.number, state.held):
                await self._bury(partition, beat)
            elif beat.epoch:  # else there is no log yet to begin from
                await self._tell_again(partition, lost=beat.epoch != state.epoch)
        if time.monotonic() >= self._renew_at:
            if not await self._store.renew(self._tracker.scopes()):
                self._tracker.tell_again(self._tracker.scopes(), aloud=True)
            self._renew_at = time.monotonic() + _RENEW_EVERY_S

    async def _tell_again(self, partition: int, *, lost: bool) -> None:
        """
        Bring Redis and us together again.

        Args:
            lost: The log has begun anew: then all clients reload, and those who are here still have not come. Else
                somebody took us for dead and said so.
        """
        _log.warning("presence_told_again", partition=partition, lost=lost)
        settled_at = time.monotonic() + self._settle_s
        await self._claim(partition, leave_at=settled_at, settle_s=self._settle_s if lost else 0.0)
        concerned = [scope for scope in self._tracker.scopes() if self._store.partition(scope) == partition]
        if lost:
            self._tracker.tell_again(concerned, aloud=False, leaves_after=settled_at)
        else:
            self._tracker.tell_again(concerned, aloud=True)

    async def _claim(self, partition: int, *, leave_at: float, settle_s: float = 0.0) -> None:
        number = next(self._numbers)
        claim = await self._store.claim(partition, self._instance_id, number=number, settle_s=settle_s)
        assert claim is not None  # noqa: S101 - there was no condition
        if claim.held:
            async for marks in self._store.held(partition, self._instance_id):
                self._tracker.adopt(marks, leave_at)
        self._partitions[partition] = _Partition(claim.epoch, number, claim.held)

    # The dead.

    async def _bury(self, partition: int, beat: Beat) -> None:
        """Remove what the dead hold, and announce that they leave."""
        others = {name: said for name, said in beat.instances.items() if name not in (self._instance_id, SETTLING)}
        suspects = []
        for name, said in others.items():
            before, looks = self._silent.get((partition, name), ("", 0))
            looks = looks + 1 if said == before else 1
            self._silent[partition, name] = said, looks
            if looks >= _LOOKS:
                suspects.append(name)
        for key in [key for key in self._silent if key[0] == partition and key[1] not in others]:
            del self._silent[key]
        if suspects:
            for name in set(suspects) - await self._store.leased(suspects):
                await self._bury_one(partition, name, others[name])

    async def _bury_one(self, partition: int, name: str, said: str) -> None:
        number = next(self._numbers)
        claim = await self._store.claim(partition, name, number=number, instead_of=said)
        if claim is None:
            return  # another instance was faster, or it lives
        async for marks in self._store.held(partition, name):
            for batch in _parts([Change(mark, here=False, aloud=True) for mark in marks]):
                if await self._store.apply(partition, name, batch, number=next(self._numbers)) is None:
                    return  # it lives
        await self._store.apply(partition, name, [], number=next(self._numbers), forget=True)
        _log.info("presence_of_the_dead_removed", partition=partition, instance=name, held=claim.held)


def _parts(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    for start in range(0, len(changes), _BATCH):
        yield changes[start : start + _BATCH]
