"""
The report: one table for people, one file for machines.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.bench.figures import digits
from tests.bench.row import Check, Result, Row

NOISY_SHARE = 0.1
GREEN, RED, BOLD, RESET = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"

Results = Sequence[tuple[Row, Result]]


def render(results: Results, *, subject: str, hub_ack: str, colour: bool) -> str:
    """Return the table; a row has as many lines as it has figures or conditions."""
    blocks = [_cells(row, result) for row, result in results]
    headings = ("row", subject, "baseline", "measured", "required", "")
    lines = [headings, *(line for block in blocks for line in block)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    rules = [
        left + middle.join("─" * (width + 2) for width in widths) + right
        for left, middle, right in ("┌┬┐", "├┼┤", "└┴┘")
    ]
    text = [rules[0], _line(headings, widths, BOLD if colour else "")]
    for block in blocks:
        text.append(rules[1])
        text += [_line(line, widths, "", verdict_colour=colour) for line in block]
    return "\n".join([*text, rules[2], *_notes(results, hub_ack)])


def _cells(row: Row, result: Result) -> list[tuple[str, ...]]:
    columns = (
        [row.title],
        result.subject,
        result.baseline,
        [f"{check.what} {_value(check.value, check)}" for check in result.checks],
        [_bound(check) for check in result.checks],
        ["PASS" if check.passed else "FAIL" for check in result.checks] or ["FAIL"],
    )
    return list(zip_longest(*columns, fillvalue=""))


def _value(value: float, check: Check) -> str:
    number = f"{value:.0f}" if float(value).is_integer() and value < 1e4 else digits(value)
    return f"{number} {check.unit}".strip()


def _bound(check: Check) -> str:
    return f"{'≥' if check.at_least else '≤'} {_value(check.bound, check)}"


def _line(cells: Sequence[str], widths: Sequence[int], style: str, *, verdict_colour: bool = False) -> str:
    padded = [f" {cell:<{width}} " for cell, width in zip(cells, widths, strict=True)]
    if style:
        padded = [f"{style}{cell}{RESET}" for cell in padded]
    if verdict_colour:
        padded[-1] = f"{GREEN if cells[-1] != 'FAIL' else RED}{padded[-1]}{RESET}"
    return "│" + "│".join(padded) + "│"


def _notes(results: Results, hub_ack: str) -> list[str]:
    notes = [f"(a) the hand-written hub, XACK: {hub_ack}; (b) one send per socket; µs: processor time of the server"]
    for row, result in results:
        if result.error:
            notes.append(f"{row.title}: {result.error}")
        if result.waited_share > NOISY_SHARE:
            notes.append(
                f"{row.title}: the subject waited {result.waited_share:.0%} of its time for its core; "
                "something else was running"
            )
    return notes


def write_json(path: Path, results: Results, setting: dict[str, Any]) -> None:
    """Write everything that was measured."""
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "processor": platform.machine(),
        },
        "python": platform.python_version(),
        **setting,
        "rows": [_row_document(row, result) for row, result in results],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _row_document(row: Row, result: Result) -> dict[str, Any]:
    return {
        "row": row.key,
        "title": row.title,
        "subject": result.subject,
        "baseline": result.baseline,
        "error": result.error,
        "waited_share": round(result.waited_share, 4),
        "checks": [
            {
                "what": check.what,
                "value": check.value,
                "required": _bound(check),
                "passed": check.passed,
            }
            for check in result.checks
        ],
        **result.samples,
    }
