"""
Lines that are typed, or come through a pipe, while a loop runs.

A thread reads them: asyncio's own way makes a terminal non-blocking, its output too, and does not read files. It reads
below `sys.stdin`, whose lock it would otherwise hold when the interpreter ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Final

_MOST_WAITING: Final = 1_000


class TypedLines:
    """
    The lines of standard input, from when `start` is called; none where it is closed.

    Attributes:
        interactive: A person types them, so their end is the end of the program.
    """

    def __init__(self) -> None:
        self.interactive = sys.stdin is not None and sys.stdin.isatty()
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(_MOST_WAITING)

    def start(self) -> None:
        """Begin to read."""
        if sys.stdin is not None:  # else the number may belong to a socket by now
            threading.Thread(target=self._read, args=(sys.stdin.fileno(),), daemon=True, name="stdin").start()

    async def lines(self) -> AsyncIterator[str]:
        """Yield each line without its end; ends with standard input if that is a terminal, else never."""
        while (line := await self._lines.get()) is not None:
            self._room.release()
            yield line
        if not self.interactive:
            await asyncio.Event().wait()

    def _read(self, descriptor: int) -> None:
        pending = b""
        with contextlib.suppress(OSError):  # a terminal that was hung up
            while data := os.read(descriptor, 65_536):
                *complete, pending = (pending + data).split(b"\n")
                for line in complete:
                    self._give(line)
        if pending:
            self._give(pending)
        self._put(None)

    def _give(self, line: bytes) -> None:
        self._room.acquire()
        self._put(line.decode(errors="replace").strip())

    def _put(self, line: str | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
