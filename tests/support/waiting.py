"""Waiting for a condition, in place of a sleep that is too short on one machine and too long on another."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

_INTERVAL_S = 0.01


async def wait_until(condition: Callable[[], Any | Awaitable[Any]], timeout: float = 30.0) -> Any:
    """Return what `condition` (plain or async) gives as soon as that is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {_source(condition)}")
        await asyncio.sleep(_INTERVAL_S)


def wait_until_sync(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Return what `condition` gives as soon as that is true, without a loop; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {_source(condition)}")
        time.sleep(_INTERVAL_S)
    return value


def _source(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):
        return repr(condition)
