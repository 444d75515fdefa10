"""Publishing: what a stored entry looks like, and what never gets that far."""

from __future__ import annotations

import json
import time

import pytest

from publisher import Cursor, PublishError, make_event
from publisher.cursor import new_epoch
from tests.support.redis_server import RedisServer


async def test_the_id_is_the_cursor_of_the_stored_entry(server, url, open_publisher, entries):
    event_id = await open_publisher(url).publish("order.shipped", {"order": 7}, to="user:42")
    cursor = Cursor.parse(event_id)
    ((entry_id, _),) = entries()
    with server.client() as client:
        epoch = client.get("tg:{events:0}:epoch")
    assert (f"{cursor.ms}-{cursor.n}", cursor.partition, cursor.epoch) == (entry_id, 0, epoch)


async def test_every_field_is_in_the_entry(url, open_publisher, entries):
    await open_publisher(url).publish(
        "note",
        {"a": [1, None, "ü", 2**70]},
        to=["tag:vip", "group:ops"],
        exclude=["user:1"],
        tenant="acme",
        key="k",
        message_id="m-1",
        expires_in=60,
        priority="low",
        collapse="c-1",
    )
    ((_, fields),) = entries()
    assert time.time() * 1000 + 50_000 < int(fields.pop("exp")) < time.time() * 1000 + 61_000
    assert json.loads(fields.pop("d")) == {"a": [1, None, "ü", 2**70]}
    assert fields == {
        "v": "1",
        "t": "acme",
        "to": '["tag:vip","group:ops"]',
        "x": '["user:1"]',
        "e": "note",
        "m": "m-1",
        "p": "low",
        "c": "c-1",
    }


async def test_a_plain_event_has_no_optional_fields(url, open_publisher, entries):
    await open_publisher(url).publish("e", None, to="all")
    ((_, fields),) = entries()
    assert set(fields) == {"v", "t", "to", "e", "m", "d"}


async def test_many_are_stored_in_order_with_an_id_each(url, open_publisher, entries):
    specs = [{"event": "e", "data": number, "to": "all"} for number in range(1200)]
    ids = await open_publisher(url).publish_many([*specs, make_event("e", 1200, to="all")])
    stored = entries()
    assert [fields["d"] for _, fields in stored] == [str(number) for number in range(1201)]
    assert [event_id.split(".")[0] for event_id in ids] == [entry_id for entry_id, _ in stored]


async def test_publishing_nothing_is_nothing(url, open_publisher, entries):
    assert await open_publisher(url).publish_many([]) == []
    assert entries() == []


SPEC = {"event": "e", "data": 1, "to": "all"}
BAD = [
    {"to": "nobody"},
    {"to": []},
    {"to": None},
    {"data": object()},
    {"data": float("nan")},
    {"data": "\ud800"},
    {"data": "x" * 300_000},
    {"event": ""},
    {"tenant": "a b"},
    {"key": ""},
    {"message_id": "\n"},
    {"expires_in": -1},
    {"priority": "high"},
    {"collapse": ""},
    {"exclude": "nobody"},
]


@pytest.mark.parametrize("wrong", BAD, ids=lambda wrong: next(iter(wrong)))
async def test_bad_input_raises_before_anything_is_sent(server, url, open_publisher, wrong):
    tide = open_publisher(url)
    spec = {"event": "e", "data": 1, "to": "all"}
    good = dict(spec)
    event, data, options = (lambda event, data, **rest: (event, data, rest))(**{**spec, **wrong})
    with pytest.raises(PublishError):
        await tide.publish(event, data, **options)
    with pytest.raises(PublishError):
        await tide.publish_many([good, {**spec, **wrong}, good])
    with server.client() as client:
        seen = client.info("commandstats")
    assert not {"cmdstat_eval", "cmdstat_evalsha", "cmdstat_xadd"} & set(seen)


async def test_a_smaller_limit_holds(url, open_publisher):
    tide = open_publisher(url, max_event_bytes=100)
    with pytest.raises(PublishError, match="over the limit of 100"):
        await tide.publish("e", "x" * 100, to="all")


