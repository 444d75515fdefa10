"""The inboxes and the work, on each of the servers: once, bounded, aged, and counted."""

from __future__ import annotations

import asyncio
import json

import pytest
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from gateway.errors import PoisonEntry
from gateway.store.connection import script
from gateway.store.inbox import Inbox, InboxRules
from gateway.store.inbox_work import WorkStream
from publisher import Publisher
from publisher.keys import inbox, inbox_order, inbox_unread, inbox_work, stream

DAY_MS = 24 * 3600 * 1000
RULES = InboxRules(partitions=1, maxlen=1000, max_entries=5, retention_ms=DAY_MS)
WORK = inbox_work(0)


@pytest.fixture
async def tide(server):
    async with Publisher(server.url, timeout_s=60) as publisher:
        yield publisher


@pytest.fixture
async def boxes(redis):
    return Inbox(redis, RULES, timeout_s=30)


@pytest.fixture
async def one(redis):
    """The part of an instance in the work."""
    work = WorkStream(redis, 0, "one", RULES)
    await work.join()
    return work


@pytest.fixture
async def two(redis):
    """The part of another instance."""
    return WorkStream(redis, 0, "two", RULES)


async def do_all(work):
    """Do all the work that nobody has; return what became of it."""
    return await work.project([work.decode(raw) for raw in await work.read(1000, 1)])


async def counts(redis):
    """Return the unread counts that were told, in order."""
    told = await redis.xrange(stream(0))
    return [json.loads(fields[b"d"])["unread_count"] for _, fields in told if fields[b"e"] == b"unread_count"]


async def ids(boxes, user="42", tenant="default", **asked):
    page = await boxes.page(tenant, user, **{"page": 1, "size": 100, **asked})
    return [item.id for item in page.items]


async def test_work_is_written_under_the_id_that_the_publisher_returned(tide, one, boxes, redis):
    notification_id = await tide.notify("42", title="t", data={"n": 1})
    (written,) = await do_all(one)
    assert (written.done, written.failures) == (True, [])
    item = await boxes.get("default", "42", notification_id)
    assert (item.id, item.read, json.loads(item.text)["data"]) == (notification_id, False, {"n": 1})
    assert await boxes.unread_count("default", "42") == 1
    assert await counts(redis) == [1]
    assert await redis.xlen(WORK) == 0
    assert (await redis.xpending(WORK, "projector"))["pending"] == 0


async def test_work_that_two_do_is_done_once(tide, one, two, boxes, redis):
    await tide.notify(["1", "2"], title="t")
    works = [one.decode(raw) for raw in await one.read(10, 1)]
    taken = [two.decode(raw) for raw in await two.claim(0, 10)]
    assert works == taken
    outcomes = [*await one.project(works), *await two.project(taken), *await one.project(works * 2)]
    assert [outcome.done for outcome in outcomes] == [True, False, False, False]
    assert await counts(redis) == [1, 1]
    assert await boxes.unread_count("default", "1") == 1


async def test_what_was_read_in_between_does_not_come_back(tide, one, two, boxes):
    notification_id = await tide.notify("42", title="t")
    works = [one.decode(raw) for raw in await one.read(10, 1)]
    await one.project(works)
    await boxes.delete("default", "42", notification_id)
    await two.project(works)
    assert await ids(boxes) == []


async def test_what_one_has_left_is_its_own_and_another_may_claim_it(tide, one, two):
    await tide.notify("42", title="t")
    read = await one.read(10, 1)
    assert await two.read(10, 1) == []
    assert await two.claim(60_000, 10) == []
    assert await one.own(10) == read
    assert await two.claim(0, 10) == read
    assert await one.own(10) == []


async def test_work_from_before_the_first_gateway_is_done(tide, two, boxes):
    await tide.notify("42", title="t")
    await two.join()
    assert len(await do_all(two)) == 1
    await two.join()  # again changes nothing
    assert await boxes.unread_count("default", "42") == 1


async def test_joining_makes_no_key_that_stays_for_ever(one, redis):
    assert 0 < await redis.ttl(WORK) <= 7 * 24 * 3600


async def test_an_inbox_ends_by_itself(tide, one, redis):
    await tide.notify("42", title="t")
    await do_all(one)
    for name in (inbox, inbox_order, inbox_unread):
        assert 0 < await redis.pttl(name(0, "default", "42")) <= DAY_MS


async def test_the_oldest_give_way_to_newer_ones_read_or_not(tide, one, boxes, redis):
    stored = [await tide.notify("42", title=str(number)) for number in range(8)]
    await do_all(one)
    assert await ids(boxes) == stored[:2:-1]
    assert await boxes.unread_count("default", "42") == 5
    assert await counts(redis) == [1, 2, 3, 4, 5]  # from then on it has not changed
    assert await redis.hlen(inbox(0, "default", "42")) == 5


