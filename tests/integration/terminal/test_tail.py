"""`gateway tail`."""

from __future__ import annotations

import json
import re
import signal

import pytest

from publisher import Publisher, make_event
from publisher.event import CANARY, KIND_CONTROL
from tests.integration.terminal.conftest import NO_REDIS
from tests.support.redis_server import RedisServer
from tests.support.terminal import CTRL_C
from tests.support.waiting import wait_until


def events(piped):
    return [json.loads(line) for line in piped.lines()]


async def data(piped, count):
    await wait_until(lambda: len(piped.lines()) >= count, 60)
    return [event["data"] for event in events(piped)]


async def test_json_has_everything(redis_shell, tide):
    async with redis_shell.piped("tail", "--json") as tail:
        await tail.shows("Ctrl-C ends", err=True)
        event_id = await tide.publish(
            "e", {"a": [1]}, to=["user:1", "tag:t"], exclude="user:2", tenant="acme",
            message_id="m", expires_in=60, priority="low", collapse="c",
        )  # fmt: skip
        await data(tail, 1)
    (event,) = events(tail)
    assert event.pop("expires_at") == pytest.approx(event["time"] + 60_000, abs=20_000)
    assert event == {
        "id": event_id,
        "time": int(event_id.partition("-")[0]),
        "partition": 0,
        "tenant": "acme",
        "to": ["user:1", "tag:t"],
        "exclude": ["user:2"],
        "event": "e",
        "message_id": "m",
        "kind": "event",
        "priority": "low",
        "collapse": "c",
        "size": 9,
        "data": {"a": [1]},
    }


async def test_a_person_reads_a_line_for_each_event(redis_shell, tide):
    async with redis_shell.terminal("tail") as terminal:
        await terminal.shows("Ctrl-C ends")
        event_id = await tide.publish("order.shipped", {"order": 7}, to="user:42")
        await terminal.shows('{"order":7}')
        await tide.publish(
            "e", "x" * 9_000, to="group:g", exclude="user:1", tenant="acme", expires_in=60, priority="low", collapse="c"
        )
        await tide.kick("7")
        await terminal.shows("control")
        terminal.press(CTRL_C)
        assert await terminal.ended() == 130
    plain, rich, kick = [line for line in terminal.shown.splitlines() if re.search(r"-\d+\.0\.", line)]
    assert plain.split()[1:] == [event_id, "default", "user:42", "order.shipped", "11", "B", '{"order":7}']
    for part in ("acme", "group:g", "8.8 KiB", "not user:1", "expires after", "low", "collapse=c", "…"):
        assert part in rich
    assert rich.count("x") < 100
    assert kick.split()[2:5] == ["default", "user:7", "kick"]
    assert "Traceback" not in terminal.shown
    assert "\x1b[" in terminal.painted


async def test_a_pipe_gets_the_whole_line(redis_shell, tide):
    users = [f"user:{number}-{'y' * 50}" for number in range(6)]
    await tide.publish("e", "x" * 9_000, to=users)
    async with redis_shell.piped("tail", "--since", "0") as tail:
        await tail.shows("\n")
    (line,) = tail.lines()
    assert line.split()[3] == ",".join(users)
    assert line.endswith(f'  "{"x" * 9_000}"')


async def test_it_leaves_no_trace_in_redis(redis_shell, redis_server, tide):
    await tide.publish("e", 1, to="all")
    with redis_server.client() as client:
        before = sorted(client.scan_iter())
        async with redis_shell.piped("tail", "--json", "--since", "0") as tail:
            await data(tail, 1)
            assert client.xinfo_groups("tg:{events:0}") == []
            assert sorted(client.scan_iter()) == before


@pytest.mark.parametrize("since", ["id", "stream id", "0", "5m"])
async def test_it_starts_where_it_is_told(redis_shell, tide, since):
    first = await tide.publish("e", 1, to="all")
    await tide.publish("e", 2, to="all")
    starts = {"id": (first, [2]), "stream id": (first.partition(".")[0], [2]), "0": ("0", [1, 2]), "5m": ("5m", [1, 2])}
    start, expected = starts[since]
    async with redis_shell.piped("tail", "--json", "--since", start) as tail:
        assert await data(tail, len(expected)) == expected


