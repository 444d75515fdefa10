"""Lost replies: stored once, or honestly unknown."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Publisher, PublishIncomplete, PublishUnavailable, PublishUnknown, make_event
from tests.integration.publisher.conftest import warm
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until


@pytest.fixture
def proxy(server, url):
    with TcpProxy(server.port) as running:
        yield running


async def test_a_lost_reply_is_asked_for_again_and_the_event_stored_once(proxy, open_publisher, entries):
    proxy.lose_replies(1)
    event_id = await open_publisher(proxy.url).publish("e", 1, to="all")
    assert proxy.lost == 1
    ((entry_id, _),) = entries()
    assert event_id.startswith(entry_id)


async def test_several_losses_in_a_row_are_survived(proxy, open_publisher, entries):
    proxy.lose_replies(3)
    ids = await open_publisher(proxy.url).publish_many([{"event": "e", "data": n, "to": "all"} for n in range(50)])
    assert proxy.lost == 3
    assert [event_id.split(".")[0] for event_id in ids] == [entry_id for entry_id, _ in entries()]


async def test_without_retries_a_lost_reply_is_unknown(proxy, open_publisher, entries):
    proxy.lose_replies(1)
    with pytest.raises(PublishUnknown) as caught:
        await open_publisher(proxy.url, retries=0).publish("e", 1, to="all")
    assert caught.value.key is None
    assert len(entries()) == 1


async def test_the_key_of_an_unknown_event_tells_whether_it_was_stored(proxy, open_publisher, entries):
    tide = open_publisher(proxy.url, retries=1)
    proxy.lose_replies(2)
    with pytest.raises(PublishUnknown) as caught:
        await tide.publish("e", 1, to="all")
    event_id = await tide.publish("e", 1, to="all", key=caught.value.key)
    ((entry_id, _),) = entries()
    assert event_id.startswith(entry_id)


async def test_each_of_many_unknown_events_can_be_published_again_under_its_key(proxy, open_publisher, entries):
    tide = open_publisher(proxy.url, retries=1)
    events = [{"event": "e", "data": n, "to": "all"} for n in range(3)]
    proxy.lose_replies(2)
    with pytest.raises(PublishIncomplete) as caught:
        await tide.publish_many(events)
    assert [type(result) for result in caught.value.results] == [PublishUnknown] * 3
    again = zip(events, caught.value.results, strict=True)
    await tide.publish_many([event | {"key": unknown.key} for event, unknown in again])
    assert len(entries()) == 3


@pytest.mark.parametrize(
    "order", [lambda tide: tide.kick("42"), lambda tide: tide.revoke(jti="j"), lambda tide: tide.access("block", "::1")]
)
async def test_an_order_that_is_unknown_can_be_repeated_as_it_was(proxy, open_publisher, entries, order):
    tide = open_publisher(proxy.url, retries=0)
    proxy.lose_replies(1)
    with pytest.raises(PublishUnknown, match="call it again as it was, which does no harm"):
        await order(tide)
    assert await order(tide)
    assert len(entries()) == 2


async def test_a_lost_reply_to_a_revocation_is_survived(server, proxy, open_publisher, entries):
    proxy.lose_replies(1)
    await open_publisher(proxy.url).revoke(user="42")
    assert len(entries()) == 1
    with server.client() as client:
        assert client.zcard("tg:{events:0}:revoked") == 1


async def test_a_server_that_hangs_makes_it_unknown_in_time_and_at_most_once(open_publisher):
    with RedisServer() as own, own.client() as client:
        tide = open_publisher(own.url, timeout_s=2)
        await warm(tide)
        own.pause()
        async with asyncio.timeout(60):
            with pytest.raises(PublishUnknown):
                await tide.publish("e", 1, to="all")
        own.resume()
        # Whatever lay in the sockets has been executed once nobody but us is connected.
        await wait_until(lambda: len(client.client_list()) == 1)
        assert client.xlen("tg:{events:0}") == 2


async def test_a_server_that_comes_back_in_time_is_waited_for(open_publisher):
    with RedisServer() as own, own.client() as client:
        tide = open_publisher(own.url, timeout_s=20, retries=40)
        await tide.publish("warm", 1, to="all")
        own.pause()
        publishing = asyncio.ensure_future(tide.publish("e", 1, to="all"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(publishing), 0.7)
        own.resume()
        assert await publishing
        await wait_until(lambda: len(client.client_list()) <= 2)
        assert client.xlen("tg:{events:0}") == 2


async def test_a_killed_and_restarted_server_is_waited_for(open_publisher):
    with RedisServer(appendonly="yes", appendfsync="always") as own, own.client() as client:
        tide = open_publisher(own.url, timeout_s=20, retries=40)
        await tide.publish("warm", 1, to="all")
        own.kill()
        publishing = asyncio.ensure_future(tide.publish("e", 1, to="all"))
        await asyncio.to_thread(own.start)
        assert await publishing
        assert client.xlen("tg:{events:0}") == 2


async def test_no_server_is_unavailable(open_publisher, nowhere):
    tide = open_publisher(nowhere, timeout_s=1.0)
    async with asyncio.timeout(60):
        with pytest.raises(PublishUnavailable, match="nothing was stored") as caught:
            await tide.publish("e", 1, to="all")
    assert caught.value.retry_after_ms > 0


async def test_no_server_fails_all_of_many_for_that_reason(open_publisher, nowhere):
    tide = open_publisher(nowhere, timeout_s=1.0)
    with pytest.raises(PublishUnavailable):
        await tide.publish_many([make_event("e", 1, to="all")] * 3)


async def test_no_server_fails_a_whole_queue_in_time(nowhere):
    async with Publisher(nowhere, timeout_s=1.0) as tide:
        calls = [tide.publish("e", 1, to="all") for _ in range(3000)]
        async with asyncio.timeout(60):
            results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {PublishUnavailable}


async def test_a_hanging_server_fails_a_whole_queue_in_time():
    with RedisServer() as own:
        async with Publisher(own.url, timeout_s=4) as tide:
            await tide.publish("e", 1, to="all")
            own.pause()
            calls = [tide.publish("e", 1, to="all") for _ in range(3000)]
            async with asyncio.timeout(60):
                results = await asyncio.gather(*calls, return_exceptions=True)
            own.resume()
    # The first pipeline is out and unanswered, the rest never left.
    assert {type(result) for result in results} == {PublishUnknown, PublishUnavailable}


async def test_part_of_many_that_fails_is_told_apart(server, url, open_publisher):
    tide = open_publisher(url, partitions=2)
    with server.client() as client:
        client.set("tg:{events:1}", "not a stream")
    events = [make_event("e", n, to=f"user:{n}") for n in range(20)]
    with pytest.raises(PublishIncomplete) as caught:
        await tide.publish_many(events)
    stored = [result for result in caught.value.results if isinstance(result, str)]
    assert len(caught.value.results) == 20
    with server.client() as client:
        assert [event_id.split(".")[0] for event_id in stored] == [
            entry_id for entry_id, _ in client.xrange("tg:{events:0}")
        ]
        client.flushall()