async def test_what_is_over_its_time_is_gone_and_the_devices_are_told(tide, one, redis):
    await tide.notify("42", title="t")
    await do_all(one)
    late = Inbox(redis, InboxRules(1, 1000, 5, retention_ms=1), timeout_s=30)
    await asyncio.sleep(0.005)
    page = await late.page("default", "42", page=1, size=10)
    assert (page.items, page.total, page.unread) == ([], 0, 0)
    assert await counts(redis) == [1, 0]
    assert await redis.exists(*(name(0, "default", "42") for name in (inbox, inbox_order, inbox_unread))) == 0


async def test_notifications_of_one_ms_are_in_the_order_of_the_log(tide, one, boxes, redis):
    rules = InboxRules(1, 1000, max_entries=500, retention_ms=10**14)
    for n in range(0, 300, 7):
        await redis.xadd(WORK, work_fields(f"1700000000000-{n}.0.e"))
    work = WorkStream(redis, 0, "one", rules)
    await do_all(work)
    found = await ids(Inbox(redis, rules, timeout_s=30))
    assert found == [f"1700000000000-{n}.0.e" for n in reversed(range(0, 300, 7))]


async def test_pages_filters_and_totals(tide, redis, one):
    rules = InboxRules(1, 1000, max_entries=1000, retention_ms=DAY_MS)
    boxes = Inbox(redis, rules, timeout_s=30)
    work = WorkStream(redis, 0, "one", rules)
    stored = [await tide.notify("42", title=str(n), type=("order", 'say "ü"')[n % 2]) for n in range(25)]
    await do_all(work)
    await boxes.mark_read("default", "42", stored[:10])
    newest = stored[::-1]

    async def shown(**asked):
        page = await boxes.page("default", "42", **{"page": 1, "size": 10, **asked})
        return [item.id for item in page.items], page.total, page.unread

    assert await shown() == (newest[:10], 25, 15)
    assert await shown(page=3) == (newest[20:], 25, 15)
    assert await shown(page=4) == ([], 25, 15)
    assert await shown(unread_only=True, page=2) == (newest[10:15], 15, 15)
    assert await shown(kind='say "ü"') == (newest[1::2][:10], 12, 15)
    assert await shown(kind='say "ü"', page=2) == (newest[1::2][10:], 12, 15)
    assert await shown(kind="order", unread_only=True) == (newest[:15][::2], 8, 15)
    assert await shown(kind="ord") == ([], 0, 15)
    assert [item.read for item in (await boxes.page("default", "42", page=2, size=10)).items] == [False] * 5 + [
        True
    ] * 5


async def test_marking_changes_the_count_once_and_tells_it_once(tide, one, boxes, redis):
    stored = [await tide.notify("42", title="t") for _ in range(3)]
    await do_all(one)
    first = await boxes.mark_read("default", "42", [stored[0], "1-0.0.unknown"])
    again = await boxes.mark_read("default", "42", [stored[0]])
    assert [(m.unread, m.changed, m.known) for m in (first, again)] == [(2, 1, 1), (2, 0, 1)]
    every = await boxes.mark_all_read("default", "42")
    again = await boxes.mark_all_read("default", "42")
    assert [(m.unread, m.changed) for m in (every, again)] == [(0, 2), (0, 0)]
    assert await counts(redis) == [1, 2, 3, 2, 0]
    assert await ids(boxes) == stored[::-1]


async def test_deleting_what_is_unread_changes_the_count(tide, one, boxes, redis):
    stored = [await tide.notify("42", title="t") for _ in range(2)]
    await do_all(one)
    await boxes.mark_read("default", "42", stored[:1])
    assert await boxes.delete("default", "42", stored[0]) == 1
    assert await boxes.delete("default", "42", stored[1]) == 0
    assert await boxes.delete("default", "42", stored[1]) is None
    assert await boxes.get("default", "42", stored[1]) is None
    assert await counts(redis) == [1, 2, 1, 0]


async def test_users_and_tenants_are_apart(tide, one, boxes):
    owners = [("default", "42"), ("acme", "42"), ("default", "42:unread"), ("default", "42%3Aunread"), ("acme", "ä ]*")]
    stored = {owner: await tide.notify(owner[1], title="t", tenant=owner[0]) for owner in owners}
    await do_all(one)
    for owner in owners:
        assert await ids(boxes, owner[1], owner[0]) == [stored[owner]]
        for other in owners:
            if other != owner:
                assert await boxes.get(*owner, stored[other]) is None
                assert (await boxes.mark_read(*owner, [stored[other]])).changed == 0
                assert await boxes.delete(*owner, stored[other]) is None
    assert sorted([owner async for owner in boxes.owners()]) == sorted(owners)
    assert sorted([owner async for owner in boxes.owners("acme")]) == [("acme", "42"), ("acme", "ä ]*")]


async def test_a_count_that_is_wrong_is_found_and_repaired(tide, one, boxes, redis):
    stored = [await tide.notify("42", title="t") for _ in range(4)]
    await do_all(one)
    assert (await boxes.check("default", "42")).right
    names = [name(0, "default", "42") for name in (inbox, inbox_order, inbox_unread)]
    await redis.hdel(names[0], stored[0])
    await redis.zrem(names[1], stored[1])
    await redis.zadd(names[2], {"9-0.0.x": 9})
    await redis.hset(names[0], "nonsense", "{}")
    found = await boxes.check("default", "42")
    assert (found.notifications, found.served, found.counted, found.lost, found.hidden) == (4, 5, 3, 1, 2)
    assert not found.right
    assert not (await boxes.check("default", "42", repair=True)).right
    repaired = await boxes.check("default", "42")
    assert repaired.right
    assert (repaired.notifications, repaired.served) == (3, 3)
    assert await ids(boxes) == stored[:0:-1]
    assert (await counts(redis))[-1] == 3


