"""
Failures: what an error of redis-py means for the command that met it.

Pure: the asyncio and the blocking publisher judge by the same table.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from redis import exceptions as redis_errors

# All that redis-py raises; its cluster exceptions stand outside of its own tree.
REDIS_ERRORS: Final = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError)

# uvloop has a RuntimeError for a connection that is written to after the peer has closed it; redis-py passes it on.
ASYNCIO_ERRORS: Final = (*REDIS_ERRORS, RuntimeError)


class Failure(Enum):
    """What became of a command."""

    TRANSIENT = auto()  # refused or never sent; may succeed later
    PERMANENT = auto()  # refused, and will be again
    NO_SCRIPT = auto()  # refused: send the script's source
    REDIRECT = auto()  # refused: ask another node of the cluster
    LOST = auto()  # no answer: done or not


_ANSWERS: Final[tuple[tuple[type[Exception], Failure], ...]] = (
    (redis_errors.NoScriptError, Failure.NO_SCRIPT),
    (redis_errors.AskError, Failure.REDIRECT),  # and MovedError, its subclass
    (redis_errors.BusyLoadingError, Failure.TRANSIENT),
    (redis_errors.ReadOnlyError, Failure.TRANSIENT),
    (redis_errors.OutOfMemoryError, Failure.TRANSIENT),
    (redis_errors.ClusterDownError, Failure.TRANSIENT),  # and MasterDownError
    (redis_errors.TryAgainError, Failure.TRANSIENT),
    (redis_errors.AuthenticationError, Failure.PERMANENT),
    (redis_errors.AuthorizationError, Failure.PERMANENT),
)
# redis-py has no types for these.
_TRANSIENT_CODES: Final = ("MISCONF", "NOREPLICAS", "BUSY", "UNKILLABLE")


def failure_of(error: BaseException) -> Failure:
    """Tell what `error` means for a command that was sent and has been met by it."""
    for kind, failure in _ANSWERS:
        if isinstance(error, kind):
            return failure
    if isinstance(error, redis_errors.ResponseError):
        transient = str(error).split(" ", 1)[0] in _TRANSIENT_CODES
        return Failure.TRANSIENT if transient else Failure.PERMANENT
    return Failure.TRANSIENT if has_closed(error) else Failure.LOST


def failure_before_sending(error: BaseException) -> Failure:
    """Tell what `error` means for commands that were not sent, because there was no connection to be had."""
    return Failure.PERMANENT if failure_of(error) is Failure.PERMANENT else Failure.TRANSIENT


def has_closed(error: BaseException) -> bool:
    """
    Tell whether redis-py closed the connection upon an answer.

    Its Sentinel connection does so on READONLY, and raises ConnectionError in its place.
    """
    return isinstance(error, redis_errors.ConnectionError) and isinstance(error.__context__, redis_errors.ReadOnlyError)


def is_demotion(error: BaseException) -> bool:
    """Tell whether the server is a replica now: the next connection may lead to its successor."""
    return isinstance(error, redis_errors.ReadOnlyError)


def describe(error: BaseException) -> str:
    """Say it in one line for an operator; redis-py cuts the code off the messages of errors it has types for."""
    text = " ".join(str(error).split())[:300]
    name = type(error).__name__
    return f"{name}: {text}" if text else name
