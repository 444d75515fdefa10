"""`gateway explain`."""

from __future__ import annotations

import json
import time

import pytest

from gateway.services import Departure
from gateway.terminal.quantities import duration
from publisher import Publisher
from tests.integration.terminal.conftest import NO_REDIS
from tests.support.clients import connected, settled
from tests.support.gateway import running_gateway
from tests.support.waiting import wait_until


def verdict(done):
    return done.out.partition("\n")[0]


async def left(gateway, count=1):
    await wait_until(lambda: len(gateway.services.departed) >= count)
    await next_millisecond()


async def next_millisecond():
    """Wait until what happens now has a later time than what has happened: times are in whole ms."""
    now = int(time.time() * 1000)
    await wait_until(lambda: int(time.time() * 1000) > now)


async def test_delivered(shell, gateway, tide, redis_server):
    async with connected(gateway, "42") as client:
        event_id = await tide.publish("order.shipped", {"order": 7}, to=["user:42", "tag:x"], expires_in=60)
        await client.next("order.shipped")
        done = await shell.gateway("explain", event_id, "--user", "42")
        bare = await shell.gateway("explain", event_id.partition(".")[0], "--user", "42")
    with redis_server.client() as log:  # when it expires was said before it was stored
        ((_, entry),) = log.xrange("tg:{events:0}", event_id.partition(".")[0], event_id.partition(".")[0])
    valid_s = (int(entry["exp"]) - int(event_id.partition("-")[0])) / 1000
    sent = f"sent to client {client.client_id} on instance {gateway.instance_id}"
    assert (done.status, done.err) == (0, "")
    assert verdict(done) == f"✓ user 42 got it: {sent}"
    for text in (
        f"order.shipped  {event_id}",
        "11 B of data",
        "user:42, tag:x",
        f"after {duration(valid_s)}: still valid",
        "by way of",
    ):
        assert text in done.out
    assert (bare.status, verdict(bare)) == (0, verdict(done))


async def test_json_has_all_of_it(shell, gateway, tide):
    async with connected(gateway, "42") as client:
        event_id = await tide.publish("e", {"order": 7}, to="user:42")
        await client.next("e")
        done = await shell.gateway("explain", event_id, "--user", "42", "--json")
    found = json.loads(done.out)
    assert (done.status, found["delivered"], found["silent"]) == (0, True, [])
    assert (found["event"]["id"], found["event"]["data"]) == (event_id, {"order": 7})
    (answer,) = found["instances"]
    assert answer["connections"][0]["client"] == client.client_id


async def test_every_instance_is_asked(redis_shell, redis_url, tide):
    async with (
        running_gateway(redis_url, instance__id="a") as first,
        running_gateway(redis_url, instance__id="b") as second,
        connected(second, "42") as client,
    ):
        event_id = await tide.publish("e", 1, to="user:42")
        await client.next("e")
        done = await redis_shell.gateway("explain", event_id, "--user", "42")
    assert first.port != second.port
    assert verdict(done) == f"✓ user 42 got it: sent to client {client.client_id} on instance b"
    assert "a  no connection" in done.out


