"""
The command: `python -m tests.bench`. Measures the rows, prints the table, writes it as JSON.

Exits with 1 where a row fails, with 2 where the bench cannot be set up.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench import client_rows, delivery_rows
from tests.bench.process import BenchError, Child
from tests.bench.row import Laboratory, Result, Row
from tests.bench.subjects import Surroundings
from tests.bench.table import render, write_json
from tests.bench.tools import build_tools

ROWS = (*delivery_rows.ROWS, *client_rows.ROWS)
SOCKETS = 1_000
MANY = 10_000
SPARE_FILES = 200


def main() -> int:
    """Run the bench; return the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
    started = time.monotonic()
    results: list[tuple[Row, Result]] = []
    status = 0
    try:
        with ExitStack() as stack:
            lab_of = _laboratories(options, stack)
            for number, row in enumerate(options.rows, 1):
                results.append((row, _measure(row, lab_of(number, row))))
    except BenchError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    _say("")
    if results:
        print(render(results, subject=options.subject, hub_ack=options.hub_ack, colour=sys.stdout.isatty()))
        print(f"{time.monotonic() - started:.0f} s, medians of {options.pairs} pairs; details in {options.json}")
        setting = {name: getattr(options, name) for name in ("subject", "hub_ack", "pairs", "quick")}
        write_json(options.json, results, setting)
    return status or int(not all(result.passed for _, result in results))


def _measure(row: Row, lab: Laboratory) -> Result:
    """Measure a row; what goes wrong there fails this row only."""
    try:
        return row.measure(lab)
    except (BenchError, TimeoutError) as error:
        return Result([], ["not measured"], error=str(error))


def _options() -> argparse.Namespace:
    by_key = {row.key: row for row in ROWS}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Tidegate.")
    parser.add_argument("--rows", help=f"comma-separated, of: {', '.join(by_key)}", default=",".join(by_key))
    parser.add_argument("--pairs", type=int, help="measurements of each side (default: 3)", default=3)
    parser.add_argument("--quick", action="store_true", help="short measurements, for a first impression")
    parser.add_argument("--json", type=Path, help="the file to write (default: bench.json)", default="bench.json")
    parser.add_argument(
        "--subject",
        choices=("gateway", "hub"),
        default="gateway",
        help="`hub` measures baseline (a) against itself: the ratios show the noise",
    )
    parser.add_argument(
        "--hub-ack",
        choices=("none", "batch", "each"),
        default="each",
        help="how baseline (a) acknowledges entries (default: each, the most usual; none is the fastest)",
    )
    parser.add_argument("--no-native", action="store_true", help="use the Python receiver and limit")
    options = parser.parse_args()
    unknown = set(options.rows.split(",")) - set(by_key)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are: {', '.join(by_key)}")
    options.rows = [by_key[key] for key in options.rows.split(",")]
    return options


def _laboratories(options: argparse.Namespace, stack: ExitStack) -> Callable[[int, Row], Laboratory]:
    """Set everything up, and return what makes the laboratory of a row."""
    files = _raise_file_limit()
    subject_core, other_cores = _pin()
    gc.freeze()
    gc.disable()  # a collection in the producer would be a latency of the subject's
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
    place = Surroundings(
        folder,
        folder / "redis.sock",
        build_tools(folder, native=not options.no_native),
        subject_core,
        other_cores,
    )
    _say(f"bench: {place.tools.language} receiver, subjects on core {min(subject_core)}")
    server = Child(
        "redis server",
        [sys.executable, "-m", "tests.bench.redis_server", place.redis_path],
        cores=other_cores,
        log=folder / "redis.log",
    )
    stack.callback(server.stop)
    server.hear("ready", 15)

    def laboratory(number: int, row: Row) -> Laboratory:
        title = f"[{number}/{len(options.rows)}] {row.title}"
        _say(title)
        return Laboratory(
            place,
            options.pairs,
            seconds=0.5 if options.quick else 2.0,
            sockets=SOCKETS,
            many=min(2_000 if options.quick else MANY, files - SPARE_FILES),
            hub_ack=options.hub_ack,
            subject=options.subject,
            progress=lambda step: _say(f"{title}: {step}"),
        )

    return laboratory


def _raise_file_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _pin() -> tuple[set[int], set[int]]:
    """Give the subjects one core, and this process and its helpers the others."""
    cores = os.sched_getaffinity(0)
    subject = {max(cores)}
    others = cores - subject or subject
    os.sched_setaffinity(0, others)
    return subject, others


def _say(text: str) -> None:
    """Show progress: in place on a terminal, a line each elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
