"""
The trace that an event belongs to: `traceparent` (W3C Trace Context, section 3.2), from the caller or the current span.

Without OpenTelemetry in the process there is no span, and looking for one is a look into a dict. Nothing is imported:
whoever has a span has imported the API (and so has redis-py, where it is installed: then it is a look at a context
variable).
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final

# Version 255 is invalid, and so are ids of zeros.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch


def is_traceparent(value: bytes) -> bool:
    """Tell whether this is one."""
    return _TRACEPARENT(value) is not None


def current_traceparent() -> str | None:
    """Return that of the current span; None where there is none."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    span = api.get_current_span()
    if span is api.INVALID_SPAN:
        return None
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