async def test_never_connected(shell, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert verdict(done) == (
        "✗ user 42 did not get it: no connection at that time; the live instances know of none before it"
    )


async def test_connected_too_late(shell, gateway, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    await gateway.has_read(event_id)
    await next_millisecond()
    async with connected(gateway, "42"):
        done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert "no connection at that time; the next one opened" in verdict(done)


async def test_connected_late_but_resumed(shell, gateway, tide):
    cursor = await tide.publish("e", 1, to="user:42")
    event_id = await tide.publish("e", 2, to="user:42")
    async with connected(gateway, "42", cursor=cursor) as client:
        await client.next("e")
        assert (await shell.gateway("explain", event_id, "--user", "42")).status == 0


async def test_gone_before_it_came(shell, gateway, tide):
    async with connected(gateway, "42"):
        await tide.kick("42", code=4408)
        await left(gateway)
    event_id = await tide.publish("e", 1, to="user:42")
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert "no connection at that time; the last one closed" in verdict(done)
    assert verdict(done).endswith("before with 4408 (timeout)")


async def test_gone_after_it_came(shell, gateway, tide):
    async with connected(gateway, "42") as client:
        event_id = await tide.publish("e", 1, to="user:42")
        await client.next("e")
    await left(gateway)
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert verdict(done).startswith("? nobody can tell whether user 42 got it: it was connected at that time")
    assert "closed with 1000 (normal)" in verdict(done)


async def test_resumed_and_gone_again(shell, gateway, tide):
    cursor = await tide.publish("e", 1, to="user:42")
    event_id = await tide.publish("e", 2, to="user:42")
    await next_millisecond()
    async with connected(gateway, "42", cursor=cursor) as client:
        await client.next("e")
    await left(gateway)
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert verdict(done).startswith("? nobody can tell whether user 42 got it: a connection that opened ")
    assert "after it may have resumed from before it, and has ended" in verdict(done)
    assert "closed with 1000 (normal); it had resumed" in done.out


async def test_came_later_without_a_cursor_and_gone_again(shell, gateway, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    await gateway.has_read(event_id)
    await next_millisecond()
    async with connected(gateway, "42"):
        pass
    await left(gateway)
    assert verdict(await shell.gateway("explain", event_id, "--user", "42")).startswith("✗")


async def test_the_instance_that_delivered_it_was_restarted(redis_shell, redis_url, tide):
    async with running_gateway(redis_url, instance__id="a") as gateway, connected(gateway, "42") as client:
        event_id = await tide.publish("e", 1, to="user:42")
        await client.next("e")
    async with running_gateway(redis_url, instance__id="a"):
        done = await redis_shell.gateway("explain", event_id, "--user", "42")
        later = await tide.publish("e", 1, to="user:42")
        known = await redis_shell.gateway("explain", later, "--user", "42")
    assert verdict(done) == "? nobody can tell whether user 42 got it: instance a started only after the event"
    assert verdict(known).startswith("✗")


async def test_the_instance_that_delivered_it_was_stopped(redis_shell, redis_url, tide):
    async with running_gateway(redis_url, instance__id="b"):
        async with running_gateway(redis_url, instance__id="a") as gateway, connected(gateway, "42") as client:
            event_id = await tide.publish("e", 1, to="user:42")
            await client.next("e")
        done = await redis_shell.gateway("explain", event_id, "--user", "42")
        later = await tide.publish("e", 1, to="user:42")
        known = await redis_shell.gateway("explain", later, "--user", "42")
    assert verdict(done) == "? nobody can tell whether user 42 got it: instance a had read it, and stopped since"
    assert verdict(known).startswith("✗")


async def test_more_have_gone_than_an_instance_remembers(shell, gateway, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    remembered = gateway.services.departed
    for client in range(remembered.maxlen):
        remembered.append(Departure("default", "7", str(client), 1, int(time.time() * 1000), 1000, resumed=False))
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert verdict(done).startswith("? nobody can tell")
    assert f"instance {gateway.instance_id} no longer knows all the connections" in verdict(done)


async def test_a_user_has_gone_more_often_than_an_answer_says(shell, gateway, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    now = int(time.time() * 1000)
    for client in range(21):
        gateway.services.departed.append(Departure("default", "42", str(client), now, now, 1000, resumed=False))
    assert verdict(await shell.gateway("explain", event_id, "--user", "42")).startswith("? nobody can tell")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"v": "9", "t": "default"}, "field 'to' is missing"),
        ({"e": "e"}, "field 'v' is missing"),
        (
            {"v": "1", "t": "default", "to": "[7]", "e": "e", "m": "m", "d": "1"},
            "its audience is not a list of addresses",
        ),
    ],
)
async def test_poison_is_for_nobody(shell, redis_server, tide, fields, problem):
    await tide.publish("e", 1, to="all")
    with redis_server.client() as client:
        entry_id = client.xadd("tg:{events:0}", fields)
    done = await shell.gateway("explain", entry_id, "--user", "42")
    assert (done.status, done.err) == (1, "")
    assert verdict(done) == f"✗ user 42 did not get it: it is poison, which no gateway delivers: {problem}"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"to": "user:42", "exclude": "user:42"}, "it excludes user:42"),
        ({"to": "user:7"}, "it is addressed to user:7"),
        ({"to": "group:g"}, "not addressed: it holds none of the event's addresses"),
        ({"to": "all", "exclude": "group:mine"}, "excluded by group:mine"),
    ],
)
async def test_not_meant_for_the_user(shell, gateway, tide, options, reason):
    async with connected(gateway, "42", claims={"groups": ["mine"]}) as client:
        event_id = await tide.publish("e", 1, **options)
        await tide.publish("after", 1, to="user:42")
        await client.next("after")
        done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert verdict(done).startswith(f"✗ user 42 did not get it: {reason}")


async def test_another_tenant(shell, tide):
    event_id = await tide.publish("e", 1, to="user:42", tenant="acme")
    done = await shell.gateway("explain", event_id, "--user", "42", "--tenant", "default")
    assert verdict(done) == "✗ user 42 did not get it: the event is of tenant acme, the user of default"
    assert "no connection at that time" in verdict(await shell.gateway("explain", event_id, "--user", "42"))


async def test_an_order_is_for_nobody(shell, redis_server, tide):
    await tide.kick("42")
    with redis_server.client() as client:
        ((entry_id, _),) = client.xrange("tg:{events:0}")
    done = await shell.gateway("explain", entry_id, "--user", "42")
    assert verdict(done) == "✗ user 42 did not get it: it is an order to the gateways (kick), which no client sees"


