"""One read for all who ask at once, none of them older than its question."""

from __future__ import annotations

import asyncio

import pytest

from gateway.store.sharing import Shared


class Reads:
    """A read that ends when it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.count += 1
        number = self.count
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


async def asked(shared: Shared[int], read: Reads, times: int, key: str = "key") -> list[asyncio.Task[int]]:
    """Ask so many times, and let each go as far as it can."""
    tasks = [asyncio.create_task(shared.ask(key, read)) for _ in range(times)]
    await asyncio.sleep(0)
    return tasks


async def test_those_who_come_during_a_read_share_the_next() -> None:
    shared, read = Shared[int](), Reads()
    first = await asked(shared, read, 1)
    late = await asked(shared, read, 100)
    read.gate.set()
    assert await asyncio.gather(*first) == [1]
    assert await asyncio.gather(*late) == [2] * 100
    assert read.count == 2
    assert shared._questions == {}


async def test_another_question_is_another_read() -> None:
    shared, read = Shared[int](), Reads()
    tasks = [*await asked(shared, read, 1, "one"), *await asked(shared, read, 1, "other")]
    assert read.count == 2
    read.gate.set()
    assert await asyncio.gather(*tasks) == [1, 2]


async def test_a_question_asked_later_is_read_anew() -> None:
    shared, read = Shared[int](), Reads()
    read.gate.set()
    assert [await shared.ask("key", read) for _ in range(3)] == [1, 2, 3]


async def test_a_failure_is_everybodys_who_waited_and_nobody_elses() -> None:
    shared, read = Shared[int](), Reads()
    tasks = [*await asked(shared, read, 1), *await asked(shared, read, 5)]
    read.error = OSError("gone")
    read.gate.set()
    assert {str(error) for error in await asyncio.gather(*tasks, return_exceptions=True)} == {"gone"}
    assert read.count == 2
    read.error = None
    assert await shared.ask("key", read) == 3


async def test_one_who_no_longer_waits_does_not_take_the_others_with_it() -> None:
    shared, read = Shared[int](), Reads()
    reading, *waiting = [*await asked(shared, read, 1), *await asked(shared, read, 3)]
    reading.cancel()
    waiting[0].cancel()
    read.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [2, 2]
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert shared._questions == {}
