"""History: what is kept of a group, in the same step as the log's entry."""

from __future__ import annotations

import asyncio

import pytest

from publisher import Cursor, Publisher, PublishError, make_event
from publisher.keys import history
from tests.integration.publisher.conftest import PATIENCE_S
from tests.support.redis_server import RedisServer

STREAM = "tg:{events:0}"
EPOCH = f"{STREAM}:epoch"
KEY = history(0, "default", "g")
DAY_S = 86_400


def kept(server: RedisServer, key: str = KEY) -> list[tuple[str, dict[str, str]]]:
    with server.client() as client:
        found: list[tuple[str, dict[str, str]]] = client.xrange(key)
        return found


async def test_an_event_that_is_kept_has_the_same_id_in_the_log_and_in_the_history(
    server, url, open_publisher, entries
):
    tide = open_publisher(url)
    stored = Cursor.parse(await tide.publish("e", {"n": 1}, to="group:g", history=True))
    await tide.publish("e", {"n": 2}, to="group:g")
    [(entry_id, fields)] = kept(server)
    assert entry_id == f"{stored.ms}-{stored.n}" == entries()[0][0]
    assert fields == {**entries()[0][1], "ep": stored.epoch}
    assert "ep" not in entries()[0][1]
    assert len(entries()) == 2


async def test_many_are_kept_in_one_pipeline(server, url, open_publisher):
    events = [{"event": "e", "data": n, "to": "group:g", "history": n % 2 == 0} for n in range(10)]
    ids = await open_publisher(url).publish_many(events)
    assert [entry_id for entry_id, _ in kept(server)] == [one.partition(".")[0] for one in ids[::2]]


async def test_what_is_published_again_under_a_key_is_kept_once(server, url, open_publisher):
    tide = open_publisher(url)
    ids = [await tide.publish("e", n, to="group:g", key="k", history=True) for n in range(3)]
    assert len(set(ids)) == 1
    assert [fields["d"] for _, fields in kept(server)] == ["0"]


async def test_a_history_is_as_long_and_lives_as_long_as_the_publisher_was_told(server, url, open_publisher):
    tide = open_publisher(url, history_messages=3, history_days=1.5)
    for number in range(10):
        await tide.publish("e", number, to="group:g", history=True)
    assert [fields["d"] for _, fields in kept(server)] == ["7", "8", "9"]
    with server.client() as client:
        assert 1.5 * DAY_S - 60 < client.ttl(KEY) <= 1.5 * DAY_S


async def test_tenants_and_groups_have_histories_of_their_own(server, url, open_publisher):
    tide = open_publisher(url)
    for tenant, group in (("default", "g"), ("acme", "g"), ("default", "acme:g")):
        await tide.publish("e", f"{tenant}/{group}", to=f"group:{group}", tenant=tenant, history=True)
    for tenant, group in (("default", "g"), ("acme", "g"), ("default", "acme:g")):
        assert [fields["d"] for _, fields in kept(server, history(0, tenant, group))] == [f'"{tenant}/{group}"']


async def test_where_the_logs_ids_are_below_the_historys_it_goes_on_with_its_own(server, url, open_publisher, entries):
    tide = open_publisher(url)
    await tide.publish("e", 1, to="group:g", history=True)
    with server.client() as client:
        [(entry_id, fields)] = client.xrange(KEY)
        ahead = int(entry_id.partition("-")[0]) + 3_600_000
        client.xadd(KEY, fields, id=f"{ahead}-0")
        client.delete(STREAM, EPOCH)
    ids = [Cursor.parse(await tide.publish("e", n, to="group:g", history=True)) for n in (2, 3)]
    assert [(entry_id, fields["i"], fields["ep"]) for entry_id, fields in kept(server)[2:]] == [
        (f"{ahead}-{number}", f"{one.ms}-{one.n}", one.epoch) for number, one in enumerate(ids, 1)
    ]
    assert len(entries()) == 2


async def test_a_history_that_cannot_be_written_does_not_lose_the_event(server, url, open_publisher, entries):
    tide = open_publisher(url)
    with server.client() as client:
        client.set(KEY, "somebody else's", ex=60)
    ids = {await tide.publish("e", 1, to="group:g", key="k", history=True) for _ in range(2)}
    assert len(ids) == len(entries()) == 1


async def test_a_recall_takes_one_entry_out_and_is_announced_once(server, url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        ids = [Cursor.parse(await tide.publish("e", n, to="group:g", history=True)) for n in range(3)]
        recall = make_event("recalled", None, to="group:g", key="r")
        recall = recall._replace(recalls=(f"{ids[1].ms}-{ids[1].n}", ids[1].epoch))
        assert len({await tide.submit(recall) for _ in range(2)}) == 1
        other_log = recall._replace(key="r2", recalls=(f"{ids[2].ms}-{ids[2].n}", "other"))
        await tide.submit(other_log)
    assert [fields["d"] for _, fields in kept(server)] == ["0", "2"]
    assert [fields["e"] for _, fields in entries()] == ["e"] * 3 + ["recalled"] * 2


async def test_a_recall_where_nothing_is_kept_is_announced_and_makes_no_history(server, url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        await tide.submit(make_event("recalled", None, to="group:g")._replace(recalls=("1-1", "e")))
    assert (len(entries()), kept(server)) == (1, [])


async def test_what_may_be_there_twice_needs_no_key(server, url):
    async with Publisher(url, timeout_s=PATIENCE_S) as tide:
        await tide.submit(make_event("typing", None, to="group:g", kind=b"ephemeral"))
        with server.client() as client:
            assert set(client.scan_iter()) == {STREAM, EPOCH}


async def test_history_of_anything_but_a_group_is_refused_before_anything_is_sent(url, open_publisher, entries):
    with pytest.raises(PublishError, match="group"):
        await open_publisher(url).publish("e", 1, to="user:1", history=True)
    assert entries() == []


@pytest.mark.parametrize("options", [{"history_messages": 0}, {"history_days": 0}, {"history_days": -1}])
async def test_an_option_that_does_not_hold_is_refused(url, open_publisher, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        open_publisher(url, **options)


async def test_concurrent_writers_leave_log_and_history_with_one_order(server, url, entries):
    async with Publisher(url, timeout_s=PATIENCE_S) as one, Publisher(url, timeout_s=PATIENCE_S) as other:
        events = [(tide, n) for n in range(200) for tide in (one, other)]
        await asyncio.gather(*(tide.publish("e", n, to="group:g", history=True) for tide, n in events))
    assert [entry_id for entry_id, _ in kept(server)] == [entry_id for entry_id, _ in entries()]
