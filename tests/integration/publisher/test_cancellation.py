"""Cancellation: who leaves takes nobody along."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Publisher, make_event
from tests.integration.publisher.conftest import PATIENCE_S, warm
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

EVENT = make_event("e", 1, to="all")


async def test_a_cancelled_waiter_does_not_harm_the_others(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        tasks = [asyncio.create_task(tide.publish("e", n, to="all")) for n in range(100)]
        await asyncio.sleep(0)  # all are queued, nothing is sent
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    stored = {fields["d"]: entry_id for entry_id, fields in entries()}
    for number in range(1, 100, 2):
        assert results[number].startswith(stored[str(number)])


async def test_what_is_cancelled_before_it_is_sent_is_not_stored(url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        futures = [tide.submit(EVENT) for _ in range(10)]
        for future in futures[:9]:
            future.cancel()
        await futures[9]
    assert len(entries()) == 1


async def test_replies_stay_with_their_events_after_a_cancellation_in_flight():
    with RedisServer() as own:
        async with Publisher(own.url, timeout_s=20, retries=1) as tide:
            await tide.publish("warm", 1, to="all")
            own.pause()
            first = [asyncio.create_task(tide.publish("e", n, to="all")) for n in range(10)]
            done, _ = await asyncio.wait(first, timeout=0.2)
            assert not done
            for task in first[:9]:
                task.cancel()
            second = [asyncio.create_task(tide.publish("e", n, to="all")) for n in range(10, 20)]
            await asyncio.wait(second, timeout=0.05)
            own.resume()
            results = [await first[9], *[await task for task in second]]
        with own.client() as client:
            stored = {fields["d"]: entry_id for entry_id, fields in client.xrange("tg:{events:0}", min="(0")}
    assert [event_id.split(".")[0] for event_id in results] == [stored[str(n)] for n in range(9, 20)]


async def test_cancelling_publish_many_cancels_what_is_not_sent_and_reports_nothing(url):
    async with Publisher(url, timeout_s=PATIENCE_S, max_queue=5) as tide:
        task = asyncio.create_task(tide.publish_many([EVENT] * 5000))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await tide.publish("e", 1, to="all")


async def test_a_deadline_of_the_caller_is_an_ordinary_cancellation():
    with RedisServer() as own:
        async with Publisher(own.url, timeout_s=20) as tide:
            await tide.publish("warm", 1, to="all")
            own.pause()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(tide.publish("e", 1, to="all"), 0.2)
            own.resume()
            event_id = await tide.publish("last", 1, to="all")
        with own.client() as client:
            ((entry_id, fields),) = client.xrevrange("tg:{events:0}", count=1)
    assert fields["e"] == "last"
    assert event_id.startswith(entry_id)


async def test_a_connection_is_left_when_its_task_is_cancelled(server, url):
    with RedisServer() as own:
        tide = Publisher(own.url, timeout_s=1, retries=0)
        await warm(tide)
        own.pause()
        future = tide.submit(EVENT)
        await tide.aclose()  # cancels what hangs
        assert future.done()
        future.exception()
        own.resume()
        with own.client() as client:
            await wait_until(lambda: len(client.client_list()) == 1)
