"""`gateway access`."""

from __future__ import annotations

import json

import pytest

from tests.integration.terminal.conftest import NO_REDIS
from tests.support.clients import connected
from tests.support.waiting import wait_until


async def test_a_network_is_blocked_listed_and_cleared(shell, gateway):
    async with connected(gateway, local_addr=("127.0.0.2", 0)) as client:
        done = await shell.gateway("access", "block", "127.0.0.2", "--for", "2h")
        assert (done.status, done.err) == (0, "")
        assert done.out == "127.0.0.2 is blocked for 2 h, on every gateway\n"
        assert (await client.closed())[0] == 4403
    await shell.gateway("access", "allow", "10.0.0.0/8")
    listed = await shell.gateway("access")
    assert [line.split()[:2] for line in listed.out.splitlines()] == [
        ["127.0.0.2/32", "block"],
        ["10.0.0.0/8", "allow"],
    ]
    (first, _) = json.loads((await shell.gateway("access", "--json")).out)
    assert (first["network"], first["action"]) == ("127.0.0.2/32", "block")
    for network in ("127.0.0.2", "10.0.0.0/8"):
        assert (await shell.gateway("access", "clear", network)).status == 0
    await wait_until(lambda: not len(gateway.application.parts.rules))
    assert "No rules were given at run time" in (await shell.gateway("access")).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["block"], "NETWORK: say what to block"),
        (["block", "127.0.0.1/8"], "use 127.0.0.0/8"),
        (["block", "nowhere"], "such as 192.0.2.0/24"),
    ],
)
async def test_what_is_no_network_is_refused_in_one_line(redis_shell, arguments, says):
    done = await redis_shell.gateway("access", *arguments)
    assert done.status == 1
    assert done.err.count("\n") == 1
    assert says in done.err


@pytest.mark.parametrize("arguments", [["ban", "127.0.0.1"], ["block", "127.0.0.1", "--for", "ever"]])
async def test_wrong_usage_is_told(redis_shell, arguments):
    assert (await redis_shell.gateway("access", *arguments)).status == 2


@pytest.mark.parametrize("arguments", [[], ["block", "127.0.0.1"]])
async def test_without_redis_there_is_one_line(redis_shell, arguments):
    url = NO_REDIS.replace("//", "//:secret-word@")
    done = await redis_shell.gateway("access", *arguments, GATEWAY_REDIS__URL=url, GATEWAY_REDIS__TIMEOUT_S="1")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "redis.url: no answer from" in done.err
    assert "secret-word" not in done.err
