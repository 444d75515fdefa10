"""
Programs as a shell runs them: with pipes, or on a terminal of their own.

    async with Terminal(["make", "run"], cwd=folder) as terminal:
        await terminal.shows("WebSocket")
        terminal.press(CTRL_C)
        assert await terminal.ended() == 130
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_until

CTRL_C = b"\x03"
CTRL_D = b"\x04"

_ROOT = Path(__file__).parents[2]
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")

# A session of its own, with standard input as its terminal: Ctrl-C then reaches whom it would reach in a shell.
_ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def clean_environment(**variables: str) -> dict[str, str]:
    """Return our environment without what would configure a gateway or a publisher, and with `variables`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "TIDEGATE_"))}
    inherited.pop("NO_COLOR", None)
    return {**inherited, "PYTHONPATH": str(_ROOT), "TERM": "xterm", **variables}


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended."""

    status: int
    out: str
    err: str


async def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    stdin: bytes | None = b"",
    timeout_s: float = 60,
) -> Done:
    """Run a program to its end, with pipes; `stdin=None` closes its standard input."""
    if stdin is None:
        command = ["sh", "-c", 'exec "$@" <&-', "sh", *map(str, command)]
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=cwd,
        env=dict(environ),
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"{command} did not end:\n{out.decode()}\n{err.decode()}") from None
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return Done(process.returncode, out.decode(), err.decode())


class Piped:
    """A program that runs on, with pipes: what it prints is read as it comes. It `fails` where tracebacks are meant."""

    def __init__(
        self, command: Sequence[str | Path], *, cwd: Path, environ: Mapping[str, str], fails: bool = False
    ) -> None:
        self._command = [str(part) for part in command]
        self._fails = fails
        self._cwd = cwd
        self._environ = dict(environ)
        self._process: asyncio.subprocess.Process
        self._readers: list[asyncio.Task[None]] = []
        self.out = ""
        self.err = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            cwd=self._cwd,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [asyncio.create_task(self._read("out")), asyncio.create_task(self._read("err"))]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await asyncio.gather(*self._readers)
        assert self._fails or "Traceback" not in self.err, self.err

    async def _read(self, name: str) -> None:
        stream = getattr(self._process, f"std{name}")
        while data := await stream.read(65_536):
            setattr(self, name, getattr(self, name) + data.decode(errors="replace"))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lines(self) -> list[str]:
        """Return the complete lines of standard output."""
        return self.out.split("\n")[:-1]

    def write(self, text: str) -> None:
        """Send text to standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())

    def close_input(self) -> None:
        """End its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close_output(self) -> None:
        """Read no more of its standard output, as `head` does when it has had enough."""
        transport = self._process._transport  # type: ignore[attr-defined]
        transport.get_pipe_transport(1).close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.terminate()

    async def shows(self, text: str, *, err: bool = False, timeout_s: float = 60) -> None:
        """Wait until it has printed `text`."""
        with self._explained():
            await wait_until(lambda: text in (self.err if err else self.out), timeout_s)

    async def ended(self, timeout_s: float = 60) -> int:
        """Wait for its end; return the exit status."""
        with self._explained():
            async with asyncio.timeout(timeout_s):
                status = await self._process.wait()
                await asyncio.gather(*self._readers)
                return status

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"{error}\n--- out\n{self.out}\n--- err\n{self.err}") from None


class Terminal:
    """A program on a terminal of its own, 100 columns wide."""

    def __init__(self, command: Sequence[str | Path], *, cwd: Path, environ: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-c", _ON_A_TERMINAL, *map(str, command)]
        self._cwd = cwd
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes]
        self._screen = -1
        self._shown = b""

    async def __aenter__(self) -> Self:
        self._screen, inner = os.openpty()
        ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        os.set_blocking(self._screen, False)
        try:
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._environ, stdin=inner, stdout=inner, stderr=inner
            )
        finally:
            os.close(inner)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await wait_until(lambda: self._process.poll() is not None)
        self._read()
        os.close(self._screen)
        self._screen = -1

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def painted(self) -> str:
        """Everything that it has shown, with its colours."""
        self._read()
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    @property
    def shown(self) -> str:
        """Everything that it has shown, without colours."""
        return _ESCAPE.sub("", self.painted)

    def _read(self) -> None:
        if self._screen < 0:
            return
        with contextlib.suppress(BlockingIOError, OSError):  # EIO: nobody has the terminal open any more
            while data := os.read(self._screen, 65_536):
                self._shown += data

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._screen, keys)

    def type(self, line: str) -> None:
        """Type a line."""
        self.press(line.encode() + b"\n")

    async def shows(self, text: str, *, times: int = 1, timeout_s: float = 60) -> None:
        """Wait until it has shown `text`."""
        try:
            await wait_until(lambda: self.shown.count(text) >= times, timeout_s)
        except AssertionError:
            raise AssertionError(f"{text!r} was not shown:\n{self.shown}") from None

    async def ended(self, timeout_s: float = 60) -> int:
        """Wait for its end; return the exit status as a shell counts it."""
        try:
            await wait_until(self._has_ended, timeout_s)
        except AssertionError:
            raise AssertionError(f"it did not end:\n{self.shown}") from None
        status = self._process.returncode
        return status if status >= 0 else 128 - status

    def _has_ended(self) -> bool:
        self._read()  # it may wait for somebody to do so
        return self._process.poll() is not None