async def test_it_reads_every_partition_in_order(redis_shell, redis_url):
    async with Publisher(redis_url, partitions=4) as tide:
        for number in range(20):
            await tide.publish("e", number, to=f"user:{number}")
        async with redis_shell.piped("tail", "--json", "--since", "1h", GATEWAY_LOG__PARTITIONS="4") as tail:
            await data(tail, 20)
    assert {event["partition"] for event in events(tail)} == {0, 1, 2, 3}
    times = [event["time"] for event in events(tail)]
    assert times == sorted(times)


async def test_it_goes_on_when_redis_comes_back(redis_shell):
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        async with (
            redis_shell.piped("tail", "--json", GATEWAY_REDIS__URL=server.url) as tail,
            Publisher(server.url) as t,
        ):
            await tail.shows("Ctrl-C ends", err=True)
            await t.publish("e", 1, to="all")
            await data(tail, 1)
            server.kill()
            await tail.shows("does not answer", err=True)
            server.start()
            await t.publish("e", 2, to="all")
            assert await data(tail, 2) == [1, 2]
            await tail.shows("Redis is back", err=True)


async def test_it_begins_anew_where_the_log_was_lost(redis_shell, redis_server, tide):
    async with redis_shell.piped("tail", "--json") as tail:
        await tail.shows("Ctrl-C ends", err=True)
        lost = await tide.publish("e", 1, to="all")
        await data(tail, 1)
        with redis_server.client() as client:
            client.flushall()
        again = await tide.publish("e", 2, to="all")
        assert await data(tail, 2) == [1, 2]
        assert events(tail)[1]["id"] == again
        assert again.rpartition(".")[2] != lost.rpartition(".")[2]


async def test_what_is_not_ours_is_shown_as_far_as_it_goes(redis_shell, redis_server, redis_url):
    async with redis_shell.terminal("tail") as person, redis_shell.piped("tail", "--json") as pipe:
        await person.shows("Ctrl-C ends")
        await pipe.shows("Ctrl-C ends", err=True)
        with redis_server.client() as client:
            client.xadd("tg:{events:0}", {"d": b"\xff\x1b[2J{", "to": "no json", "e": "a\nb"})
        await data(pipe, 1)
        await person.shows("no json")
    (event,) = events(pipe)
    assert event["to"] == ["no json"]
    assert event["data"] == "\ufffd\x1b[2J{"
    assert "\x1b[2J" not in person.painted
    assert "a\\u000ab" in person.shown


@pytest.mark.parametrize("since", ["yesterday", "5 parsecs", "-1"])
async def test_a_start_that_is_none_is_refused(redis_shell, since):
    done = await redis_shell.gateway("tail", f"--since={since}")
    assert done.status == 1
    assert done.err == f"gateway: --since: '{since}': use an event's id, `0`, or how far back: 30s, 5m, 1h\n"


async def test_without_redis_it_says_so_at_once(redis_shell):
    done = await redis_shell.gateway("tail", GATEWAY_REDIS__URL=NO_REDIS.replace("//", "//:hunter2@"))
    assert done.status == 1
    assert done.err.startswith("gateway: redis.url: no answer from redis://:***@127.0.0.1:")
    assert "hunter2" not in done.err


async def test_it_ends_with_its_reader(redis_shell, tide):
    async with redis_shell.piped("tail", "--json") as tail:
        await tail.shows("Ctrl-C ends", err=True)
        tail.close_output()
        await tide.publish("e", 1, to="all")
        assert await tail.ended() == 1


async def test_an_interrupt_ends_it(redis_shell):
    async with redis_shell.piped("tail") as tail:
        await tail.shows("Ctrl-C ends", err=True)
        tail.signal(signal.SIGINT)
        assert await tail.ended() == 130


async def test_canaries_are_not_shown_and_other_orders_are(redis_shell, tide):
    async with redis_shell.piped("tail", "--json") as tail:
        await tail.shows("Ctrl-C ends", err=True)
        await tide.submit(make_event(CANARY, {}, to="topic:order-0", kind=KIND_CONTROL))
        await tide.kick("7")
        await tide.publish(CANARY, "a service's own", to="all")
        await data(tail, 2)
    assert [(event["event"], event["kind"]) for event in events(tail)] == [("kick", "control"), (CANARY, "event")]
