"""What an operator adds to the gateway: `handlers`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

_PATH: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def _import_path(path: str) -> str:
    if _PATH.fullmatch(path) is None:
        raise ValueError("use `package.module:Class`")
    return path


def _distinct(paths: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(paths)) < len(paths):
        raise ValueError("a handler stands there twice")
    return paths


Handlers = Annotated[tuple[Annotated[str, AfterValidator(_import_path)], ...], AfterValidator(_distinct)]