async def test_in_the_right_partition(redis_shell, redis_url):
    async with (
        running_gateway(redis_url, log__partitions=4) as gateway,
        Publisher(redis_url, partitions=4) as tide,
        connected(gateway, "42") as client,
    ):
        ids = [await tide.publish("e", n, to=["user:42", f"user:{n}"][:: 1 if n % 2 else -1]) for n in range(8)]
        await client.received(8)
        assert len({event_id.split(".")[1] for event_id in ids}) > 1
        for event_id in ids[:3]:
            done = await redis_shell.gateway("explain", event_id, "--user", "42", GATEWAY_LOG__PARTITIONS="4")
            assert (done.status, event_id in done.out) == (0, True), done.out


async def test_an_id_that_several_partitions_have_must_be_given_in_full(redis_shell, redis_server, redis_url):
    with redis_server.client() as client:
        for partition in (0, 1):
            client.xadd(f"tg:{{events:{partition}}}", {"e": "e"}, id="5-0")
            client.set(f"tg:{{events:{partition}}}:epoch", "abc")
    done = await redis_shell.gateway("explain", "5-0", "--user", "42", GATEWAY_LOG__PARTITIONS="2")
    assert done.status == 1
    assert "several partitions have that id, so name the one: 5-0.0.abc, 5-0.1.abc" in done.err


async def test_a_silent_instance_is_named_after_a_while(shell, gateway, redis_server, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    with redis_server.client() as client:
        client.hset("tg:instance:stuck", mapping={"pid": "1"})
        client.expire("tg:instance:stuck", 300)
    done = await shell.gateway("explain", event_id, "--user", "42")
    assert done.status == 1
    assert verdict(done) == "? nobody can tell whether user 42 got it: 1 instance did not answer (stuck)"
    assert f"{gateway.instance_id}  no connection" in done.out


async def test_without_a_gateway_there_is_nobody_to_ask(redis_shell, tide):
    event_id = await tide.publish("e", 1, to="user:42")
    done = await redis_shell.gateway("explain", event_id, "--user", "42")
    assert verdict(done) == "? nobody can tell whether user 42 got it: no gateway runs that could be asked"


async def test_an_event_that_is_gone_or_never_was(redis_shell, redis_server, tide):
    gone = await tide.publish("e", 1, to="all")
    kept = await tide.publish("e", 2, to="all")
    with redis_server.client() as client:
        client.xdel("tg:{events:0}", gone.partition(".")[0])
    trimmed = await redis_shell.gateway("explain", gone, "--user", "42")
    never = await redis_shell.gateway("explain", f"9999999999999-0.{kept.partition('.')[2]}", "--user", "42")
    other = await redis_shell.gateway("explain", kept.rpartition(".")[0] + ".0ther", "--user", "42")
    assert (trimmed.status, never.status, other.status) == (1, 1, 1)
    assert f"gateway: event {gone.partition('.')[0]} is gone: the log reaches back to" in trimmed.err
    assert "gateway: there is no event 9999999999999-0: the log reaches back to" in never.err
    assert "gateway: the event is of another log (epoch 0ther)" in other.err


async def test_an_empty_log(redis_shell):
    done = await redis_shell.gateway("explain", "1-0", "--user", "42")
    assert (done.status, done.err) == (1, "gateway: event 1-0 is gone: the log is empty\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["soon"], "EVENT_ID: 'soon' is none: use what the publisher returned, or a stream entry's id"),
        (["1-0.7.abc"], "EVENT_ID: names partition 7, and log.partitions is 1"),
        (["1-0", "--tenant", "a b"], "--tenant: 'a b' is not a tenant"),
    ],
)
async def test_what_is_no_question_is_refused(redis_shell, arguments, said):
    done = await redis_shell.gateway("explain", *arguments, "--user", "42")
    assert (done.status, done.out) == (1, "")
    assert said in done.err


async def test_the_user_is_required(redis_shell):
    assert (await redis_shell.gateway("explain", "1-0")).status == 2


async def test_without_redis_it_says_so(redis_shell):
    done = await redis_shell.gateway("explain", "1-0", "--user", "42", GATEWAY_REDIS__URL=NO_REDIS)
    assert done.status == 1
    assert f"gateway: redis.url: no answer from {NO_REDIS}" in done.err


async def test_a_group_that_was_had_and_lost(shell, gateway, tide):
    async with connected(gateway, "42") as client:
        ids = [await tide.publish("e", "before", to="group:ops")]
        await tide.groups.add("ops", "42")
        ids.append(await tide.publish("e", "as a member", to="group:ops"))
        await client.next("e")
        await tide.groups.remove("ops", "42")
        ids.append(await tide.publish("e", "after", to="group:ops"))
        await settled(tide, client)
        done = [await shell.gateway("explain", event_id, "--user", "42") for event_id in ids]
    assert [each.status for each in done] == [1, 0, 1]
    assert "by way of group:ops, which the user has lost since" in done[1].out
    assert "not addressed" in done[0].out
    assert "not addressed" in done[2].out
