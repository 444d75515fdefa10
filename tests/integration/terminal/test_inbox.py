"""`gateway inbox check`."""

from __future__ import annotations

import json

import pytest

from publisher.keys import inbox, inbox_unread
from tests.integration.terminal.conftest import NO_REDIS
from tests.support.waiting import wait_until


@pytest.fixture
async def written(gateway, tide):
    """Users 1 and 2, and 1 of another tenant, have two notifications each; the ids of the first of them."""
    ids = await tide.notify(["1", "2"], title="t")
    await tide.notify(["1", "2"], title="t")
    for _ in range(2):
        await tide.notify("1", title="t", tenant="acme")
    await wait_until(lambda: gateway.services.metrics.notifications == 6)
    return ids


def spoil(redis_server, user="1", tenant="default"):
    with redis_server.client() as client:
        client.zadd(inbox_unread(0, tenant, user), {"9-0.0.x": 9})


async def test_where_all_is_right_it_says_so(shell, written):
    done = await shell.gateway("inbox", "check")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("3 inboxes of 2 tenants on redis://127.0.0.1:")
    assert "6 notifications, 6 unread as counted anew" in done.out
    assert "Every unread count is what the counting gives." in done.out


async def test_a_wrong_count_is_1_and_repaired_on_request(shell, written, redis_server, gateway):
    spoil(redis_server)
    with redis_server.client() as client:
        client.hdel(inbox(0, "default", "2"), written[1])
    done = await shell.gateway("inbox", "check")
    assert done.status == 1
    assert "2 inboxes are wrong" in done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert ["default", "1", "3", "2", "0", "0"] in rows
    assert ["default", "2", "2", "1", "1", "0"] in rows
    repaired = await shell.gateway("inbox", "check", "--repair")
    assert repaired.status == 0
    assert "2 inboxes are repaired" in repaired.out
    again = await shell.gateway("inbox", "check")
    assert (again.status, "5 notifications, 5 unread" in again.out) == (0, True)
    assert await gateway.services.inbox.unread_count("default", "1") == 2


async def test_it_can_look_at_one_tenant_or_one_user(shell, written, redis_server):
    spoil(redis_server, tenant="acme")

    async def inboxes(*arguments):
        done = await shell.gateway("inbox", "check", "--json", *arguments)
        found = json.loads(done.out)
        return found["inboxes"], len(found["wrong"]), done.status

    assert await inboxes() == (3, 1, 1)
    assert await inboxes("--tenant", "default") == (2, 0, 0)
    assert await inboxes("--tenant", "acme") == (1, 1, 1)
    assert await inboxes("--user", "1") == (1, 0, 0)
    assert await inboxes("--user", "1", "--tenant", "acme") == (1, 1, 1)
    assert await inboxes("--user", "nobody") == (1, 0, 0)
    assert await inboxes("--tenant", "nobody") == (0, 0, 0)


@pytest.mark.parametrize("arguments", [(), ("mend",), ("check", "--tenant", "*"), ("check", "--user", "a\nb")])
async def test_wrong_usage_is_2(redis_shell, arguments):
    assert (await redis_shell.gateway("inbox", *arguments)).status == 2


async def test_without_redis_it_says_so(redis_shell):
    done = await redis_shell.gateway("inbox", "check", GATEWAY_REDIS__URL=NO_REDIS)
    assert (done.status, done.out) == (1, "")
    assert "gateway: redis.url: no answer from" in done.err
