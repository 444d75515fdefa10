"""
Logging: structlog to standard error, as JSON for machines or as text for people.

What a peer sent may be a value in a line, but never a part of its form: see `_tame`. What other libraries log comes the
same way.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, Final, Literal

import orjson
import structlog

from gateway.terminal.style import cut, printable

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MOST_CHARS: Final = 300  # of one value
_MOST_TRACE_LINES: Final = 100
_TRACE_MARGIN: Final = "  | "


class _Stamp:
    """Adds `timestamp`, ISO 8601 in UTC; formats a second once, which is most of what a line would cost."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, _logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        event["timestamp"] = f"{self._text}.{microseconds:06}Z"
        return event


def configure(level: Literal["debug", "info", "warning", "error"], style: Literal["json", "console"]) -> None:
    """Set up structlog for this process, and pass on to it what libraries log."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _Stamp(),
        # Without local variables: those hold tokens and payloads. The console's own formatter may show them.
        structlog.processors.format_exc_info,
        _tame,
    ]
    if style == "json":
        processors.append(
            structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str))
        )
        factory: Any = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        plain: Any = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Forward(logging.WARNING)]


class _Forward(logging.Handler):
    """What asyncio and other libraries have to say, in our form: theirs would print it as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        log = structlog.get_logger()
        try:
            message = record.getMessage()
        except Exception:  # what was to be logged cannot be: that is no reason to fail
            message = "(cannot be shown)"
        log.log(record.levelno, "library_log", logger=record.name, message=message, exc_info=record.exc_info)


def _tame(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """
    Make every value harmless: a name may hold what ends a line, moves a cursor or turns the reading direction.

    A traceback keeps its lines, each behind a margin, so that none looks like one of ours.
    """
    for name, value in event.items():
        if name == "exception":
            lines = str(value).splitlines()[-_MOST_TRACE_LINES:]
            event[name] = "\n".join(_TRACE_MARGIN + cut(printable(line), _MOST_CHARS) for line in lines)
        else:
            event[name] = _tamed(value)
    return event


def _tamed(value: Any) -> Any:
    if isinstance(value, str):
        return cut(printable(value), _MOST_CHARS)
    if isinstance(value, dict):
        return {_tamed(name): _tamed(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tamed(item) for item in value]
    return value
