"""
The command: `python -m tests.chaos`. Plays the scenarios one after the other, prints what came of them.

The soak takes its time and needs little else, so in the short profile it runs beside the others, in a process of its
own. Exits with 1 where a check fails; leaves no process behind, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench.process import family
from tests.chaos.lab import Lab, Scenario, load
from tests.chaos.report import Outcome, from_document, render, write_json
from tests.chaos.scenarios import SCENARIOS

_BESIDE = "soak"
_PR_SET_CHILD_SUBREAPER = 36
_INTERRUPTED = 130


def main() -> int:
    """Play the scenarios; return the exit status."""
    options = _options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # grandchildren whose parents die become ours
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    outcomes: list[Outcome] = []
    started = time.monotonic()
    _say(f"chaos: seed {options.seed}, {'long' if options.long else 'short'} profile")
    interrupted = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_play_all(options, outcomes))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        _end_everything()
    _report(options, outcomes, time.monotonic() - started)
    return _INTERRUPTED if interrupted else int(not outcomes or not all(outcome.passed for outcome in outcomes))


def _options() -> argparse.Namespace:
    by_key = {scenario.key: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break Tidegate, and count.")
    parser.add_argument("--long", action="store_true", help="the full profile: many hours")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of the schedules (default: any)")
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated, of: {', '.join(by_key)}")
    parser.add_argument("--json", metavar="FILE", help="write everything that was counted; - is standard output")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(by_key)
    if unknown := set(names) - set(by_key):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(by_key)}")
    options.scenarios = [by_key[name] for name in names]
    return options


async def _play_all(options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    scenarios: list[Scenario] = list(options.scenarios)
    beside = None
    if not options.long and len(scenarios) > 1:
        beside = next((one for one in scenarios if one.key == _BESIDE), None)
    async with contextlib.AsyncExitStack() as stack:
        awaited = None
        if beside is not None:
            scenarios.remove(beside)
            awaited = await stack.enter_async_context(_playing_beside(beside, options.seed))
        for number, scenario in enumerate(scenarios, 1):
            _say(f"[{number}/{len(scenarios)}] {scenario.title}")
            outcome = Outcome(scenario.key)
            outcomes.append(outcome)
            await _play(scenario, outcome, options)
        if awaited is not None:
            _say(f"{_BESIDE}: waiting for its end")
            outcomes.append(await awaited())


async def _play(scenario: Scenario, outcome: Outcome, options: argparse.Namespace) -> None:
    rng = random.Random(f"{options.seed} {scenario.key}")  # so that one alone has the schedule that it has among all
    began = time.monotonic()
    try:
        await scenario.play(Lab(options.long, rng, lambda step: _say(f"{scenario.key}: {step}")), outcome)
    except Exception as error:  # whatever it is, the others are to be played
        outcome.error = f"{type(error).__name__}: {error}"[:2000]
    finally:
        outcome.seconds = time.monotonic() - began


@contextlib.asynccontextmanager
async def _playing_beside(scenario: Scenario, seed: int) -> AsyncIterator[Callable[[], Awaitable[Outcome]]]:
    """Play a scenario in another process; give what waits for its outcome."""
    _say(f"{scenario.key} is played beside the others: {scenario.title}")
    with tempfile.TemporaryDirectory(prefix="tg-chaos-") as folder:
        file = Path(folder) / "outcome.json"
        command = ["-m", "tests.chaos", "--only", scenario.key, "--seed", str(seed), "--json", str(file)]
        with (Path(folder) / "output").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for this process, which ends that one
            )
        try:
            yield functools.partial(_outcome, process, file, scenario.key)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def _outcome(process: asyncio.subprocess.Process, file: Path, key: str) -> Outcome:
    await process.wait()
    if not file.exists():
        return Outcome(key, error=f"its process ended with {process.returncode}")
    return from_document(json.loads(file.read_text())["scenarios"][0])


def _report(options: argparse.Namespace, outcomes: list[Outcome], seconds: float) -> None:
    if outcomes:
        print(render(outcomes, colour=sys.stdout.isatty()))
    failed = ", ".join(outcome.key for outcome in outcomes if not outcome.passed)
    print(
        f"seed {options.seed}, {'long' if options.long else 'short'} profile, {seconds:.0f} s, "
        f"{os.cpu_count()} cores, load {load():.1f}: {f'FAILED: {failed}' if failed else 'all passed'}"
    )
    if options.json:
        write_json(options.json, outcomes, {"seed": options.seed, "long": options.long, "seconds": round(seconds, 1)})


def _end_everything() -> None:
    """Kill every process that came from this one."""
    with contextlib.suppress(FileNotFoundError):  # one that ends while we look
        for pid in list(family(os.getpid()))[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _say(text: str) -> None:
    """Show progress: in place on a terminal, a line each elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
