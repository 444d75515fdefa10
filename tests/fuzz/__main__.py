"""`make fuzz`: every target at length. Prints what it ran, and each finding with the input that shows it."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from tests.fuzz.engine import Report, run
from tests.fuzz.sandbox import sandbox
from tests.fuzz.targets import all_targets
from tests.support.redis_server import RedisServer

_INPUTS = 1_050_000


async def fuzz(redis_url: str, *, inputs: int, seed: int, only: list[str]) -> list[Report]:
    """Run the targets one after the other, each for its share of `inputs`."""
    reports = []
    async with sandbox(redis_url) as place:
        chosen = [target for target in all_targets(place) if not only or target.name in only]
        whole = sum(target.share for target in chosen)
        for target in chosen:
            report = await run(target, max(1, round(inputs * target.share / whole)), seed=seed)
            print(report, flush=True)
            for finding in report.findings:
                print(f"  input: {finding.data!r}\n  {finding.problem.strip().replace(chr(10), chr(10) + '  ')}")
            reports.append(report)
    return reports


def main() -> int:
    """Return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=_INPUTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--target", action="append", default=[])
    options = parser.parse_args()
    begun_at = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    with RedisServer() as server:
        reports = asyncio.run(fuzz(server.url, inputs=options.inputs, seed=options.seed, only=options.target))
    total, findings = sum(report.inputs for report in reports), sum(len(report.findings) for report in reports)
    print(f"{len(reports)} targets, {total:,} inputs, {time.monotonic() - begun_at:.0f} s, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