async def test_partitions_are_chosen_by_the_first_address(server, url, open_publisher):
    tide = open_publisher(url, partitions=4)
    users = [f"user:{number}" for number in range(40)]
    ids = await tide.publish_many([{"event": "e", "data": user, "to": [user, "all"]} for user in users])
    found = {}
    with server.client() as client:
        for partition in range(4):
            for entry_id, fields in client.xrange(f"tg:{{events:{partition}}}"):
                found[json.loads(fields["d"])] = (entry_id, partition)
    assert {partition for _, partition in found.values()} == {0, 1, 2, 3}
    for user, event_id in zip(users, ids, strict=True):
        cursor = Cursor.parse(event_id)
        assert (f"{cursor.ms}-{cursor.n}", cursor.partition) == found[user]


async def test_the_log_is_trimmed_to_about_maxlen(server, url, open_publisher):
    tide = open_publisher(url, maxlen=100)
    await tide.publish_many([{"event": "e", "data": 1, "to": "all"}] * 1000)
    with server.client() as client:
        assert 100 <= client.xlen("tg:{events:0}") <= 300


async def test_a_lost_log_begins_with_a_new_epoch(server, url, open_publisher):
    tide = open_publisher(url)
    first, second = [Cursor.parse(await tide.publish("e", 1, to="all")) for _ in range(2)]
    with server.client() as client:
        client.delete("tg:{events:0}")
    third = Cursor.parse(await tide.publish("e", 1, to="all"))
    assert first.epoch == second.epoch != third.epoch


async def test_an_epoch_that_is_there_is_kept(server, url, open_publisher):
    epoch = new_epoch()
    with server.client() as client:
        client.set("tg:{events:0}:epoch", epoch)
        client.xadd("tg:{events:0}", {"v": "1"})
    assert Cursor.parse(await open_publisher(url).publish("e", 1, to="all")).epoch == epoch


async def test_all_keys_but_the_log_expire(server, url, open_publisher):
    tide = open_publisher(url)
    await tide.publish("e", 1, to="all")
    await tide.publish("e", 1, to="all", key="k")
    await tide.kick("42")
    await tide.revoke(jti="t")
    with server.client() as client:
        ttls = {key: client.ttl(key) for key in client.scan_iter()}
    assert {key for key, ttl in ttls.items() if ttl == -1} == {"tg:{events:0}", "tg:{events:0}:epoch"}
    assert 590 < ttls["tg:{events:0}:key:k"] <= 600


async def test_a_unix_socket_will_do(server, url, open_publisher, entries):
    await open_publisher(server.unix_url).publish("e", 1, to="all")
    assert len(entries()) == 1


async def test_closing_twice_is_fine_and_publishing_afterwards_is_not(url, open_publisher):
    tide = open_publisher(url)
    await tide.publish("e", 1, to="all")
    await tide.aclose()
    await tide.aclose()
    with pytest.raises(PublishError, match="closed"):
        await tide.publish("e", 1, to="all")


async def test_a_password_and_a_database_of_the_url_are_used(open_publisher):
    with RedisServer() as own:
        with own.client() as client:
            client.config_set("requirepass", "secret")
        await open_publisher(f"redis://:secret@127.0.0.1:{own.port}/3").publish("e", 1, to="all")
        for wrong in (own.url, f"redis://:wrong@127.0.0.1:{own.port}/3"):
            with pytest.raises(PublishError) as caught:
                await open_publisher(wrong).publish_many([{"event": "e", "data": 1, "to": "all"}] * 3)
            assert type(caught.value) is PublishError
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


async def test_a_flushed_script_cache_is_filled_again(server, url, open_publisher, entries):
    tide = open_publisher(url, retries=0)
    for _ in range(3):
        await tide.publish("e", 1, to="all")
        await tide.publish_many([SPEC] * 5)
        await tide.revoke(jti="t")
        with server.client() as client:
            client.script_flush()
    assert len(entries()) == 21


async def test_a_log_of_the_wrong_type_is_refused_for_good(server, url, open_publisher):
    with server.client() as client:
        client.set("tg:{events:0}", "not a stream")
    with pytest.raises(PublishError, match="WRONGTYPE") as caught:
        await open_publisher(url).publish_many([SPEC] * 5)
    assert type(caught.value) is PublishError


async def test_many_that_are_not_events_are_refused(url, open_publisher):
    with pytest.raises(PublishError, match="5 is not a list of events"):
        await open_publisher(url).publish_many(5)
