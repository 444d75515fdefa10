"""Who receives what: every kind of address, exclusion, tenants, and several addresses at once."""

from __future__ import annotations

from typing import Any

import pytest

from publisher import Publisher
from tests.integration.gateway.raw_socket import raw_socket
from tests.support.clients import Client, connected, settled
from tests.support.gateway import RunningGateway
from tests.support.redis_server import RedisServer


async def test_a_push_is_what_the_producer_published(gateway: RunningGateway, tide: Publisher) -> None:
    data = {"order": 7, "é": [1.5, None, 2**70, "😀"]}
    async with connected(gateway, "42") as client:
        event_id = await tide.publish("order.shipped", data, to="user:42", message_id="m-1")
        push = await client.next("order.shipped")
        assert (push.data, push.id, push.message_id) == (data, event_id, "m-1")
        assert push.timestamp == int(event_id.split("-", 1)[0])


async def test_data_reaches_the_socket_byte_for_byte_as_it_was_published(
    gateway: RunningGateway, redis_server: RedisServer
) -> None:
    text = '{"a" : 1.10, "b":[ ],"c":"\\u00e9\\/é","d":1e2, "e":100000000000000000000000}'
    async with raw_socket(gateway, gateway.token("42")) as raw:
        with redis_server.client() as redis:
            fields = {"v": "1", "t": "default", "to": '["user:42"]', "e": "raw", "m": "m", "d": text}
            redis.xadd("tg:{events:0}", fields)
        while not raw.pushes:
            assert await raw.read(), "the connection ended"
        assert f'"data":{text}}}'.encode() in raw.received
        assert raw.pushes[0].type == "raw"


@pytest.mark.parametrize(
    ("address", "selected"),
    [
        ("all", {"ann", "ann2", "bob"}),
        ("user:ann", {"ann", "ann2"}),
        ("user:bob", {"bob"}),
        ("group:g", {"ann"}),
        ("tag:vip", {"ann2", "bob"}),
        ("topic:news", {"bob"}),
        ("user:nobody", set()),
        ("group:ann", set()),
        ("topic:vip", set()),
    ],
)
async def test_an_address_selects_its_connections_on_every_instance(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, address: str, selected: set[str]
) -> None:
    async with (
        connected(gateway, "ann", claims={"groups": ["g"]}) as ann,
        connected(other, "ann", claims={"tags": ["vip"]}) as ann2,
        connected(other, "bob", claims={"topics": ["news"]}) as bob,
    ):
        await bob.send("add_tag", {"tag": "vip"})
        await tide.publish("notice", 1, to=address)
        everybody = {"ann": ann, "ann2": ann2, "bob": bob}
        await settled(tide, *everybody.values())
        assert {name for name, client in everybody.items() if client.events == [("notice", 1)]} == selected
        assert all(not client.events for name, client in everybody.items() if name not in selected)


