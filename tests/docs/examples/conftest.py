"""What the examples' tests share: their folder, their environment, and one gateway to receive from."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from tests.docs.markdown import ROOT
from tests.support.gateway import SECRET, RunningGateway, running_gateway
from tests.support.terminal import Piped, clean_environment

FOLDER = ROOT / "docs" / "examples"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway that lets everybody join everything."""
    async with running_gateway(redis_url) as running:
        yield running


@pytest.fixture
def environ(redis_url: str) -> dict[str, str]:
    """A service's environment: it knows Redis, and the secret of the gateway's tokens."""
    variables = {"TIDEGATE_REDIS_URL": redis_url, "GATEWAY_AUTH__SECRET": SECRET, "PYTHONUNBUFFERED": "1"}
    return clean_environment(**variables)


@pytest.fixture
def logged(redis_url: str) -> Callable[[], list[str]]:
    """Returns the `message_id` of every entry of the log, in order."""

    def names() -> list[str]:
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            return [fields["m"] for _, fields in client.xrange("tg:{events:0}")]

    return names


@contextlib.asynccontextmanager
async def started(module: str, *arguments: object, environ: dict[str, str]) -> AsyncIterator[Piped]:
    """Run `python -m module …` in the folder of the examples."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    async with Piped(command, cwd=FOLDER, environ=environ) as process:
        yield process
