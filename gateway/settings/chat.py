"""Group chat: the sections `chat` and `history`."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Section


class Chat(Section):
    """What clients write to each other."""

    echo: bool = Field(False, description="The connection that sends a message receives it as well.")
    recall_within_s: float = Field(
        120.0, ge=0, description="How long the author of a message can recall it, in seconds. 0: never."
    )


class History(Section):
    """Which groups keep what is written to them, and how much."""

    groups: tuple[str, ...] = Field((), description="Groups that keep a history: `*`, `?` and `[…]` as in a shell.")
    max_messages: int = Field(1_000, ge=1, le=1_000_000, description="Most messages kept of one group.")
    retention_days: float = Field(30.0, gt=0, le=3_650, description="How long a message is kept, in days.")
