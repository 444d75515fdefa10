"""Delivery receipts, over real sockets and two instances."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from publisher import Cursor, Publisher, PublishError, PublishUnavailable, Receipt, Target
from publisher.keys import receipt as receipt_key
from publisher.sync import Publisher as BlockingPublisher
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("other")


async def complete(tide: Publisher, event_id: str) -> Receipt:
    async def found() -> Receipt | None:
        receipt = await tide.receipt(event_id)
        return receipt if receipt is not None and receipt.complete else None

    receipt = await wait_until(found)
    assert isinstance(receipt, Receipt)
    return receipt


async def until(tide: Publisher, event_id: str, address: str, **expected: Any) -> None:
    """Wait until a receipt says this of an address."""

    async def says() -> bool:
        receipt = await tide.receipt(event_id)
        target = receipt.targets[address] if receipt is not None else Target()
        return {name: getattr(target, name) for name in expected} == expected

    await wait_until(says)


async def ack(client: Client, event_id: str) -> bool:
    reply = await client.send("ack", {"id": event_id})
    assert reply.type == "ack", reply
    return bool(reply.data["counted"])


async def test_a_user_on_two_instances_is_delivered_twice_and_acks_from_each(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann") as ann, connected(other, "ann") as ann2, connected(other, "bob") as bob:
        event_id = await tide.publish("e", 1, to=["user:ann", "user:bob", "user:nobody"], receipt=True)
        receipt = await complete(tide, event_id)
        assert (receipt.id, receipt.tenant) == (event_id, "default")
        assert receipt.targets == {
            "user:ann": Target(delivered=2),
            "user:bob": Target(delivered=1),
            "user:nobody": Target(no_socket=True),
        }
        assert [await ack(ann, event_id), await ack(ann2, event_id), await ack(ann, event_id)] == [True, True, False]
        await until(tide, event_id, "user:ann", delivered=2, acked=2)
        assert bob.frames
        assert ann.pushes[0].id == event_id


async def test_an_ack_counts_only_for_whom_the_event_was(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "ann", claims={"groups": ["g"]}) as ann,
        connected(other, "eve") as eve,
        connected(other, "ann", claims={"tenant": "acme", "groups": ["g"]}) as acme,
        connected(gateway, "bob", claims={"groups": ["g"], "tags": ["muted"]}) as bob,
    ):
        asked = await tide.publish("e", 1, to="group:g", exclude="tag:muted", receipt=True)
        plain = await tide.publish("e", 2, to="group:g")
        await settled(tide, ann)
        await settled(tide, eve)
        await eve.send("join_group", {"group_id": "g"})
        assert [await ack(client, asked) for client in (eve, acme, bob)] == [False, False, False]
        assert await ack(ann, plain) is False
        place = Cursor.parse(asked)
        elsewhere = Cursor(place.ms, place.n, place.partition, "0bad0bad")
        assert await ack(ann, str(elsewhere)) is False
        assert await ack(ann, str(Cursor(place.ms, place.n, 7, place.epoch))) is False
        assert await ack(ann, asked) is True
        await until(tide, asked, "group:g", delivered=1, acked=1)
        assert await tide.receipt(plain) is None
        assert gateway.services.log.outcomes.acked == 1


async def test_an_ack_counts_on_another_instance_after_a_reconnect(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann") as ann:
        event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
        await ann.next("e")
    async with connected(other, "ann", cursor=event_id) as back:
        await settled(tide, back)
        assert await ack(back, event_id) is True
    await until(tide, event_id, "user:ann", delivered=1, acked=1)


async def test_who_comes_later_and_resumes_is_counted(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann") as ann:
        cursor = ann.cursor
    event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
    assert (await complete(tide, event_id)).targets == {"user:ann": Target(no_socket=True)}
    async with connected(other, "ann", cursor=cursor) as back:
        await back.next("e")
        await until(tide, event_id, "user:ann", delivered=1, no_socket=False)


async def test_an_event_that_is_over_has_expired(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann:
        event_id = await tide.publish("e", 1, to="user:ann", receipt=True, expires_in=0.000_1)
        assert (await complete(tide, event_id)).targets == {"user:ann": Target(expired=1)}
        await settled(tide, ann)
        assert ann.events == []
        assert gateway.services.log.outcomes.dropped == {"expired": 1}


async def test_a_receipt_waits_for_every_live_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    reports = other.application.parts.reports
    real, reports._write = reports._write, refuse
    event_id = await tide.publish("e", 1, to="user:nobody", receipt=True)

    async def reported_by_one() -> Receipt | None:
        return await tide.receipt(event_id)

    await wait_until(lambda: other.services.log.outcomes.receipts.find(0, event_id.partition(".")[0].encode()))
    first = await wait_until(reported_by_one)
    assert (first.complete, first.targets["user:nobody"].no_socket) == (False, False)
    reports._write = real
    assert (await complete(tide, event_id)).targets["user:nobody"].no_socket is True


async def refuse(_receipts: Any) -> None:
    raise ConnectionError("not now")


async def test_an_instance_that_starts_later_does_not_hold_a_receipt_up(
    redis_url: str, gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "ann"):
        event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
        async with running_gateway(redis_url):
            assert (await complete(tide, event_id)).targets == {"user:ann": Target(delivered=1)}


async def test_a_restarted_instance_keeps_what_it_reported_before(redis_url: str, tide: Publisher) -> None:
    async with running_gateway(redis_url, instance__id="one") as one, connected(one, "ann") as ann:
        event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
        await ann.next("e")
        assert await ack(ann, event_id)
    async with running_gateway(redis_url, instance__id="one") as one:
        await wait_until(lambda: one.services.log.outcomes.receipts.waiting == 0)
        await until(tide, event_id, "user:ann", delivered=1, acked=1)


async def test_a_receipt_ends_with_the_retention(
    gateway: RunningGateway, tide: Publisher, redis_server: RedisServer
) -> None:
    event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
    await complete(tide, event_id)
    with redis_server.client() as redis:
        assert 500 < redis.ttl(receipt_key(0, event_id)) <= 600


async def test_a_filter_that_holds_an_event_back_means_no_delivery(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "ann") as ann:
        await ann.send("subscribe", {"topic": "t", "filter": {"a": 1}})
        held_back = await tide.publish("e", {"a": 2}, to="topic:t", receipt=True)
        passes = await tide.publish("e", {"a": 1}, to="topic:t", receipt=True)
        assert (await complete(tide, passes)).targets == {"topic:t": Target(delivered=1)}
        assert (await complete(tide, held_back)).targets == {"topic:t": Target(no_socket=True)}
        assert [await ack(ann, held_back), await ack(ann, passes)] == [False, True]


@pytest.mark.parametrize("event_id", ["", "7", 7, None, [], "1-0.0.abc,1-0.1.abc", "x" * 5_000])
async def test_an_ack_of_what_is_no_id_is_400(gateway: RunningGateway, event_id: object) -> None:
    async with connected(gateway, "ann") as ann:
        reply = await ann.send("ack", {"id": event_id})
        assert (reply.type, reply.data["code"]) == ("error", 400)


@pytest.mark.parametrize("event_id", ["", "7", "1-0.9.abc", "1-0.0.abc,1-0.1.abc"])
async def test_what_is_no_id_has_no_receipt(tide: Publisher, event_id: str) -> None:
    with pytest.raises(PublishError):
        await tide.receipt(event_id)


async def test_what_is_not_known_has_no_receipt(tide: Publisher) -> None:
    assert await tide.receipt("1-0.0.abc") is None


async def test_with_no_gateway_a_receipt_is_never_complete() -> None:
    with RedisServer() as server:
        async with Publisher(server.url) as tide:
            event_id = await tide.publish("e", 1, to="user:ann", tenant="acme", receipt=True)
            assert await tide.receipt(event_id) == Receipt(event_id, "acme", False, {"user:ann": Target()})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"to": [f"user:{n}" for n in range(1_001)], "receipt": True}, "at most 1000 addresses"),
        ({"to": "all", "receipt": 1}, "use True or False"),
        ({"to": "all", "receipt": "yes"}, "use True or False"),
    ],
)
async def test_a_receipt_that_cannot_be_kept_is_refused(tide: Publisher, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(PublishError, match=problem):
        await tide.publish("e", 1, **options)


async def test_the_blocking_publisher_reads_receipts_too(redis_url: str, gateway: RunningGateway) -> None:
    def publish_and_read() -> Receipt | None:
        with BlockingPublisher(redis_url) as tide:
            event_id = tide.publish("e", 1, to="user:ann", receipt=True)
            while (receipt := tide.receipt(event_id)) is None or not receipt.complete:
                pass
            return receipt

    async with connected(gateway, "ann"):
        receipt = await asyncio.wait_for(asyncio.to_thread(publish_and_read), 60)
    assert receipt is not None
    assert receipt.targets == {"user:ann": Target(delivered=1)}


async def test_with_redis_gone_a_receipt_is_unavailable_and_reported_when_it_is_back() -> None:
    with RedisServer(appendonly="yes") as server:
        async with (
            running_gateway(server.url) as gateway,
            Publisher(server.url, timeout_s=10) as tide,
            connected(gateway, "ann") as ann,
        ):
            event_id = await tide.publish("e", 1, to="user:ann", receipt=True)
            await complete(tide, event_id)
            server.kill()
            assert await ack(ann, event_id) is True
            with pytest.raises(PublishUnavailable):
                await tide.receipt(event_id)
            server.start()
            await until(tide, event_id, "user:ann", acked=1)
