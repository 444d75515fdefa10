"""
What can go wrong when publishing.

    PublishError            the event was not stored, and will not be unless something changes
     ├── PublishUnavailable  Redis cannot take it now (down, read-only, out of memory): try later
     └── PublishUnknown      the reply was lost: it may be stored or not
"""

from __future__ import annotations


class PublishError(Exception):
    """The event was not stored. The message says what is wrong and what to change."""


class PublishUnavailable(PublishError):
    """
    Redis cannot take events at the moment; nothing was stored.

    Attributes:
        retry_after_ms: A sensible time to wait before trying again.
    """

    def __init__(self, message: str, *, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class PublishUnknown(PublishError):
    """The connection broke after sending: the event may be stored or not. Publish again under the same `key`."""
