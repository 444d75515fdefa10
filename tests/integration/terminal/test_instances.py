"""`gateway instances`."""

from __future__ import annotations

import json
import os

from gateway.version import VERSION
from tests.integration.terminal.conftest import NO_REDIS
from tests.support.clients import connected
from tests.support.gateway import running_gateway
from tests.support.waiting import wait_until


def rows(done):
    return [line.split() for line in done.out.splitlines()]


async def test_every_live_instance_has_a_line_sorted_by_id(redis_shell, redis_url):
    async with running_gateway(redis_url, instance__id="b"), running_gateway(redis_url, instance__id="a"):
        done = await redis_shell.gateway("instances")
    assert (done.status, done.err) == (0, "")
    assert rows(done)[0][:3] == ["INSTANCE", "ADDRESS", "UPTIME"]
    assert [row[0] for row in rows(done)[1:3]] == ["a", "b"]
    assert rows(done)[1][-4:-1] == [VERSION, str(os.getpid()), "on"]
    assert "2 instances, 0 connections; on redis://127.0.0.1:" in done.out


async def test_json_has_the_facts_and_no_lease_token(shell, gateway, tide):
    async with connected(gateway):
        await tide.publish("e", 1, to="all")
        done = await shell.gateway("instances", "--json")
    (instance,) = json.loads(done.out)["instances"]
    assert instance["id"] == gateway.instance_id
    assert (instance["pid"], instance["version"]) == (os.getpid(), VERSION)
    assert {"address", "started_at", "connections", "events", "deliveries", "host"} <= instance.keys()
    assert "token" not in instance
    assert json.loads(done.out)["groups_without_instance"] == []


async def test_the_lag_counts_what_is_not_read_per_partition(redis_shell, redis_server, redis_url):
    async with running_gateway(redis_url, instance__id="a", log__partitions=2):
        with redis_server.client() as client:
            client.hset("tg:instance:slow", mapping={"pid": "1", "token": "t"})
            client.xgroup_create("tg:{events:0}", "gw:slow", "$", mkstream=True)
            client.xadd("tg:{events:0}", {"v": "1"})
            client.xadd("tg:{events:0}", {"v": "1"})

        async def lags():
            done = await redis_shell.gateway("instances", "--json", GATEWAY_LOG__PARTITIONS="2")
            return {instance["id"]: instance["lag"] for instance in json.loads(done.out)["instances"]}

        await wait_until(lambda: _equals(lags, {"a": [0, 0], "slow": [2, None]}), 60)
        shown = await redis_shell.gateway("instances", GATEWAY_LOG__PARTITIONS="2")
    assert " 0/0 " in shown.out
    assert " 2/? " in shown.out


async def _equals(function, expected):
    return await function() == expected


async def test_groups_without_an_instance_are_listed(shell, gateway, redis_server):
    with redis_server.client() as client:
        client.xgroup_create("tg:{events:0}", "gw:gone", "0", mkstream=True)
        client.xgroup_createconsumer("tg:{events:0}", "gw:gone", "gone")
        client.xgroup_create("tg:{events:0}", "somebody-elses", "0")
    done = await shell.gateway("instances")
    in_json = await shell.gateway("instances", "--json")
    assert "Groups whose instance is gone" in done.out
    assert rows(done)[-1][0] == "gone"
    assert [group["id"] for group in json.loads(in_json.out)["groups_without_instance"]] == ["gone"]


async def test_where_nobody_lives_it_says_so(redis_shell):
    done = await redis_shell.gateway("instances")
    in_json = await redis_shell.gateway("instances", "--json")
    assert done.out.startswith("No instance lives on redis://127.0.0.1:")
    assert json.loads(in_json.out) == {"instances": [], "groups_without_instance": []}
    assert (done.status, in_json.status) == (0, 0)


async def test_without_redis_it_says_so(redis_shell):
    done = await redis_shell.gateway("instances", GATEWAY_REDIS__URL=NO_REDIS)
    assert (done.status, done.out) == (1, "")
    assert "gateway: redis.url: no answer from redis://127.0.0.1:" in done.err
