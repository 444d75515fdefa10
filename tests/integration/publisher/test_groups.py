"""Durable groups: both keys and one control entry change together, and only where something changes."""

from __future__ import annotations

import json

import pytest

from publisher import Cursor, Publisher, PublishError, PublishUnavailable, PublishUnknown, keys
from publisher.groups import BlockingGroups
from publisher.sync import Publisher as BlockingPublisher
from tests.integration.publisher.conftest import PATIENCE_S
from tests.support.tcp_proxy import TcpProxy

HOSTILE = ("a:b", "group:x", "user:1", '"]', "a\\b", "{events:0}", "李 雷", "\U0001f468\u200d", "a/b", "x" * 256, "*?")


class Calls:
    """The groups of either publisher, with the asyncio one's face."""

    def __init__(self, publisher):
        self._publisher = publisher

    def __getattr__(self, name):
        groups = self._publisher.groups

        async def call(*arguments, **options):
            result = getattr(groups, name)(*arguments, **options)
            return result if isinstance(groups, BlockingGroups) else await result

        return call


@pytest.fixture
async def open_groups(flavour):
    opened = []

    def open_one(url, **options):
        kind = BlockingPublisher if flavour == "blocking" else Publisher
        publisher = kind(url, **{"timeout_s": PATIENCE_S, **options})
        opened.append(publisher)
        return Calls(publisher)

    yield open_one
    for publisher in opened:
        if isinstance(publisher, Publisher):
            await publisher.aclose()
        else:
            publisher.close()


@pytest.fixture
def groups(open_groups, url):
    return open_groups(url)


async def test_added_users_are_in_both_keys_and_announced_once(server, groups, entries):
    added = await groups.add("ops", "42", "43")
    assert added == 2
    ((entry_id, fields),) = entries()
    assert (fields["k"], fields["e"], fields["t"]) == ("control", "members", "default")
    assert json.loads(fields["to"]) == ["user:42", "user:43"]
    assert json.loads(fields["d"]) == {"group": "ops", "action": "added"}
    assert str(added.id).startswith(entry_id)
    with server.client() as client:
        members = client.zrange(keys.members(0, "default", "ops"), 0, -1, withscores=True)
        assert members == [(user, Cursor.parse(added.id).ms) for user in ("42", "43")]
        assert client.hgetall(keys.memberships(0, "default", "42")) == {"ops": entry_id}


async def test_only_who_changes_is_counted_and_announced(groups, entries):
    await groups.add("ops", "1", "2")
    again = await groups.add("ops", ["2", "3"], "1")
    assert (again, len(entries())) == (1, 2)
    assert json.loads(entries()[-1][1]["to"]) == ["user:3"]
    gone = await groups.remove("ops", "3", "4")
    assert gone == 1
    assert json.loads(entries()[-1][1]["to"]) == ["user:3"]
    assert json.loads(entries()[-1][1]["d"])["action"] == "removed"


async def test_where_nothing_changes_nothing_is_announced(groups, entries):
    await groups.add("ops", "1")
    for nothing in (await groups.add("ops", "1"), await groups.remove("ops", "2"), await groups.remove("none", "1")):
        assert (nothing, nothing.id, nothing.ids) == (0, None, ())
    assert len(entries()) == 1


async def test_the_last_one_to_leave_leaves_no_keys(server, groups):
    await groups.add("ops", "1", "2")
    assert await groups.remove("ops", "1", "2") == 2
    with server.client() as client:
        assert client.keys("tg:members:*") == []


async def test_a_lost_half_is_put_right(server, groups, entries):
    await groups.add("ops", "1", "2")
    with server.client() as client:
        client.delete(keys.memberships(0, "default", "1"))
        client.zrem(keys.members(0, "default", "ops"), "2")
    assert await groups.add("ops", "1", "2") == 2
    assert (await groups.members("ops"), await groups.of("1"), await groups.of("2")) == (["1", "2"], ["ops"], ["ops"])
    assert len(entries()) == 2


async def test_members_are_listed_in_pages_the_first_added_first(groups):
    for user in ("c", "a", "b"):
        await groups.add("ops", user)
    page = await groups.members("ops", page=1, page_size=2)
    rest = await groups.members("ops", page=2, page_size=2)
    assert (len(page), len(rest)) == (2, 1)
    assert sorted([*page, *rest]) == ["a", "b", "c"]  # some may have been added in the same ms
    assert (page.total, rest.total) == (3, 3)
    assert await groups.members("ops", page=3, page_size=2) == []
    assert (await groups.members("nobody")).total == 0


