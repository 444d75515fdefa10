"""The Lua scripts, each with the name that Redis knows it by: its SHA-1."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).with_name("scripts")


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its source for EVAL, its digest for EVALSHA."""

    source: bytes
    sha: bytes


def read(path: Path) -> Script:
    """Read a script from its file."""
    source = path.read_bytes()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


PUBLISH: Final = read(_FOLDER / "publish.lua")
REVOKE: Final = read(_FOLDER / "revoke.lua")
