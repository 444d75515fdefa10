"""
Sharing: one read for all who ask the same thing at once, such as the clients that come back after a failure.

Nobody gets an answer that was read before they asked: those who come while a read is under way share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Question(Generic[T]):
    """
    One question that is being asked.

    Attributes:
        asking: How many callers there are.
        begun: How many reads have begun.
        answered: Which of them `answer` is from.
    """

    __slots__ = ("answer", "answered", "asking", "begun", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.asking = 0
        self.begun = 0
        self.answered = 0
        self.answer: T | Exception | None = None


class Shared(Generic[T]):
    """Reads, shared by those who ask for the same `key`."""

    def __init__(self) -> None:
        self._questions: dict[Hashable, _Question[T]] = {}

    async def ask(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what `read` returns, or raise what it raises; the result is others' as well: do not change it."""
        question = self._questions.setdefault(key, _Question())
        before = question.begun
        question.asking += 1
        try:
            async with question.lock:
                if question.answered <= before:
                    await self._read(question, read)
                answer = question.answer
        finally:
            question.asking -= 1
            if not question.asking:
                del self._questions[key]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    async def _read(self, question: _Question[T], read: Callable[[], Awaitable[T]]) -> None:
        question.begun += 1
        try:
            question.answer = await read()
        except Exception as error:  # for all who wait: each trying for itself would take as many timeouts
            question.answer = error
        question.answered = question.begun
