"""Durations, sizes, counts and times, as people read and write them. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise
from typing import Final

_UNITS: Final = (("d", 86_400, 172_800), ("h", 3_600, 3_600), ("min", 60, 60), ("s", 1, 0))  # "24 h", but "2 d"
_SPELLED: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|min|h|d)?", re.ASCII)


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter: `1 h 30 min`, `2.5 s`, `40 ms`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for (unit, size, from_s), (below, small, _) in pairwise(_UNITS):
        if whole >= from_s:
            count, rest = divmod(whole, size)
            return f"{count} {unit} {rest // small} {below}" if rest >= small else f"{count} {unit}"
    return f"{whole} s"


def parse_duration(text: str) -> float:
    """
    Read `90`, `90s`, `15m`, `1h` or `2d`; return seconds.

    Raises:
        ValueError: It is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r:.40} is not a duration: use seconds, or 90s, 15m, 1h, 2d")
    return float(match[1]) * _SPELLED[match[2] or "s"]


def size(count: int) -> str:
    """Return a number of bytes: `13 B`, `4.2 KiB`, `256 MiB`."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024 or unit == "GiB":
            break
    return f"{value:.1f} {unit}" if value < 10 and value % 1 else f"{value:.0f} {unit}"


def number(count: int) -> str:
    """Return a number with its thousands set apart: `1,234,567`."""
    return f"{count:,}"


def plural(count: int, noun: str) -> str:
    """Return `1 event`, `2 events`."""
    return f"{number(count)} {noun}" if count == 1 else f"{number(count)} {noun}s"


def clock(ms: int) -> str:
    """Return a time (ms since 1970) as the local clock shows it: `14:02:11.153`."""
    return _local(ms).strftime("%H:%M:%S.%f")[:-3]


def moment(ms: int) -> str:
    """Return a time (ms since 1970) with its date: `2026-03-01 14:02:11`."""
    return _local(ms).strftime("%Y-%m-%d %H:%M:%S")


def ago(ms: int, now_ms: int) -> str:
    """Return how long ago a time was."""
    return f"{duration(max(0, now_ms - ms) / 1000)} ago"


def _local(ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone()
    except (OverflowError, OSError, ValueError):  # an entry's id may be any number
        return datetime.fromtimestamp(0).astimezone()
