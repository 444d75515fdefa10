"""Pipelining: what is published at once travels together."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Publisher, PublishError, PublishUnavailable, PublishUnknown, make_event
from tests.integration.publisher.conftest import PATIENCE_S, warm
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until

EVENT = make_event("e", 1, to="all")


def reads_and_calls(server):
    """How often the server has read from its clients, and how many scripts it has run for them."""
    with server.client() as client:
        calls = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        return client.info("stats")["total_reads_processed"], calls


async def test_concurrent_publishes_share_pipelines_and_one_connection(server, url):
    with TcpProxy(server.port) as proxy:
        async with Publisher(proxy.url, timeout_s=PATIENCE_S) as tide:
            await tide.publish("e", 1, to="all")
            reads, calls = reads_and_calls(server)
            ids = await asyncio.gather(*(tide.publish("e", n, to="all") for n in range(500)))
            more_reads, more_calls = (a - b for a, b in zip(reads_and_calls(server), (reads, calls), strict=True))
        assert proxy.connections == 1
    assert len(set(ids)) == 500
    assert more_calls == 500
    assert more_reads < 60


async def test_many_blocking_events_are_a_pipeline_too(server, url, open_publisher):
    tide = open_publisher(url)
    await tide.publish("e", 1, to="all")
    reads, _ = reads_and_calls(server)
    await tide.publish_many([EVENT] * 500)
    assert reads_and_calls(server)[0] - reads < 60


async def test_events_are_stored_in_the_order_of_their_calls(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        await asyncio.gather(*(tide.publish("e", n, to="all") for n in range(2000)))
    assert [fields["d"] for _, fields in entries()] == [str(n) for n in range(2000)]


async def test_submit_needs_no_task_per_event(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        tasks = len(asyncio.all_tasks())
        futures = [tide.submit(EVENT) for _ in range(100)]
        assert len(asyncio.all_tasks()) <= tasks + 1
        ids = [await future for future in futures]
        await wait_until(lambda: len(asyncio.all_tasks()) == tasks)
    assert [event_id.split(".")[0] for event_id in ids] == [entry_id for entry_id, _ in entries()]


async def test_an_idle_publisher_has_no_task_and_no_timer(url):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        tasks = asyncio.all_tasks()
        await tide.publish("e", 1, to="all")
        await wait_until(lambda: asyncio.all_tasks() == tasks)


async def test_a_full_queue_refuses_what_is_submitted(url):
    async with Publisher(url, timeout_s=PATIENCE_S, max_queue=10) as tide:
        futures = [tide.submit(EVENT) for _ in range(10)]
        with pytest.raises(PublishUnavailable, match="wait to be sent"):
            tide.submit(EVENT)
        assert len(await asyncio.gather(*futures)) == 10
        assert await tide.submit(EVENT)


async def test_a_posted_event_tells_its_id(url, entries):
    told = []
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        tasks = len(asyncio.all_tasks())
        for _ in range(100):
            tide.post(EVENT, told.append)
        assert len(asyncio.all_tasks()) <= tasks + 1
        await wait_until(lambda: len(told) == 100)
    assert told == [f"{entry_id}.0.{told[0].rpartition('.')[2]}" for entry_id, _ in entries()]


async def test_a_posted_event_tells_its_error():
    told = []
    with RedisServer() as own:
        async with Publisher(own.url, timeout_s=1, retries=0) as tide:
            await warm(tide)
            own.pause()
            tide.post(EVENT, told.append)
            await wait_until(lambda: told)
    assert [type(outcome) for outcome in told] == [PublishUnknown]


async def test_who_fails_when_told_disturbs_no_other_event(url, entries):
    failures, told = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context["exception"]))
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        for _ in range(3):
            tide.post(EVENT, lambda outcome: told.append(outcome) or 1 / 0)
        await wait_until(lambda: len(told) == 3)
    assert len(entries()) == 3
    assert [type(failure) for failure in failures] == [ZeroDivisionError] * 3


async def test_a_full_queue_refuses_what_is_posted(url):
    told = []
    async with Publisher(url, timeout_s=PATIENCE_S, max_queue=10) as tide:
        for _ in range(10):
            tide.post(EVENT, told.append)
        with pytest.raises(PublishUnavailable, match="wait to be sent"):
            tide.post(EVENT, told.append)
        await wait_until(lambda: len(told) == 10)


async def test_who_leaves_while_waiting_for_room_gives_the_turn_on(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S, max_queue=10) as tide:
        waiting = [asyncio.ensure_future(tide.publish("e", n, to="all")) for n in range(100)]
        await asyncio.sleep(0)
        for task in waiting[10::2]:
            task.cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, str) for outcome in done] == [n < 10 or n % 2 == 1 for n in range(100)]
    assert len(entries()) == 55


async def test_publish_waits_for_room_in_the_queue(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S, max_queue=10) as tide:
        await asyncio.gather(*(tide.publish("e", n, to="all") for n in range(300)))
        await tide.publish_many([EVENT] * 300)
    assert len(entries()) == 600


async def test_partitions_do_not_wait_for_each_other_and_all_arrive(server, url):
    async with Publisher(url, timeout_s=PATIENCE_S, partitions=8) as tide:
        await asyncio.gather(*(tide.publish("e", n, to=f"user:{n}") for n in range(800)))
    with server.client() as client:
        lengths = [client.xlen(f"tg:{{events:{partition}}}") for partition in range(8)]
    assert sum(lengths) == 800
    assert all(lengths)


async def test_closing_sends_what_is_queued(url, entries):
    tide = Publisher(url, timeout_s=PATIENCE_S)
    futures = [tide.submit(EVENT) for _ in range(700)]
    await tide.aclose()
    assert all(future.done() and future.exception() is None for future in futures)
    assert len(entries()) == 700
    with pytest.raises(PublishError, match="closed"):
        tide.submit(EVENT)


async def test_closing_gives_up_in_time_when_the_server_hangs():
    with RedisServer() as own:
        tide = Publisher(own.url, timeout_s=1, retries=0)
        await warm(tide)
        own.pause()
        future = tide.submit(EVENT)
        async with asyncio.timeout(30):
            await tide.aclose()
        assert isinstance(future.exception(), PublishError)


async def test_leaving_without_closing_leaves_no_task(url):
    tide = Publisher(url, timeout_s=PATIENCE_S)
    await tide.publish("e", 1, to="all")
    await wait_until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    await tide.aclose()
