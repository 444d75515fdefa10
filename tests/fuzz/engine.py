"""
The engine: makes inputs from seeds, feeds them to a target, and goes on from those that reach new lines.

Coverage-guided, as libFuzzer is, within what plain Python allows: one input of some is run under `sys.settrace`,
and becomes a seed where it reaches a line of `gateway` or `publisher` that none before it did. Everything follows
from the seed of the run, but for what the clock and Redis bring in.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"

_MAX_LENGTH = 8_192
_MAX_SEEDS = 3_000
_MAX_FINDINGS = 10
_OURS = (f"{ROOT}{os.sep}gateway{os.sep}", f"{ROOT}{os.sep}publisher{os.sep}")
_MAGIC = (b"\x00", b"\xff", b"\x7f", b"-1", b"0", b"1e999", b"9" * 20, b"9" * 400, b"\xed\xa0\x80", b"\xf0\x9f\x98\x80")


class Target(ABC):
    """
    Something that reads.

    Attributes:
        name: For `--target` and the corpus.
        share: Of the inputs of a long run, in per cent.
        tokens: What mutations put in.
        traced: One input of so many is looked at more closely, which takes several times as long.
    """

    name: str
    share: float
    tokens: Sequence[bytes] = ()
    traced: int = 16

    async def open(self) -> None:  # noqa: B027 - most have nothing to do
        """Get ready."""

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Return inputs to begin with: good ones."""

    @abstractmethod
    async def feed(self, data: bytes) -> None:
        """Let it read. Raises whatever is a finding."""

    def make(self, chance: random.Random) -> bytes | None:
        """Return an input made from the grammar, or None where mutation is all there is."""
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that a target fails at."""

    data: bytes
    problem: str


@dataclass(slots=True)
class Report:
    """What came of a run."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    lines: int = 0
    corpus: int = 0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.inputs / max(self.seconds, 1e-9)
        return (
            f"{self.target:10} {self.inputs:>9,} inputs {self.seconds:7.1f} s {rate:>9,.0f}/s"
            f" {self.lines:>5} lines {self.corpus:>5} seeds {len(self.findings):>3} findings"
        )


class Coverage:
    """The lines of our own code that were reached."""

    def __init__(self) -> None:
        self.lines: set[tuple[CodeType, int]] = set()
        self._ours: dict[CodeType, bool] = {}
        self.grew = False
        self._before: Any = None

    def start(self) -> None:
        """Look from here on."""
        self.grew = False
        self._before = sys.gettrace()
        sys.settrace(self._enter)

    def stop(self) -> None:
        """Look no more."""
        if sys.gettrace() == self._enter:
            sys.settrace(self._before)

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        ours = self._ours.get(code)
        if ours is None:
            ours = self._ours[code] = code.co_filename.startswith(_OURS)
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "line" and (frame.f_code, frame.f_lineno) not in self.lines:
            self.lines.add((frame.f_code, frame.f_lineno))
            self.grew = True
        return self._line


async def run(target: Target, inputs: int, *, seed: int) -> Report:
    """Feed a target its seeds, its corpus and then what is made of them, `inputs` in all."""
    chance = random.Random(f"{seed} {target.name}")
    coverage = Coverage()
    report = Report(target.name)
    await target.open()
    seeds = target.seeds() + corpus(target.name)
    begun_at = time.monotonic()
    for number in range(inputs):
        first = number < len(seeds) and number < inputs // 2
        data = seeds[number] if first else _next(target, seeds, chance)
        traced = number % target.traced == 0
        if traced:
            coverage.start()
        try:
            await target.feed(data)
        except Exception:
            report.findings.append(Finding(data, traceback.format_exc(limit=-6)))
        finally:
            coverage.stop()
        report.inputs += 1
        if traced and coverage.grew and not first and len(seeds) < _MAX_SEEDS:
            seeds.append(data)
        if len(report.findings) >= _MAX_FINDINGS:
            break
    report.seconds = time.monotonic() - begun_at
    report.lines = len(coverage.lines)
    report.corpus = len(seeds)
    return report


def corpus(name: str) -> list[bytes]:
    """Return the kept inputs of a target: what once was a finding, and what is hard to come by."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def _next(target: Target, seeds: list[bytes], chance: random.Random) -> bytes:
    made = target.make(chance) if chance.random() < 0.5 else None
    if made is not None and chance.random() < 0.7:
        return made
    return mutated(made if made is not None else chance.choice(seeds), seeds, target.tokens, chance)


def mutated(data: bytes, others: list[bytes], tokens: Sequence[bytes], chance: random.Random) -> bytes:
    """Return `data` with one to some changes."""
    changed = bytearray(data)
    for _ in range(1 + int(chance.expovariate(0.7))):
        at = chance.randrange(len(changed) + 1)
        until = min(len(changed), at + 1 + int(chance.expovariate(0.1)))
        match chance.randrange(8):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:until] = b""
            case 2:
                changed[at:at] = changed[at:until] * chance.choice((1, 2, 30))
            case 3:
                changed[at:at] = chance.choice(_MAGIC)
            case 4 if tokens:
                changed[at:at] = chance.choice(tokens)
            case 5 if tokens:
                changed[at:until] = chance.choice(tokens)
            case 6:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                changed[at:until] = other[start : start + 1 + int(chance.expovariate(0.02))]
            case _:
                changed[at:until] = chance.randbytes(until - at)
    return bytes(changed[:_MAX_LENGTH])
