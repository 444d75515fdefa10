"""`notify`, by both publishers, on every server: the log and the work have both or neither, once per key."""

from __future__ import annotations

import json

import pytest

from publisher import Cursor, PublishError, PublishUnavailable
from publisher.keys import inbox_work, partition_of
from tests.support.redis_server import RedisServer

WORK = inbox_work(0)


@pytest.fixture
def work(server):
    def read():
        with server.client() as client:
            return [fields for _, fields in client.xrange(WORK)]

    return read


async def test_one_notification_is_one_entry_and_one_piece_of_work_under_its_id(open_publisher, url, entries, work):
    tide = open_publisher(url)
    notification_id = await tide.notify("42", title="Shipped", tenant="acme")
    ((entry_id, fields),) = entries()
    (done,) = work()
    assert notification_id.startswith(entry_id + ".0.")
    assert done == {"i": notification_id, **fields}
    assert (fields["t"], fields["to"], fields["k"]) == ("acme", '["user:42"]', "notify")


async def test_the_work_ends_by_itself_where_nobody_does_it(open_publisher, url, server):
    tide = open_publisher(url)
    await tide.notify("42", title="t")
    with server.client() as client:
        assert 0 < client.ttl(WORK) <= 7 * 24 * 3600


async def test_ten_thousand_users_are_a_hundred_entries_and_have_an_id_each(open_publisher, url, entries, work):
    users = [f"user-{number}" for number in range(10_000)]
    ids = await open_publisher(url).notify(users, title="t")
    assert len(ids) == 10_000
    assert len(set(ids)) == 100 == len(entries()) == len(work())
    of = {address: fields["i"] for fields in work() for address in json.loads(fields["to"])}
    assert ids == [of[f"user:{user}"] for user in users]


async def test_each_partition_has_the_users_whose_inboxes_it_holds(open_publisher, url, server):
    users = [str(number) for number in range(500)]
    ids = await open_publisher(url, partitions=4).notify(users, title="t")
    assert [Cursor.parse(one).partition for one in ids] == [partition_of(f"user:{user}", 4) for user in users]
    with server.client() as client:
        assert all(client.xlen(inbox_work(number)) == client.xlen(f"tg:{{events:{number}}}") for number in range(4))


async def test_under_the_same_key_nothing_is_stored_again(open_publisher, url, entries, work):
    tide = open_publisher(url)
    users = [str(number) for number in range(150)]
    assert await tide.notify("42", title="t", key="k") == await tide.notify("42", title="t", key="k")
    assert await tide.notify(users, title="t", key="k") == await tide.notify(users, title="t", key="k")
    assert len(entries()) == len(work()) == 3
    await tide.notify("42", title="t", key="another")
    await tide.notify("42", title="t", key="k", tenant="acme")
    assert len(entries()) == len(work()) == 5


async def test_an_event_and_a_notification_may_have_the_same_key(open_publisher, url, entries):
    tide = open_publisher(url)
    await tide.publish("order.shipped", 7, to="user:42", key="order-7")
    await tide.notify("42", title="Shipped", key="order-7")
    assert [fields["e"] for _, fields in entries()] == ["order.shipped", "notification"]


async def test_what_does_not_hold_sends_nothing(open_publisher, url, entries, work):
    tide = open_publisher(url)
    for to, options in (("", {}), (["1", "a\nb"], {}), ([], {}), ("42", {"title": ""}), ("42", {"level": "x"})):
        with pytest.raises(PublishError):
            await tide.notify(to, **{"title": "t", **options})
    with pytest.raises(TypeError):
        await tide.notify("42", titel="t")
    assert entries() == work() == []


async def test_nobody_there_is_unavailable(open_publisher, nowhere):
    tide = open_publisher(nowhere, timeout_s=1, retries=1)
    for to in ("42", ["1", "2"]):
        with pytest.raises(PublishUnavailable):
            await tide.notify(to, title="t")


async def test_a_full_memory_stores_neither_the_entry_nor_the_work(open_publisher, flavour):
    if flavour == "blocking":
        pytest.skip("the same commands")
    with RedisServer() as own, own.client() as client:
        tide = open_publisher(own.url, retries=1)
        client.config_set("maxmemory", 1)
        with pytest.raises(PublishUnavailable, match="OutOfMemory"):
            await tide.notify("42", title="t")
        client.config_set("maxmemory", 0)
        assert client.keys() == []
