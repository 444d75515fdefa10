"""Figures as people read them: three digits, with a unit."""

from __future__ import annotations

TIMES = "\N{MULTIPLICATION SIGN}"
TIMES_A = f"{TIMES} (a)"
TIMES_B = f"{TIMES} (b)"


def digits(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rate(per_second: float) -> str:
    """Return a number per second, as 812/s, 81.2 k/s or 5.31 M/s."""
    if per_second >= 1e6:
        return f"{digits(per_second / 1e6)} M/s"
    return f"{digits(per_second / 1e3)} k/s" if per_second >= 1e4 else f"{per_second:,.0f}/s"


def time_us(value: float) -> str:
    """Return a duration given in microseconds, in µs or ms."""
    return f"{digits(value / 1e3)} ms" if value >= 1e3 else f"{digits(value)} µs"