async def test_the_client_id_of_the_welcome_is_an_address(gateway: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as one, connected(gateway, "42") as two:
        await tide.publish("notice", 1, to=f"client:{one.client_id}")
        await settled(tide, one, two)
        assert one.events == [("notice", 1)]
        assert two.events == []


async def test_an_event_for_several_of_ones_addresses_comes_once(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    claims = {"groups": ["g", "h"], "tags": ["vip"], "topics": ["news"]}
    async with connected(gateway, "42", claims=claims) as one, connected(other, "42", claims=claims) as two:
        await tide.publish("notice", 1, to=["user:42", "group:g", "group:h", "tag:vip", "topic:news", "all"])
        await tide.publish("notice", 2, to=["user:x", "group:h", "tag:vip"])
        await settled(tide, one, two)
        assert one.events == two.events == [("notice", 1), ("notice", 2)]


@pytest.mark.parametrize(
    ("exclude", "left_out"),
    [
        ("user:ann", {"ann", "ann2"}),
        ("group:g", {"ann"}),
        (["tag:vip", "user:bob"], {"ann2", "bob"}),
        ("user:nobody", set()),
        ("all", {"ann", "ann2", "bob"}),
    ],
)
async def test_who_is_excluded_by_any_address_does_not_receive(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, exclude: str | list[str], left_out: set[str]
) -> None:
    async with (
        connected(gateway, "ann", claims={"groups": ["g"]}) as ann,
        connected(other, "ann", claims={"tags": ["vip"]}) as ann2,
        connected(other, "bob") as bob,
    ):
        await tide.publish("notice", 1, to=["all", "user:ann"], exclude=exclude)
        await settled(tide, ann, ann2, bob)
        assert {name for name, c in {"ann": ann, "ann2": ann2, "bob": bob}.items() if not c.events} == left_out


async def test_tenants_with_the_same_names_never_meet(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    names: dict[str, Any] = {"groups": ["g"], "tags": ["vip"], "topics": ["news"]}
    addresses = ["all", "user:42", "group:g", "tag:vip", "topic:news"]
    async with (
        connected(gateway, "42", claims=names) as ours,
        connected(gateway, "42", claims={**names, "tenant": "acme"}) as acme,
        connected(other, "42", claims={**names, "tenant": "globex"}) as globex,
    ):
        for tenant in ("default", "acme", "globex"):
            for address in addresses:
                await tide.publish("notice", [tenant, address], to=address, tenant=tenant)
            await tide.publish("notice", [tenant, "client"], to=f"client:{acme.client_id}", tenant=tenant)
        for client, tenant in ((ours, "default"), (acme, "acme"), (globex, "globex")):
            await settled(tide, client, tenant=tenant)
            expected = [[tenant, address] for address in addresses] + ([["acme", "client"]] if client is acme else [])
            assert [data for _, data in client.events] == expected


async def test_tenants_do_not_meet_in_a_replay_nor_by_commands(gateway: RunningGateway, tide: Publisher) -> None:
    acme: dict[str, Any] = {"tenant": "acme"}
    async with connected(gateway, "42") as ours, connected(gateway, "42", claims=acme) as theirs:
        start = ours.welcome["cursor"]
        await ours.send("join_group", {"group_id": "g"})
        await theirs.send("join_group", {"group_id": "g"})
        await ours.send("send_message", {"group_id": "g", "content": "ours"})
        await ours.send("send_message", {"to": "42", "content": "ours"})
        await theirs.send("send_message", {"to": "42", "content": "theirs"})
        await tide.publish("notice", "theirs", to=["all", "group:g"], tenant="acme")
        await settled(tide, ours)
        await settled(tide, theirs, tenant="acme")
        assert ours.events == []
        assert theirs.events == [("notice", "theirs")]
    async with connected(gateway, "42", cursor=start) as ours:
        await ours.send("join_group", {"group_id": "g", "since": start})
        await settled(tide, ours)
        assert _contents(ours) == ["ours", "ours"]
    async with connected(gateway, "42", cursor=start, claims=acme) as theirs:
        await settled(tide, theirs, tenant="acme")
        assert [frame.type for frame in theirs.pushes] == ["new_message", "notice"]


async def test_names_may_hold_anything_printable(gateway: RunningGateway, tide: Publisher) -> None:
    for name in ("a:b", "*", "ümläut 漢字", "x" * 256, '"\\', "{events:0}", "%2F/../", " "):
        async with connected(gateway, name, claims={"groups": [name]}) as client:
            await client.send("subscribe", {"topic": name})
            for kind in ("user", "group", "topic"):
                await tide.publish("notice", kind, to=f"{kind}:{name}")
            await settled(tide, client)
            assert [data for _, data in client.events] == ["user", "group", "topic"]


async def test_nothing_is_left_in_the_hub_when_all_have_gone(gateway: RunningGateway) -> None:
    async with connected(gateway, "42", claims={"groups": ["g"]}) as client:
        await client.send("subscribe", {"topic": "t"})
        assert gateway.services.hub.count("default", "topic:t") == 1
    assert list(gateway.services.hub.subscribers()) == []


async def test_events_come_in_the_order_of_the_log(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    audiences = ["all", "user:42", "group:g", ["group:g", "user:42"]]
    async with connected(gateway, "42", claims={"groups": ["g"]}) as one, connected(other, "42") as two:
        events = [{"event": "e", "data": n, "to": audiences[n % 4]} for n in range(1_000)]
        ids = await tide.publish_many(events)
        await settled(tide, one, two)
        assert [frame.id for frame in one.pushes] == ids
        assert [frame.id for frame in two.pushes] == [each for n, each in enumerate(ids) if n % 4 != 2]


def _contents(client: Client) -> list[Any]:
    return [frame.data["content"] for frame in client.of_type("new_message")]
