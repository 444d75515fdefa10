"""Failures: what an error of redis-py means."""

from __future__ import annotations

import pytest
from redis import exceptions as redis_errors

from publisher.failure import REDIS_ERRORS, Failure, describe, failure_before_sending, failure_of, has_closed

TABLE = [
    (redis_errors.ReadOnlyError("You can't write against a read only replica."), Failure.TRANSIENT),
    (redis_errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Failure.TRANSIENT),
    (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), Failure.TRANSIENT),
    (redis_errors.ClusterDownError("The cluster is down"), Failure.TRANSIENT),
    (redis_errors.MasterDownError("Link with MASTER is down"), Failure.TRANSIENT),
    (redis_errors.TryAgainError("Multiple keys request during rehashing of slot"), Failure.TRANSIENT),
    (redis_errors.ResponseError("MISCONF Errors writing to the AOF file: No space left"), Failure.TRANSIENT),
    (redis_errors.ResponseError("NOREPLICAS Not enough good replicas to write."), Failure.TRANSIENT),
    (redis_errors.ResponseError("BUSY Redis is busy running a script."), Failure.TRANSIENT),
    (redis_errors.NoScriptError("No matching script."), Failure.NO_SCRIPT),
    (redis_errors.MovedError("7000 127.0.0.1:7001"), Failure.REDIRECT),
    (redis_errors.AskError("7000 127.0.0.1:7001"), Failure.REDIRECT),
    (redis_errors.ResponseError("WRONGTYPE Operation against a key"), Failure.PERMANENT),
    (redis_errors.NoPermissionError("this user has no permissions"), Failure.PERMANENT),
    (redis_errors.AuthenticationError("Authentication required."), Failure.PERMANENT),
    (redis_errors.ConnectionError("Connection closed by server."), Failure.LOST),
    (redis_errors.TimeoutError("Timeout reading from socket"), Failure.LOST),
    (ConnectionResetError(), Failure.LOST),
    (TimeoutError(), Failure.LOST),
]


@pytest.mark.parametrize(("error", "failure"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_has_its_meaning(error, failure):
    assert isinstance(error, REDIS_ERRORS)
    assert failure_of(error) is failure


@pytest.mark.parametrize(("error", "failure"), TABLE, ids=lambda value: type(value).__name__)
def test_before_sending_an_error_is_permanent_or_not(error, failure):
    expected = Failure.PERMANENT if failure is Failure.PERMANENT else Failure.TRANSIENT
    assert failure_before_sending(error) is expected


def drop_on_readonly():
    try:
        raise redis_errors.ReadOnlyError("You can't write against a read only replica.")
    except redis_errors.ReadOnlyError:
        raise redis_errors.ConnectionError("The previous master is now a slave")  # noqa: B904 - as redis-py does


def test_a_sentinel_connection_that_dropped_itself_on_readonly_was_an_answer():
    with pytest.raises(redis_errors.ConnectionError) as caught:
        drop_on_readonly()
    assert failure_of(caught.value) is Failure.TRANSIENT
    assert has_closed(caught.value)


def test_a_description_is_one_short_line():
    text = describe(redis_errors.ResponseError("a\r\nb " + "x" * 1000))
    assert text.startswith("ResponseError: a b xxx")
    assert len(text) < 400
