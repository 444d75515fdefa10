"""`make conformance`: all cases, and what came of them."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

import structlog

from tests.conformance.runs import ALL, PASSED, SHORT, deviations, outcomes, unexpected
from tests.support.redis_server import RedisServer


def main() -> int:
    """Run everything, or with `short` what CI runs; return 1 where something is not as the document says."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    listed = deviations()
    wrong = 0
    for run in SHORT if "short" in sys.argv else ALL:
        started_at = time.monotonic()
        with RedisServer() as server:
            found = asyncio.run(outcomes(server.url, run))
        passed = sum(outcome == PASSED for outcome in found.values())
        problems = unexpected(found, listed)
        wrong += len(problems)
        deviating = len(found) - passed - len(problems)
        print(
            f"{run.name}: {len(found)} cases, {passed} passed, {deviating} deviate as listed, "
            f"{len(problems)} unexpected; {time.monotonic() - started_at:.0f} s",
            flush=True,
        )
        for case, outcome in problems.items():
            print(f"  {case}: {' / '.join(outcome)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
