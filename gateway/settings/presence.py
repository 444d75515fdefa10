"""Who is online: the section `presence`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.settings.section import Section


class Presence(Section):
    """Who is online, and who is in which group."""

    enabled: bool = Field(True, description="Keep track of who is online.")
    groups: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Groups of which is known who is in them, and whose members hear of joins and leaves: patterns, "
        "`*`, `?` and `[…]` as in a shell.",
    )
    leave_grace_s: float = Field(
        1.0, ge=0, description="One who is back within this time has not left, in seconds: a page may be reloaded."
    )
