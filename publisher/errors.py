"""
What can go wrong when publishing.

    PublishError            the event was not stored, and will not be unless something changes
     ├── PublishUnavailable  Redis cannot take it now (down, read-only, out of memory): try later
     ├── PublishUnknown      the reply was lost: it may be stored or not
     └── PublishIncomplete   of several events some failed: each has a result of its own
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
    """
    The connection broke after sending: the event may be stored or not. Publish again under the same `key`.

    Attributes:
        key: The idempotency key it was sent under, the caller's or one that the publisher made (remembered
        for a
            minute); None where there was none.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class PublishIncomplete(PublishError):
    """
    Some events of a `publish_many` were stored and others not, or not all for one reason, or all may be stored or not.

    Attributes:
        results: For each event, in the order given, its id or the error that it met.
    """

    def __init__(self, results: list[str | PublishError]) -> None:
        failed = [result for result in results if isinstance(result, PublishError)]
        super().__init__(
            f"{len(failed)} of {len(results)} events failed, the first with: {failed[0]}; "
            "see `results`, and publish those again"
        )
        self.results = results
