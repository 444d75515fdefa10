"""What a scenario has found, and the table in which a reader finds it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from tests.chaos.ledger import FAILED, OK, UNKNOWN, Ledger, Tally

_WIDTH: Final = 62
_GREEN, _RED, _BOLD, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be so: a value, and the bounds that it keeps or not."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether it is so."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def required(self) -> str:
        """The bounds, readable."""
        if self.at_most == self.at_least:
            return f"= {_number(self.at_most)}{self.unit}"
        bounds = [("≥", self.at_least), ("≤", self.at_most)]
        return " ".join(f"{sign} {_number(bound)}{self.unit}" for sign, bound in bounds if bound is not None)


@dataclass(slots=True)
class Outcome:
    """
    What one scenario has found.

    Attributes:
        key: The scenario's name.
        counts: Raw counts, in the order in which they are shown.
        checks: What had to be so.
        notes: What a reader has to know besides.
        error: Why it broke off.
        seconds: How long it took.
    """

    key: str
    counts: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything was as it has to be."""
        return not self.error and bool(self.checks) and all(check.passed for check in self.checks)

    def count(self, **counts: Any) -> None:
        """Note raw counts."""
        self.counts |= {name.replace("_", " "): value for name, value in counts.items()}

    def require(
        self, what: str, value: float, *, at_most: float | None = None, at_least: float | None = None, unit: str = ""
    ) -> None:
        """Require that a value keeps its bounds."""
        self.checks.append(Check(what, value, at_most, at_least, unit))

    def require_zero(self, **values: int) -> None:
        """Require that there is none of something."""
        for name, value in values.items():
            self.require(name.replace("_", " "), value, at_most=0, at_least=0)

    def count_publishes(self, *ledgers: Ledger) -> None:
        """Note how publishing went."""
        for name, fate in (("ok", OK), ("failed", FAILED), ("unknown", UNKNOWN)):
            self.counts[name] = self.counts.get(name, 0) + sum(ledger.count(fate) for ledger in ledgers)

    def require_delivery(self, tally: Tally, *, signalled: bool = False, doubled: bool = False) -> None:
        """
        Require that everything which was promised came once and in order.

        Args:
            signalled: Gaps are possible, if a `resync` names them.
            doubled: An event may come under another id, because the log that knew its key is gone.
        """
        self.count(delivered=tally.delivered, repeated=tally.repeated, resyncs=tally.resyncs)
        self.require_zero(lost=tally.lost, out_of_order=tally.misplaced, never_published=tally.phantom)
        if signalled:
            self.count(signalled=tally.signalled)
        else:
            self.require_zero(only_signalled=tally.signalled)
        if doubled:
            self.count(doubled=tally.doubled)
        else:
            self.require_zero(doubled=tally.doubled)


def render(outcomes: Sequence[Outcome], *, colour: bool) -> str:
    """Return the table: for each scenario its raw counts, what was required, and the verdict."""
    headings = ("scenario", "counts", "measured", "required", "")
    blocks = [_cells(outcome) for outcome in outcomes]
    lines = [headings, *(line for block in blocks for line in block)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    text = [_line(headings, widths, _BOLD if colour else "")]
    for block in blocks:
        text.append("─" * (sum(widths) + 2 * len(widths) - 2))
        text += [_line(line, widths, _style(line[-1]) if colour else "") for line in block]
    return "\n".join(line.rstrip() for line in [*text, "", *_notes(outcomes)])


def write_json(path: str, outcomes: Sequence[Outcome], setting: dict[str, Any]) -> None:
    """Write everything to a file; `-` is standard output."""
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **setting,
        "passed": all(outcome.passed for outcome in outcomes),
        "scenarios": [_document(outcome) for outcome in outcomes],
    }
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if path == "-":
        print(text)
    else:
        Path(path).write_text(text + "\n")


def from_document(document: dict[str, Any]) -> Outcome:
    """Read what `write_json` has written of one scenario."""
    checks = [
        Check(one["what"], one["value"], one["at_most"], one["at_least"], one["unit"]) for one in document["checks"]
    ]
    rest = {name: document[name] for name in ("counts", "notes", "error", "seconds")}
    return Outcome(document["scenario"], checks=checks, **rest)


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "scenario": outcome.key,
        "passed": outcome.passed,
        "seconds": round(outcome.seconds, 1),
        "counts": outcome.counts,
        "checks": [
            {
                "what": check.what,
                "value": check.value,
                "at_most": check.at_most,
                "at_least": check.at_least,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in outcome.checks
        ],
        "notes": outcome.notes,
        "error": outcome.error,
    }


def _cells(outcome: Outcome) -> list[tuple[str, ...]]:
    return list(
        zip_longest(
            [outcome.key, f"{outcome.seconds:.0f} s"],
            _wrapped([f"{value} {name}" for name, value in outcome.counts.items()]),
            [f"{check.what}: {_number(check.value)}{check.unit}" for check in outcome.checks],
            [check.required for check in outcome.checks],
            ["PASS" if check.passed else "FAIL" for check in outcome.checks] or ["FAIL"],
            fillvalue="",
        )
    )


def _wrapped(parts: Sequence[str]) -> list[str]:
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 2 > _WIDTH:
            lines.append(part)
        else:
            lines[-1] += (", " if lines[-1] else "") + part
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], style: str) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
    if style:
        padded[-1] = f"{style}{padded[-1]}{_RESET}"
    return "  ".join(padded)


def _style(verdict: str) -> str:
    return {"PASS": _GREEN, "FAIL": _RED}.get(verdict, "")


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    errors = [f"{outcome.key}: broke off: {outcome.error}" for outcome in outcomes if outcome.error]
    return errors + [f"{outcome.key}: {note}" for outcome in outcomes for note in outcome.notes]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"
