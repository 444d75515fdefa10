"""The Lua scripts, each with the name that Redis knows it by: its SHA-1."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).with_name("scripts")
_INCLUDE = re.compile(r"^-- include: (\w+\.lua)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script: its source for EVAL, its digest for EVALSHA."""

    source: bytes
    sha: bytes


def read(path: Path) -> Script:
    """Read a script from its file; in place of a line `-- include: NAME.lua` comes that file of this package."""
    text = _INCLUDE.sub(lambda line: (_FOLDER / line[1]).read_text("utf-8"), path.read_text("utf-8"))
    source = text.encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


PUBLISH: Final = read(_FOLDER / "publish.lua")
REVOKE: Final = read(_FOLDER / "revoke.lua")
ACCESS: Final = read(_FOLDER / "access.lua")
