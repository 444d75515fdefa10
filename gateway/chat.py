"""What the chat commands work with, beside what all commands do: wired once, in `wiring`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.history import History
from gateway.recalls import Recalls
from gateway.throttle import Throttle

TYPING_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Chat:
    """
    The collaborators of the chat commands.

    Attributes:
        echo: The connection that sends a message receives it as well.
        recall_within_ms: How long its author can take a message back.
        history: What groups keep.
        recalls: What was taken back.
        typing: Who has just said that they type, and where.
    """

    echo: bool
    recall_within_ms: int
    history: History
    recalls: Recalls
    typing: Throttle = field(default_factory=lambda: Throttle(TYPING_EVERY_S))
