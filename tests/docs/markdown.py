"""Documents as tests see them: their fenced blocks, by info string, and their tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCED = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """
    One fenced block.

    Attributes:
        info: What stands behind the opening fence: `python`, `json client` …
        text: What is in it.
        where: The document and the line, for messages.
    """

    info: str
    text: str
    where: str

    def __str__(self) -> str:
        return self.where


def document(name: str) -> str:
    """Return the text of a document, given its path from the root."""
    return (ROOT / name).read_text()


def blocks(name: str, *infos: str) -> list[Block]:
    """Return a document's blocks with one of these info strings, in order."""
    text = document(name)
    return [
        Block(match["info"], match["text"], f"{name}:{text.count(chr(10), 0, match.start()) + 1}")
        for match in _FENCED.finditer(text)
        if match["info"] in infos
    ]


def table_rows(name: str) -> list[list[str]]:
    """Return the cells of every row of every table in a document, backticks removed."""
    lines = (line for line in document(name).splitlines() if line.startswith("| "))
    return [[cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
