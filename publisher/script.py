"""The Lua scripts, each with the name that Redis knows it by: its SHA-1."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDER = Path(__file__).with_name("scripts")
_INCLUDE = re.compile(r"^-- include: (\w+\.lua)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    """A script: its source for EVAL, its digest for EVALSHA."""

    source: bytes
    sha: bytes


def read(path: Path) -> Script:
    """
    Read a script from its file.

    In place of a line `-- include: NAME.lua` comes that file: the one beside the script, or else of this package.
    """
    source = _text(path).encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


def _text(path: Path) -> str:
    return _INCLUDE.sub(lambda line: _text(_included(path, line[1])), path.read_text("utf-8"))


def _included(path: Path, name: str) -> Path:
    beside = path.with_name(name)
    return beside if beside.exists() else _FOLDER / name


PUBLISH: Final = read(_FOLDER / "publish.lua")
PUBLISH_KEPT: Final = read(_FOLDER / "publish_kept.lua")
RECALL: Final = read(_FOLDER / "recall.lua")
REVOKE: Final = read(_FOLDER / "revoke.lua")
NOTIFY: Final = read(_FOLDER / "notify.lua")
RECEIPT: Final = read(_FOLDER / "receipt.lua")
ACCESS: Final = read(_FOLDER / "access.lua")
MEMBERS: Final = read(_FOLDER / "members.lua")
LIST_MEMBERS: Final = read(_FOLDER / "list_members.lua")
LIST_GROUPS: Final = read(_FOLDER / "list_groups.lua")
