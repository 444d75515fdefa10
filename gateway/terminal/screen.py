"""
What `gateway connect` prints: frames and what happens, for people; or the frames alone, for pipes.

Never a token: what is shown of a frame that was sent has its tokens taken out.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final, Protocol

import orjson

from gateway.terminal.quantities import clock, size
from gateway.terminal.shortcuts import Frame
from gateway.terminal.style import cut, printable, style_for

_MOST_SHOWN: Final = 2_000
_NAME_WIDTH: Final = 16
_COLOURS: Final = {
    "welcome": "green",
    "auth_success": "green",
    "ack": "green",
    "pong": "green",
    "echo": "green",
    "error": "red",
    "auth_failed": "red",
    "resync": "yellow",
    "token_expiring": "yellow",
    "going_away": "yellow",
}


class Screen(Protocol):
    """Where a client shows what it does."""

    def received(self, text: str, frame: dict[str, Any], /) -> None:
        """Show a frame that came; `frame` is `text`, parsed."""

    def sent(self, frame: Frame) -> None:
        """Show a frame that was sent."""

    def note(self, text: str, colour: str = "dim") -> None:
        """Say what happens."""


class ReadableScreen:
    """For people: a line for each frame."""

    def __init__(self) -> None:
        self._style = style_for(sys.stdout)

    def received(self, _text: str, frame: dict[str, Any], /) -> None:
        """See `Screen`."""
        kind = str(frame.get("type"))
        colour = _COLOURS.get(kind, "cyan")
        event_id = frame.get("id")
        data = orjson.dumps(frame.get("data")).decode()
        shown = cut(printable(data), _MOST_SHOWN)
        if len(data) > _MOST_SHOWN:
            shown += f" ({size(len(data))})"
        name = self._style(f"{printable(kind):<{_NAME_WIDTH}}", "bold", colour)
        mark = self._style(f"  {printable(str(event_id))}", "dim") if event_id is not None else ""
        self._line(frame.get("timestamp"), self._style("←", colour), f"{name} {shown}{mark}")

    def sent(self, frame: Frame) -> None:
        """See `Screen`."""
        data = json.dumps(_without_tokens(frame.data), ensure_ascii=False, separators=(",", ":"))
        self._line(None, "→", self._style(f"{printable(frame.type):<{_NAME_WIDTH}} {printable(data)}", "dim"))

    def note(self, text: str, colour: str = "dim") -> None:
        """See `Screen`."""
        self._line(None, self._style("·", colour), self._style(text, colour))

    def _line(self, at_ms: object, mark: str, text: str) -> None:
        ms = at_ms if isinstance(at_ms, int) else int(time.time() * 1000)
        print(f"{self._style(clock(ms), 'dim')} {mark} {text}", flush=True)


class JsonScreen:
    """For pipes: frames as they came, one a line; what happens goes to standard error."""

    def received(self, text: str, frame: dict[str, Any], /) -> None:
        """See `Screen`."""
        print(text if "\n" not in text else orjson.dumps(frame).decode(), flush=True)

    def sent(self, frame: Frame) -> None:
        """See `Screen`."""

    def note(self, text: str, colour: str = "dim") -> None:
        """See `Screen`."""
        style = style_for(sys.stderr)
        print(style(f"· {printable(text)}", colour), file=sys.stderr, flush=True)


def _without_tokens(data: Any) -> Any:
    if not isinstance(data, dict):
        return data
    return {key: "***" if "token" in str(key).lower() else value for key, value in data.items()}