async def test_a_key_that_another_program_made_keeps_nobody_else_from_being_written(tide, one, boxes, redis):
    await redis.set(inbox(0, "default", "2"), "not an inbox")
    await tide.notify(["1", "2", "3"], title="t")
    (written,) = await do_all(one)
    assert [user for user, _ in written.failures] == ["2"]
    assert "WRONGTYPE" in written.failures[0][1]
    assert [await boxes.unread_count("default", user) for user in "13"] == [1, 1]


def work_fields(notification_id="1-0.0.e", **changed):
    fields = {"i": notification_id, "v": "1", "t": "default", "to": '["user:42"]', "e": "notification", "m": "m"}
    fields |= {"d": '{"type":"x"}', "k": "notify"} | changed
    return {name: value for name, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in ("i", "v", "t", "to", "d")),
        *({"i": text} for text in ("", "x", "1-0", "1-0.0.é", "9" * 400)),
        *({"to": text} for text in ("", "{}", "[1]", '["all"]', '["user:1","group:2"]', '["user:"]')),
        *({"d": text} for text in ("", "{", "[]", "1", "{}", '{"id":"x"}', "\ud83d", "[" * 5000)),
        {"v": "2"},
        {"t": "a b"},
        {"to": json.dumps([f"user:{n}" for n in range(1001)])},
    ],
    ids=str,
)
async def test_work_that_cannot_be_understood_is_poison(one, redis, changed):
    fields = {name: value.encode("utf-8", "replace") for name, value in work_fields(**changed).items()}
    await redis.xadd(WORK, fields)
    (raw,) = await one.read(10, 1)
    with pytest.raises(PoisonEntry):
        one.decode(raw)
    await one.drop(raw[0])
    assert await redis.xlen(WORK) == 0


async def has_script(redis, known):
    """Let the server know the script that writes, or none."""
    if known:
        await redis.script_load(script("inbox_project").source)
    else:
        await redis.script_flush()


@pytest.mark.parametrize("known", [True, False], ids=["known script", "unknown script"])
async def test_where_writing_is_refused_nothing_has_happened(tide, one, boxes, redis, known):
    await tide.notify(["1", "2"], title="t")
    works = [one.decode(raw) for raw in await one.read(10, 1)]
    await has_script(redis, known)
    await redis.replicaof("127.0.0.1", 1)
    (outcome,) = await one.project(works)
    await redis.replicaof("NO", "ONE")
    assert isinstance(outcome, ReadOnlyError)
    assert [written.done for written in await one.project(works)] == [True]
    assert await counts(redis) == [1, 1]


@pytest.mark.parametrize("known", [True, False], ids=["known script", "unknown script"])
async def test_where_memory_is_full_a_notification_is_written_whole_or_not_at_all(tide, one, boxes, redis, known):
    await tide.notify([str(number) for number in range(50)], title="t", content="x" * 1000)
    works = [one.decode(raw) for raw in await one.read(10, 1)]
    await has_script(redis, known)
    await redis.config_set("maxmemory", 1)
    try:
        (outcome,) = await one.project(works)
    finally:
        await redis.config_set("maxmemory", 0)
    if isinstance(outcome, OutOfMemoryError):
        (outcome,) = await one.project(works)
    assert (outcome.done, outcome.failures) == (True, [])
    assert [await boxes.unread_count("default", str(number)) for number in range(50)] == [1] * 50


async def test_a_script_that_the_server_forgot_is_sent_again(tide, one, boxes, redis):
    await tide.notify("42", title="t")
    await redis.script_flush()
    assert [written.done for written in await do_all(one)] == [True]


async def test_names_of_instances_that_are_gone_are_removed_unless_they_have_work(tide, one, two, redis):
    await tide.notify("42", title="t")
    await one.read(10, 1)
    await two.read(10, 1)
    await redis.xgroup_createconsumer(WORK, "projector", "three")
    await asyncio.sleep(0.005)
    await two.prune(60_000)
    assert {consumer["name"] for consumer in await redis.xinfo_consumers(WORK, "projector")} >= {b"one", b"three"}
    await two.prune(1)
    assert [consumer["name"] for consumer in await redis.xinfo_consumers(WORK, "projector")] == [b"one"]
    assert len(await two.read(10, 1)) == 0  # a removed one may go on as if nothing had happened
    assert len(await two.claim(0, 10)) == 1


async def test_many_who_ask_at_once_do_not_open_a_connection_each(boxes, redis):
    await asyncio.gather(*(boxes.unread_count("default", str(number)) for number in range(500)))
    assert len(await redis.client_list()) < 50