async def test_a_users_groups_are_listed_whatever_their_partition(open_groups, server, url):
    groups = open_groups(url, partitions=4)
    names = [f"g{number}" for number in range(20)]
    for name in names:
        await groups.add(name, "42", tenant="acme")
    assert await groups.of("42", tenant="acme") == sorted(names)
    assert await groups.of("42") == []
    with server.client() as client:
        for name in names:
            partition = keys.partition_of(f"group:{name}", 4)
            assert client.zcard(keys.members(partition, "acme", name)) == 1
        assert sum(client.xlen(keys.stream(partition)) for partition in range(4)) == 20


async def test_ten_thousand_are_added_and_removed_in_entries_of_five_hundred(groups, entries):
    users = [str(number) for number in range(10_000)]
    added = await groups.add("big", users)
    assert (added, len(added.ids), len(entries())) == (10_000, 20, 20)
    assert max(len(json.loads(fields["to"])) for _, fields in entries()) == 500
    assert (await groups.members("big", page=10, page_size=1_000)).total == 10_000
    assert await groups.remove("big", users, users) == 10_000
    assert (await groups.members("big")).total == 0


async def test_long_names_are_cut_into_entries_that_are_no_giants(groups, entries):
    users = [f"{number:04d}" + "\U0001f468" * 252 for number in range(500)]
    assert await groups.add("big", users) == 500
    assert sum(len(json.loads(fields["to"])) for _, fields in entries()) == 500
    assert max(len(fields["to"].encode()) for _, fields in entries()) < 256 * 1024


async def test_hostile_names_are_names(groups):
    for name in HOSTILE:
        assert await groups.add(name, *HOSTILE) == len(HOSTILE)
    for name in HOSTILE:
        assert sorted(await groups.members(name)) == sorted(HOSTILE)
        assert await groups.of(name) == sorted(HOSTILE)
    assert await groups.remove(HOSTILE[0], HOSTILE[1]) == 1
    assert HOSTILE[0] not in await groups.of(HOSTILE[1])


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 257, 42, None, b"x", ["x"]])
async def test_bad_names_are_refused_before_anything_is_sent(groups, entries, server, name):
    for call in (
        groups.add(name, "1"),
        groups.add("ops", "1", name if name != ["x"] else [["x"]]),
        groups.remove(name, "1"),
        groups.members(name),
        groups.of(name),
        groups.add("ops", "1", tenant="no tenant"),
        groups.add("ops"),
        groups.add("ops", []),
    ):
        with pytest.raises(PublishError):
            await call
    with server.client() as client:
        assert client.dbsize() == 0


@pytest.mark.parametrize("options", [{"page": 0}, {"page": True}, {"page_size": 0}, {"page_size": 1_001}])
async def test_bad_pages_are_refused(groups, options):
    with pytest.raises(PublishError, match="page"):
        await groups.members("ops", **options)


async def test_a_lost_reply_is_asked_for_again_and_counted_once(server, open_groups, entries, url):
    with TcpProxy(server.port) as proxy:
        groups = open_groups(proxy.url)
        proxy.lose_replies(2)
        added = await groups.add("ops", "1", "2")
        assert proxy.lost == 2
    assert (added, len(entries())) == (2, 1)
    assert str(added.id).startswith(entries()[0][0])


async def test_without_retries_a_lost_reply_is_unknown_and_can_be_repeated(server, open_groups, entries, url):
    with TcpProxy(server.port) as proxy:
        groups = open_groups(proxy.url, retries=0)
        proxy.lose_replies(1)
        with pytest.raises(PublishUnknown, match="call it again"):
            await groups.add("ops", "1")
        assert await groups.add("ops", "1") == 0
    assert len(entries()) == 1


async def test_no_server_is_unavailable(open_groups, nowhere):
    groups = open_groups(nowhere, timeout_s=0.5)
    for call in (groups.add("ops", "1"), groups.members("ops"), groups.of("1")):
        with pytest.raises(PublishUnavailable):
            await call


async def test_a_change_that_cannot_be_announced_is_not_made(server, open_groups, url):
    with server.client() as client:
        client.set(keys.stream(0), "not a stream")
        with pytest.raises(PublishError):
            await open_groups(url, retries=0).add("ops", "1")
        assert client.keys("tg:members:*") == []
