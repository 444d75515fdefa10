"""Subscriptions with a filter: obeyed live, by the slow, in replays and in what comes from the stream."""

from __future__ import annotations

from typing import Any

import pytest

from publisher import Publisher
from tests.integration.gateway.raw_socket import raw_socket
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until

TOPIC = "topic:orders"
EU = {"region": "eu"}
SUBSCRIBE_EVEN = '{"type": "subscribe", "data": {"topic": "orders", "filter": {"even": true}}}'


async def subscribe(client: Client, wanted: Any = None, **more: Any) -> dict[str, Any]:
    reply = await client.send("subscribe", {"topic": "orders", "filter": wanted, **more})
    assert reply.type == "ack", reply
    return dict(reply.data)


async def publish(tide: Publisher, *numbers: int, to: Any = TOPIC, **options: Any) -> list[str]:
    """Publish numbered orders: the even ones of `eu`, the odd ones of `us`."""
    return await tide.publish_many(
        [{"event": "order", "data": order(number), "to": to, **options} for number in numbers]
    )


def order(number: int) -> dict[str, Any]:
    return {"n": number, "region": "us" if number % 2 else "eu", "status": ["open", "late", "done"][number % 3]}


def numbers(client: Client) -> list[int]:
    return [data["n"] for _, data in client.events]


async def test_only_what_passes_arrives_on_any_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann") as ann,
        connected(other, "bob") as bob,
        connected(other, "eve") as eve,
    ):
        await subscribe(ann, EU)
        await subscribe(bob, {"region": ["eu", "us"], "status": "open"})
        await subscribe(eve)
        await publish(tide, *range(12))
        await tide.publish("order", "no object", to=TOPIC)
        await tide.publish("order", {"n": 12}, to=TOPIC)
        await settled(tide, ann)
        await settled(tide, bob, eve)
        assert numbers(ann) == [0, 2, 4, 6, 8, 10]
        assert numbers(bob) == [0, 3, 6, 9]
        assert len(eve.events) == 14


async def test_an_event_that_comes_by_another_address_is_not_held_back(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann", claims={"tags": ["vip"]}) as ann:
        await subscribe(ann, EU)
        await publish(tide, 1, to=[TOPIC, "tag:vip"])
        await publish(tide, 2, to=[TOPIC, "tag:vip"])
        await publish(tide, 3)
        await publish(tide, 4, to=[TOPIC, "user:bob"], exclude="tag:vip")
        await publish(tide, 5, 7, to="user:ann", exclude=TOPIC)
        await settled(tide, ann)
        assert numbers(ann) == [1, 2]


async def test_subscribing_again_replaces_the_filter_and_unsubscribing_ends_it(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann") as ann:
        for first, wanted in ((0, EU), (2, {"region": "us"}), (4, {}), (6, EU), (8, None)):
            await subscribe(ann, wanted)
            await publish(tide, first, first + 1)
            await settled(tide, ann)
        await subscribe(ann, EU)
        await ann.send("unsubscribe", {"topic": "orders"})
        await publish(tide, 10, 11)
        await settled(tide, ann)
        await subscribe(ann)
        await publish(tide, 12, 13)
        await settled(tide, ann)
        assert numbers(ann) == [0, 3, 4, 5, 6, 8, 9, 12, 13]


async def test_what_was_missed_is_filtered_too(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann:
        await subscribe(ann, EU)
        cursor = ann.cursor
    await publish(tide, *range(6))
    await publish(tide, 6, to=[TOPIC, "user:ann"])
    await publish(tide, 7, to=[TOPIC, "user:ann"])
    async with connected(other, "ann", cursor=cursor) as back:
        await subscribe(back, EU, since=cursor)
        await publish(tide, 8, 9)
        await settled(tide, back)
        assert sorted(numbers(back)) == [0, 2, 4, 6, 7, 8]


async def test_what_is_older_than_memory_is_filtered_too(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, log__memory_entries=5) as gateway, connected(gateway, "ann") as ann:
        cursor = ann.cursor
        await publish(tide, *range(200), collapse="the newest that passes")
        await publish(tide, *range(200, 400))
        await settled(tide, ann)
        await subscribe(ann, {"region": "us"}, since=cursor)
        await settled(tide, ann)
        assert numbers(ann) == [199, *range(201, 400, 2)]
        assert ann.of_type("resync") == []


async def test_a_slow_socket_catches_up_with_what_passes(redis_url: str, tide: Publisher) -> None:
    pad = "x" * 10_000
    async with (
        running_gateway(redis_url, limits__stall_timeout_s=60) as gateway,
        raw_socket(gateway, gateway.token("slow"), receive_buffer=8 * 1024) as slow,
        connected(gateway, "quick") as quick,
    ):
        await slow.send_text(SUBSCRIBE_EVEN)
        await wait_until(lambda: gateway.services.hub.count("default", TOPIC) == 1)
        for first in range(0, 1_000, 100):
            numbered = [{"n": n, "even": n % 2 == 0, "pad": pad} for n in range(first, first + 100)]
            await tide.publish_many([{"event": "order", "data": data, "to": TOPIC} for data in numbered])
        await settled(tide, quick)
        assert any(connection.lagging for connection in gateway.services.connections)
        await tide.publish("end", None, to="user:slow")
        while not any(frame.type == "end" for frame in slow.pushes):
            assert await slow.read()
        got = [frame.data["n"] for frame in slow.pushes if frame.type == "order"]
        assert got == list(range(0, 1_000, 2))


async def test_clients_with_one_filter_are_judged_once(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann, connected(gateway, "bob") as bob:
        await subscribe(ann, {"region": "eu", "status": ["open", "late"]})
        await subscribe(bob, {"status": ["late", "open"], "region": ["eu"]})
        (by_filter,) = gateway.services.hub.filtered["default"].values()
        assert [len(subscribers) for subscribers in by_filter.values()] == [2]
    await wait_until(lambda: not gateway.services.hub.filtered)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (7, "filter: use an object of fields and their values"),
        ({"a": {"b": 1}}, "filter: 'a': use a string, a number, a truth value or null, or a list of them"),
        ({"a": []}, "filter: 'a' has no value"),
        ({str(n): n for n in range(17)}, "filter: use at most 16 fields"),
        ({"a": list(range(101))}, "filter: use at most 100 values"),
        ({"a": "x" * 20_000}, "filter: use at most 16384 bytes"),
    ],
)
async def test_what_is_no_filter_is_refused_and_changes_nothing(
    gateway: RunningGateway, tide: Publisher, wanted: object, message: str
) -> None:
    async with connected(gateway, "ann") as ann:
        await subscribe(ann, EU)
        reply = await ann.send("subscribe", {"topic": "orders", "filter": wanted})
        assert (reply.type, reply.data["code"], reply.data["message"]) == ("error", 400, message)
        await publish(tide, 0, 1)
        await settled(tide, ann)
        assert numbers(ann) == [0]


async def test_one_tenants_filters_are_nothing_to_another(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann, connected(gateway, "ann", claims={"tenant": "acme"}) as acme:
        await subscribe(ann, EU)
        await subscribe(acme, {"region": "us"})
        await publish(tide, 0, 1)
        await publish(tide, 2, 3, tenant="acme")
        await settled(tide, ann)
        await settled(tide, acme, tenant="acme")
        assert (numbers(ann), numbers(acme)) == ([0], [3])
