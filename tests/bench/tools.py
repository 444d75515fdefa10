"""
The native tools: compiled at bench time where there is a compiler, else their Python fallbacks.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import BenchError

SOURCES = Path(__file__).parent / "native"


@dataclass(frozen=True, slots=True)
class Tools:
    """The commands that start the receiver and the limit, and the language they are written in."""

    receiver: tuple[str, ...]
    limit: tuple[str, ...]
    language: str


def build_tools(folder: Path, *, native: bool) -> Tools:
    """
    Compile the tools into a folder.

    Without a compiler, or where `native` is false: the Python versions, which hold back the fastest rows.
    """
    compiler = (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) if native else None
    if compiler is None:
        python = (sys.executable, "-m")
        return Tools((*python, "tests.bench.fallback_receiver"), (*python, "tests.bench.fallback_limit"), "Python")
    receiver = _compile(compiler, folder / "receiver", "receiver.c", "clients.c", "samples.c")
    limit = _compile(compiler, folder / "limit", "limit.c")
    return Tools((str(receiver),), (str(limit),), "C")


def _compile(compiler: str, target: Path, *sources: str) -> Path:
    command = [compiler, "-O2", "-o", str(target), *(str(SOURCES / source) for source in sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{compiler} failed:\n{done.stderr}\nuse --no-native to go on without a compiler")
    return target
