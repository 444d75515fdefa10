"""
How text looks on a terminal: colours, what is safe to print, widths.

Colour is for a terminal only, and never where `NO_COLOR` (https://no-color.org) or a dumb terminal asks for none.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TextIO

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
_ESCAPE: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Style:
    """
    Paints text, or leaves it as it is.

    Attributes:
        coloured: Whether anything is painted.
        width: Characters in a line; None where lines have no end, as in a pipe.
    """

    coloured: bool
    width: int | None = None

    def __call__(self, text: str, *names: str) -> str:
        """Return `text` painted; `names` are colours, `bold` or `dim`."""
        if not self.coloured or not text or not names:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def style_for(stream: TextIO) -> Style:
    """Return the style that suits what `stream` writes to."""
    if not stream.isatty():
        return Style(coloured=False)
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(coloured, shutil.get_terminal_size((100, 24)).columns)


def printable(text: str) -> str:
    """
    Return `text` with what is not printable as `\\u` escapes.

    A payload must not move the cursor, recolour the terminal or turn the reading direction.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def cut(text: str, longest: int) -> str:
    """Return `text`, or its beginning and `…` where it is longer than that."""
    return text if len(text) <= longest else text[: max(1, longest) - 1] + "…"


def plain_length(text: str) -> int:
    """Return how many characters of painted text can be seen."""
    return len(_ESCAPE.sub("", text))


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset(), gap: str = "  ") -> list[str]:
    """
    Return the lines of a table; cells may be painted.

    Args:
        right: The columns that are aligned to the right.
    """
    widths = [max(map(plain_length, column)) for column in zip(*rows, strict=True)]
    return [gap.join(_cells(row, widths, right)).rstrip() for row in rows]


def _cells(row: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> list[str]:
    padded = []
    for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
        padding = " " * (width - plain_length(cell))
        padded.append(padding + cell if number in right else cell + padding)
    return padded
