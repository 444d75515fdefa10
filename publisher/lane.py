"""
Lanes: one partition's queue, and the task that empties it, a pipeline at a time (asyncio).

Whatever was queued when a pipeline ends leaves together in the next: the busier, the larger the pipelines.
There is no task per event, and none while there is nothing to send.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from publisher.command import Command
from publisher.delivery import Request, delivery
from publisher.errors import PublishError, PublishUnavailable
from publisher.link import Link
from publisher.options import MAX_BATCH, Options


class Waiting(Request):
    """A request that somebody waits for."""

    __slots__ = ("future",)

    def __init__(self, command: Command, deadline: float, future: asyncio.Future[str]) -> None:
        super().__init__(command, deadline)
        self.future = future

    @property
    def settled(self) -> bool:
        """Whether there is nothing more to do; so too when nobody waits any more."""
        return self.future.done()

    def settle(self, outcome: str | PublishError) -> None:
        """Give the outcome to whoever waits, unless they have left."""
        if self.future.done():
            return
        if isinstance(outcome, PublishError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Posted(Request):
    """A request whose outcome somebody is told, once."""

    __slots__ = ("_loop", "_then")

    def __init__(
        self,
        command: Command,
        deadline: float,
        loop: asyncio.AbstractEventLoop,
        then: Callable[[str | PublishError], None],
    ) -> None:
        super().__init__(command, deadline)
        self._loop, self._then = loop, then

    def settle(self, outcome: str | PublishError) -> None:
        """Tell the outcome. Whatever comes of that concerns no other request."""
        if self.outcome is None:
            self.outcome = outcome
            try:
                self._then(outcome)
            except Exception as error:
                self._loop.call_exception_handler({"message": "told of a publish, it failed", "exception": error})


class Lane:
    """
    The events of one partition on their way to Redis, in the order in which they were queued.

    Order is kept within a lane but for an event that has to be sent again. Cancelling a future takes the
    event out as long as it is not sent; it never touches the pipeline that carries it.
    """

    def __init__(self, link: Link, options: Options, name: str) -> None:
        self._link = link
        self._options = options
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Request] = deque()
        self._turns: deque[asyncio.Future[None]] = deque()  # of those who wait for room
        self._open: deque[Request] = deque()  # queued or sent, the oldest on the left
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, command: Command) -> asyncio.Future[str]:
        """
        Queue a command.

        Raises:
            PublishError: It is another event loop's.
            PublishUnavailable: The queue is full.
        """
        waiting = self._wait_for(command)
        self._enqueue(waiting)
        return waiting.future

    def post(self, command: Command, then: Callable[[str | PublishError], None]) -> None:
        """
        Queue a command, and tell `then` its outcome. Costs no future, and no turn of the loop.

        Raises:
            PublishError: It is another event loop's.
            PublishUnavailable: The queue is full.
        """
        self._enqueue(Posted(command, self._loop.time() + self._options.timeout_s, self._loop, then))

    def _enqueue(self, request: Request) -> None:
        if self._task is None:  # else it runs, and so does its loop: asked once a pipeline, not once an event
            self._check_loop()
        if self._is_full():
            raise self._full()
        self._queue.append(request)
        self._start(request)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise PublishError(
                "the publisher belongs to the event loop that first used it, and this is another: "
                "make one for each asyncio.run"
            )

    async def put(self, command: Command) -> asyncio.Future[str]:
        """
        Queue a command as soon as there is room.

        Raises:
            PublishUnavailable: There was none in time.
        """
        if not self._is_full():
            return self.submit(command)
        waiting = self._wait_for(command)
        try:
            async with asyncio.timeout_at(waiting.deadline):
                while self._is_full():
                    await self._turn()
        except TimeoutError:
            raise self._full() from None
        self._enqueue(waiting)
        return waiting.future

    async def _turn(self) -> None:
        """Wait for one's turn to look whether there is room."""
        turn = self._loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was given, and is another's now
                self._give_turns(1)
            raise

    def _give_turns(self, count: int) -> None:
        while count and self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    def _is_full(self) -> bool:
        return len(self._queue) >= self._options.max_queue

    async def close(self) -> None:
        """Send what is queued, then stop; what is not settled within `timeout_s` is given up."""
        if self._task is not None:
            task = self._task
            await asyncio.wait({task}, timeout=self._options.timeout_s)
            task.cancel()
            await asyncio.wait({task})
        for waiting in self._open:
            waiting.give_up()
        self._settle_up()

    def _wait_for(self, command: Command) -> Waiting:
        return Waiting(command, self._loop.time() + self._options.timeout_s, self._loop.create_future())

    def _full(self) -> PublishUnavailable:
        return PublishUnavailable(f"{self._options.max_queue} events wait to be sent; nothing of this one was stored")

    def _start(self, waiting: Request) -> None:
        self._open.append(waiting)
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name=self._name)
        self._arm(waiting.deadline)

    def _arm(self, deadline: float) -> None:
        if self._timer is None or deadline < self._timer.when():
            self._disarm()
            self._timer = self._loop.call_at(deadline, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        try:
            while batch := self._collect():
                await self._deliver(batch)
                self._settle_up()
        finally:
            self._task = None

    def _collect(self) -> list[Request]:
        """Take what is queued, as much as goes into one pipeline."""
        queue = self._queue
        batch: list[Request] = []
        while queue and not batch:
            taken = [queue.popleft() for _ in range(min(MAX_BATCH, len(queue)))]
            batch = [request for request in taken if not request.settled]
            self._give_turns(len(taken))
        return batch

    async def _deliver(self, batch: Sequence[Request]) -> None:
        try:
            for step in delivery(batch, self._options, self._loop.time):
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    await self._link.run(step)
        except Exception as error:  # the task's boundary: a bug must not leave anybody waiting
            for waiting in batch:
                waiting.problem = error
                waiting.give_up()

    def _expire(self) -> None:
        """Give up what is over its deadline, though a pipeline with it, or before it, is still on its way."""
        self._timer = None
        now = self._loop.time()
        for waiting in self._open:
            if waiting.deadline <= now:
                waiting.give_up()
        self._settle_up()
        if self._open:
            self._arm(min(waiting.deadline for waiting in self._open))

    def _settle_up(self) -> None:
        """Forget what is settled."""
        while self._open and self._open[0].settled:
            self._open.popleft()
        if not self._open:
            self._disarm()
