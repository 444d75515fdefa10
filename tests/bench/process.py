"""
Child processes: started on their cores, spoken to by lines, read from /proc, and stopped whatever happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE_BYTES = resource.getpagesize()
STOP_TIMEOUT_S = 5.0
PR_SET_PDEATHSIG = 1
REPOSITORY = Path(__file__).parents[2]

_libc = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """The bench cannot go on; the message says what a reader can do about it."""


class Child:
    """One child process in a session of its own, so that Ctrl-C reaches the harness alone."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cores: set[int],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._cores = cores
        self._log = log
        self._unread = b""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=REPOSITORY,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                preexec_fn=self._prepare,
            )
        self.pid = self._process.pid

    def _prepare(self) -> None:
        os.sched_setaffinity(0, self._cores)
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def tell(self, line: str) -> None:
        """Write one line to its stdin."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"{self.name} has ended: {self.last_words()}") from None

    def hear(self, event: str, timeout_s: float) -> dict[str, Any]:
        """
        Read its stdout up to the JSON line of that event.

        Raises:
            BenchError: It reported a failure, or ended.
            TimeoutError: The event did not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            message = json.loads(self._read_line(deadline))
            if message["event"] == "failed":
                raise BenchError(f"{self.name}: {message['message']}")
            if message["event"] == event:
                return message

    def ask(self, line: str, event: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """Write a line, and wait for the event that answers it."""
        self.tell(line)
        return self.hear(event, timeout_s)

    def drain_output(self) -> None:
        """Throw away what it has printed, so that its pipe never fills."""
        while select.select([self._process.stdout], [], [], 0)[0] and os.read(self._stdout, 1 << 16):
            pass

    @property
    def _stdout(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _read_line(self, deadline: float) -> bytes:
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.name} did not answer in time")
            chunk = os.read(self._stdout, 1 << 16)
            if not chunk:
                raise BenchError(f"{self.name} has ended: {self.last_words()}")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Return the end of what it has written to stderr."""
        return self._log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def stop(self) -> None:
        """Stop the process and all that it started: politely, then not. May be called twice."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its descendants have used: processor time, and time spent waiting for it."""

    cpu_s: float
    waited_s: float

    def since(self, earlier: Usage) -> Usage:
        return Usage(self.cpu_s - earlier.cpu_s, self.waited_s - earlier.waited_s)


def usage(pid: int) -> Usage:
    """Read the scheduler's own account, in nanoseconds; /proc/PID/stat counts ticks of 10 ms."""
    cpu_ns = waited_ns = 0
    for process in family(pid):
        for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
            cpu, waited, _ = path.read_text().split()
            cpu_ns += int(cpu)
            waited_ns += int(waited)
    return Usage(cpu_ns / 1e9, waited_ns / 1e9)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    return sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES for process in family(pid))


def family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield from family(int(child))
