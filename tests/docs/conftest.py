"""Fixtures for the documents' tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import RunningGateway, running_gateway


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """One gateway, with a policy that allows everything, and groups that keep everything and say who is there."""
    async with running_gateway(redis_url, history__groups=["*"], presence__groups=["*"]) as running:
        yield running


@pytest.fixture(scope="session")
def node() -> list[str]:
    """The command that runs JavaScript with a browser's WebSocket in it."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs node")
    command = [program, "--experimental-websocket", "--no-warnings"]
    probe = subprocess.run([*command, "-e", "WebSocket"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this Node has no WebSocket; 20.10 has")
    return command
