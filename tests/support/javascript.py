"""
JavaScript for tests: the npm packages of `tests/e2e/js`, and a Node process that evaluates what it is given.

    async with NodeEngine(packages) as node:
        assert await node.evaluate("1 + 1") == 2

A page of `tests.support.chromium` evaluates in the same way, so a test can be written once for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "tests" / "e2e" / "js"
CLIENT = ROOT / "gateway" / "static" / "tidegate.js"

_TIMEOUT_S = 60.0
_INSTALL_TIMEOUT_S = 240.0


class ScriptError(Exception):
    """What was evaluated has thrown."""


class Engine(Protocol):
    """Something that runs JavaScript: a Node process, or a page."""

    async def evaluate(self, expression: str) -> Any:
        """Evaluate an expression, await it if it is a promise, and return its value."""


def npm_packages() -> Path:
    """Return the folder whose `node_modules` has what the tests need, installed as its lockfile says."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm")
    stamp = PACKAGES / "node_modules" / ".installed"
    lockfile = PACKAGES / "package-lock.json"
    with (PACKAGES / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may do the same
        if stamp.exists() and stamp.read_text() == lockfile.read_text():
            return PACKAGES
        command = [npm, "ci", "--no-audit", "--no-fund", "--silent"]
        try:
            done = subprocess.run(
                command, cwd=PACKAGES, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.skip("needs the npm registry: npm ci took too long")
        if done.returncode:
            pytest.skip(f"needs the npm packages of tests/e2e/js: {done.stderr[-300:]}")
        stamp.write_text(lockfile.read_text())
    return PACKAGES


def run_tool(packages: Path, *command: str, cwd: Path | None = None) -> str:
    """Run a program of the npm packages; return its output, and fail with it where the program fails."""
    program = packages / "node_modules" / ".bin" / command[0]
    done = subprocess.run(
        [str(program), *command[1:]], cwd=cwd or packages, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class NodeEngine:
    """One Node process, with `Tidegate`, the package `ws` as `WebSocket`, and whatever else it is told to import."""

    def __init__(self, packages: Path) -> None:
        self._packages = packages
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []

    async def evaluate(self, expression: str) -> Any:
        """
        See `Engine`.

        Raises:
            ScriptError: It has thrown, or its promise was rejected.
        """
        process = self._running()
        assert process.stdin is not None
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        process.stdin.write(json.dumps({"id": number, "code": expression}).encode() + b"\n")
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer

    async def wait_for(self, expression: str, timeout: float = 30.0) -> Any:
        """Return what an expression gives as soon as that is truthy."""
        return await wait_for_truth(self, expression, timeout)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *("node", str(self._packages / "engine.mjs"), str(CLIENT)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**24,
        )
        self._reader = asyncio.create_task(self._read(), name="node")
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        assert self._reader is not None
        await self._reader
        assert process.stdin is not None
        process.stdin.close()

    async def _read(self) -> None:
        process = self._running()
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                said = json.loads(line)
                answer = self._waiting.pop(said["id"])
            except (ValueError, KeyError, TypeError):
                self.errors.append(line.decode(errors="replace"))
                continue
            if "error" in said:
                answer.set_exception(ScriptError(said["error"]))
            else:
                answer.set_result(said.get("value"))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ScriptError("node has ended: " + "".join(self.errors[-20:])))

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the engine was not started"
        return self._process


async def wait_for_truth(engine: Engine, expression: str, timeout: float) -> Any:
    try:
        return await wait_until(lambda: engine.evaluate(expression), timeout)
    except AssertionError:
        errors = getattr(engine, "errors", [])
        raise AssertionError(f"not within {timeout} s: {expression}; errors: {errors}") from None
