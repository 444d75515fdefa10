"""The runs: which cases, against which settings; and what the document says of their outcome."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from kosoku import FailureError, run_fuzzingclient
from kosoku._kosoku import CaseResult

from tests.conformance.echo import echoing_gateway

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"

_PROTOCOL = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
# kosoku ends its longest cases at the first heartbeat, 25 s after their beginning, and a whole run after ten minutes.
_QUIET = {"heartbeat__ping_interval_s": 3_000, "heartbeat__timeout_s": 3_600}
_AT_ONCE = 8
# Most cases give the server a second, and a process that is stopped for so long fails some of them.
_LONG_PAUSE_S = 0.25
_LOOK_EVERY_S = 0.01
_MOST_TRIES = 10
_COMPRESSED = tuple(
    f"{section}.{number}"
    for section in ("12.1", "12.2", "12.3", "12.4", "12.5", "13.1", "13.2", "13.4", "13.6")
    for number in range(1, 19)
)
_DEFLATE = {"compression__enabled": True}
_LARGE = {"limits__max_message_bytes": 17 * 1024 * 1024}  # 16 MiB, and what random bytes grow by when compressed
_MIDDLE = {"limits__max_message_bytes": 256 * 1024}


@dataclass(frozen=True, slots=True)
class Run:
    """
    Some cases against one server.

    Attributes:
        cases: Ids or globs.
        settings: What differs from production's defaults; see `running_gateway`.
        parallel: How many cases at a time.
    """

    name: str
    cases: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    parallel: int = 4


SHORT = (
    Run("plain", _PROTOCOL),
    Run("deflate", _PROTOCOL, _DEFLATE),
    Run("large", ("9.1.1", "9.1.4", "9.2.1", "9.2.4", "9.7.1", "9.8.1"), _LARGE),
    Run("compressed", ("12.1.1", "12.1.11", "12.2.4", "13.1.3", "13.2.3", "13.4.3", "13.6.3"), _MIDDLE | _DEFLATE),
)
ALL = (
    Run("plain", _PROTOCOL),
    Run("deflate", _PROTOCOL, _DEFLATE),
    Run("large", ("9.*",), _LARGE),
    Run("large, deflate", ("9.*",), _LARGE | _DEFLATE),
    Run("compressed", _COMPRESSED, _MIDDLE | _DEFLATE | _QUIET, parallel=2),
)

Outcome = tuple[str, str]
"""What a case says of the messages, and of the end."""

PASSED: Outcome = ("OK", "OK")


async def outcomes(redis_url: str, run: Run) -> dict[str, Outcome]:
    """Carry out a run; return what came of each case."""
    async with echoing_gateway(redis_url, **run.settings) as gateway:
        url = f"{gateway.url}?token={gateway.token('autobahn', ttl_s=80_000)}"
        found: dict[str, Outcome] = {}
        for first in range(0, len(run.cases), _AT_ONCE):
            found |= await _found(url, list(run.cases[first : first + _AT_ONCE]), run.parallel)
    return found


async def _found(url: str, cases: list[str], parallel: int) -> dict[str, Outcome]:
    """Return what came of these cases. What is unexpected, and came while this process stood still, is asked again."""
    found: dict[str, Outcome] = {}
    listed = deviations()
    for _ in range(_MOST_TRIES):
        async with _Pause() as pause:
            results = await _judged(url, cases, parallel)
        found |= {result.case_id: (result.behavior.value, result.behavior_close.value) for result in results}
        cases = list(unexpected(found, listed))
        if not cases or pause.longest_s < _LONG_PAUSE_S:
            break
    return found


class _Pause:
    """
    Looks, as long as the context lasts, for how long this loop, and the server in it, stands still.

    Attributes:
        longest_s: For how long at most, in seconds.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def __aenter__(self) -> Self:
        self._seen_at = time.monotonic()
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._look()
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        self.longest_s, self._seen_at = max(self.longest_s, now - self._seen_at), now


async def _judged(url: str, cases: list[str], parallel: int) -> list[CaseResult]:
    try:
        return await run_fuzzingclient(url, cases, concurrency=parallel)
    except FailureError as error:
        return error.results


def deviations() -> dict[str, Outcome]:
    """Return the cases that the document lists, with the outcome that it states."""
    return dict(_rows(DOCUMENT.read_text(encoding="utf-8")))


def _rows(text: str) -> Iterator[tuple[str, Outcome]]:
    for cases, behavior, close in re.findall(r"^\| ([\d., ]+) \| ([A-Z-]+) / ([A-Z ]+) \|", text, re.MULTILINE):
        for case in cases.split(", "):
            yield case, (behavior, close)


def unexpected(found: Mapping[str, Outcome], listed: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Return the outcomes that are neither a pass nor what the document says."""
    return {case: outcome for case, outcome in found.items() if outcome != listed.get(case, PASSED)}
