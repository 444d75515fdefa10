"""Where `gateway tail --since` starts, and where Redis is said to be."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.terminal.addresses import without_password
from gateway.terminal.tail import start_positions

NOW = 1_764_930_000_000


def test_an_id_is_exact_in_its_partition_and_a_time_in_the_others():
    before = (NOW - 1, 2**64 - 1)
    assert start_positions(f"{NOW}-3.1.abc", range(3), NOW) == {0: before, 1: (NOW, 3), 2: before}
    assert start_positions(f"{NOW}-3", range(2), NOW) == {0: (NOW, 3), 1: (NOW, 3)}


def test_a_time_in_ms_and_the_beginning():
    assert start_positions(str(NOW), range(1), NOW) == {0: (NOW - 1, 2**64 - 1)}
    assert start_positions("0", range(1), NOW) == {0: (0, 0)}


def test_how_far_back():
    assert start_positions("5m", range(2), NOW) == {0: (NOW - 300_000, 0), 1: (NOW - 300_000, 0)}
    assert start_positions("90", range(1), NOW) == {0: (NOW - 90_000, 0)}


@pytest.mark.parametrize("since", ["", "yesterday", "1-", "1-2.3.4.5"])
def test_anything_else_is_refused(since):
    with pytest.raises(ConfigError, match="--since"):
        start_positions(since, range(1), NOW)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:pw@host:1/0", "redis://:***@host:1/0"),
        ("rediss://user:p:w/x@y@host/0", "rediss://user:***@host/0"),
        ("redis://user@host/0", "redis://user@host/0"),
        ("unix:///tmp/a.sock?db=1&password=pw", "unix:///tmp/a.sock?db=1&password=***"),
        ("unix:///tmp/a.sock?password=pw&db=1", "unix:///tmp/a.sock?password=***&db=1"),
    ],
)
def test_a_password_is_not_shown(url, shown):
    assert without_password(url) == shown
