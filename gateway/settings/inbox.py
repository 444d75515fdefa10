"""What is kept of notifications: the section `inbox`."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Section


class Inbox(Section):
    """The inboxes of users."""

    enabled: bool = Field(
        True, description="Keep notifications in inboxes; without it they are only pushed. The same on all instances."
    )
    max_entries: int = Field(
        1_000, ge=1, le=10_000, description="Most notifications of a user; the oldest give way to newer ones."
    )
    retention_days: float = Field(30.0, gt=0, le=3_650, description="How long a notification is kept, in days.")
