"""What becomes of a command whose standard output is full, closed, or in an encoding that lacks characters."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.terminal import Done, run

FULL = "gateway: standard output: cannot be written: No space left on device\n"
CLOSED = "gateway: standard output: is closed\n"
TEXT = "é ☃ 😀"


async def redirected(shell, redirection: str, *arguments: str, **environ: str) -> Done:
    command = [sys.executable, "-W", "error", "-m", "gateway", *arguments]
    return await run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command], cwd=shell.folder, environ=shell.environ | environ
    )


@pytest.mark.parametrize(
    "arguments", [["token"], ["check"], ["instances"], ["asyncapi"], ["--help"], ["--version"], ["apikey", "x"]]
)
async def test_full_output_is_said_in_one_line(redis_shell, arguments):
    done = await redirected(redis_shell, "> /dev/full", *arguments)
    assert (done.status, done.err) == (1, FULL)


async def test_full_output_is_not_taken_for_redis(redis_shell, tide):
    await tide.publish("hello", {}, to="all")
    done = await redirected(redis_shell, "> /dev/full", "tail", "--since", "0")
    assert done.status == 1
    assert done.err.endswith(FULL)
    assert "redis.url" not in done.err


async def test_full_output_is_not_taken_for_a_lost_connection(shell):
    done = await redirected(shell, "> /dev/full", "connect", "--json")
    assert done.status == 1
    assert done.err.endswith(FULL)
    assert "no connection" not in done.err


@pytest.mark.parametrize("arguments", [["token"], ["check"], ["instances"], ["tail"], ["openapi"]])
async def test_closed_output_is_said_in_one_line(redis_shell, arguments):
    done = await redirected(redis_shell, ">&-", *arguments)
    assert (done.status, done.err) == (1, CLOSED)


async def test_closed_standard_error_is_no_reason_to_fail(redis_shell):
    done = await redirected(redis_shell, "2>&-", "token")
    assert (done.status, done.out.count(".")) == (0, 2)
    done = await redirected(redis_shell, "2>&-", "token", "--ttl", "0")
    assert (done.status, done.out) == (1, "")


async def test_encoding_that_lacks_characters_is_no_reason_to_fail(redis_shell):
    done = await redis_shell.gateway("check", PYTHONIOENCODING="ascii")
    assert (done.status, done.err) == (0, "")
    assert "? no error" in done.out


@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_data_are_shown_in_an_encoding_that_lacks_them(redis_shell, tide, arguments):
    await tide.publish("hello", {"text": TEXT}, to="all")
    async with redis_shell.piped("tail", "--since", "0", *arguments, PYTHONIOENCODING="ascii") as tail:
        await tail.shows("hello")
        await tail.shows("\n")
    if arguments:
        assert json.loads(tail.lines()[0])["data"] == {"text": TEXT}
    else:
        assert '{"text":"? ? ?"}' in tail.out


async def test_frames_are_shown_in_an_encoding_that_lacks_characters(shell, tide):
    async with shell.piped("connect", PYTHONIOENCODING="ascii") as client:
        await client.shows("welcome")
        await tide.publish("hello", {"text": TEXT}, to="all")
        await client.shows('{"text":"? ? ?"}')
