"""The commands as a shell runs them, beside a gateway in the test's own loop."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from publisher import Publisher
from tests.support.gateway import SECRET, RunningGateway, running_gateway
from tests.support.terminal import Done, Piped, Terminal, clean_environment, run

NO_REDIS = "redis://127.0.0.1:1"
"""Where nobody listens, and nobody will: a port that is only free now may be another test's a moment later."""


class Shell:
    """A shell in a folder of its own, in which a gateway and its Redis are configured."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.environ = clean_environment(**environ)

    async def gateway(self, *arguments: str, stdin: bytes | None = b"", timeout_s: float = 60, **environ: str) -> Done:
        """Run a command to its end, with pipes."""
        return await run(
            self._command(*arguments),
            cwd=self.folder,
            environ=self.environ | environ,
            stdin=stdin,
            timeout_s=timeout_s,
        )

    def piped(self, *arguments: str, **environ: str) -> Piped:
        """Return a command that runs on, with pipes."""
        return Piped(self._command(*arguments), cwd=self.folder, environ=self.environ | environ)

    def terminal(self, *arguments: str, **environ: str) -> Terminal:
        """Return a command that runs on a terminal."""
        return Terminal(self._command(*arguments), cwd=self.folder, environ=self.environ | environ)

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "gateway", *arguments]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """One gateway."""
    async with running_gateway(redis_url) as running:
        yield running


@pytest.fixture
async def tide(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher."""
    async with Publisher(redis_url) as publisher:
        yield publisher


@pytest.fixture
def bare_shell(tmp_path: Path) -> Shell:
    """A shell where nothing is configured."""
    return Shell(tmp_path)


@pytest.fixture
def redis_shell(tmp_path: Path, redis_url: str) -> Shell:
    """A shell where Redis is configured, and the secret, but no gateway runs."""
    return Shell(tmp_path, GATEWAY_REDIS__URL=redis_url, GATEWAY_AUTH__SECRET=SECRET)


@pytest.fixture
def shell(tmp_path: Path, redis_url: str, gateway: RunningGateway) -> Shell:
    """A shell beside the gateway."""
    return Shell(
        tmp_path,
        GATEWAY_REDIS__URL=redis_url,
        GATEWAY_AUTH__SECRET=SECRET,
        GATEWAY_LISTEN__PORT=str(gateway.port),
    )
