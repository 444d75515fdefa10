"""Every route that pushes, from an HTTP request to sockets on two instances."""

from __future__ import annotations

import contextlib
import json

import pytest
import redis

from tests.integration.http.conftest import API_KEY, bearer, calling
from tests.support.clients import connected, settled

DATA = {"order": 7, "text": "Grüße", "none": None}


@pytest.fixture
async def crowd(gateway, other):
    """Users 1 and 2 on one instance, 3 on the other; 1 and 3 have a tag, a group and a topic."""
    chosen = {"tags": ["vip"], "groups": ["ops"], "topics": ["prices", "org_event", "user_event", "role_event"]}
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(connected(gateway, "1", claims=chosen))
        two = await stack.enter_async_context(connected(gateway, "2"))
        three = await stack.enter_async_context(connected(other, "3", claims=chosen))
        yield one, two, three


@pytest.fixture
def push(service, crowd, tide):
    """Push, and return who got what: for each of the crowd its events."""

    async def run(path, body):
        answer = await service.post(f"/message/push/{path}", json=body)
        assert answer.status_code == 202, answer.text
        await settled(tide, *crowd)
        for client in crowd:
            assert all(frame.id == answer.json()["id"] for frame in client.pushes)
        return [client.events for client in crowd]

    return run


EVENT = ("order.shipped", DATA)
MESSAGE = {"event": "order.shipped", "data": DATA}


async def test_all_reaches_everybody_on_every_instance(push):
    assert await push("all", MESSAGE) == [[EVENT], [EVENT], [EVENT]]


@pytest.mark.parametrize("user_id", ["3", 3])
async def test_user_reaches_that_user(push, user_id):
    assert await push("user", {"user_id": user_id, **MESSAGE}) == [[], [], [EVENT]]


async def test_any_name_that_a_token_can_have_can_be_pushed_to(gateway, service):
    for name in ("李\u3000雷", "\U0001f468\u200d\U0001f469", "a/b c%20"):
        async with connected(gateway, name) as client:
            assert (await service.post("/message/push/user", json={"user_id": name, **MESSAGE})).status_code == 202
            assert (await client.next("order.shipped")).data == DATA


async def test_users_reaches_those_users(push):
    assert await push("users", {"user_ids": ["2", "3", "2", "nobody"], **MESSAGE}) == [[], [EVENT], [EVENT]]


async def test_client_reaches_that_connection(push, crowd):
    assert await push("client", {"client_id": crowd[2].client_id, **MESSAGE}) == [[], [], [EVENT]]


@pytest.mark.parametrize(
    ("path", "target"), [("tag", {"tag": "vip"}), ("group", {"group_id": "ops"}), ("topic", {"topic": "prices"})]
)
async def test_tag_group_and_topic_reach_their_members(push, path, target):
    assert await push(path, {**target, **MESSAGE}) == [[EVENT], [], [EVENT]]


@pytest.mark.parametrize(
    ("target", "receivers"),
    [
        ({"target_type": "all"}, "123"),
        ({"target_type": "all", "target_ids": []}, "123"),
        ({"target_type": "user", "target_ids": ["1", "2"]}, "12"),
        ({"target_type": "tag", "target_ids": ["vip", "beta"]}, "13"),
        ({"target_type": "group", "target_ids": ["ops"]}, "13"),
        ({"target_type": "topic", "target_ids": ["prices", "other"]}, "13"),
    ],
)
async def test_custom_reaches_its_targets_once(push, target, receivers):
    got = await push("custom", {**target, **MESSAGE})
    assert got == [[EVENT] if str(number) in receivers else [] for number in (1, 2, 3)]


async def test_custom_reaches_connections(push, crowd):
    ids = [crowd[0].client_id, crowd[2].client_id]
    assert await push("custom", {"target_type": "client", "target_ids": ids, **MESSAGE}) == [[EVENT], [], [EVENT]]


@pytest.mark.parametrize("target", [{"target_type": "user"}, {"target_type": "all", "target_ids": ["1"]}])
async def test_custom_wants_ids_where_they_mean_something(service, target):
    answer = await service.post("/message/push/custom", json={**target, **MESSAGE})
    assert answer.status_code == 422
    assert "target_ids" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("org", "org_event", {"org_id": "7", "action": "created", "org_info": {"name": "Sales"}}),
        ("user-event", "user_event", {"user_id": 42, "action": "status_changed", "user_info": {"n": 2**70}}),
        ("role", "role_event", {"role_id": "editor", "action": "deleted"}),
        ("role", "role_event", {"role_id": "editor", "action": "updated", "role_info": {}}),
    ],
)
async def test_changes_reach_the_subscribers_of_their_topic(push, path, kind, body):
    assert await push(path, body) == [[(kind, body)], [], [(kind, body)]]


@pytest.mark.parametrize("path", ["org", "user-event", "role"])
async def test_an_unknown_action_is_answered_with_the_list(service, path):
    answer = await service.post(f"/message/push/{path}", json={f"{path[:4].rstrip('-')}_id": "7", "action": "renamed"})
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["field"] == "body.action"
    assert all(action in problem["problem"] for action in ("created", "updated", "deleted", "status_changed"))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("notice", {"title": "New", "content": "Reload.", "level": "info", "data": {"version": 2**65}}),
        ("notice", {"title": "New", "content": ""}),
        ("alert", {"title": "Fire", "content": "Leave.", "level": "critical", "data": None}),
        (
            "maintenance",
            {
                "title": "Soon",
                "content": "Down for an hour.",
                "start_time": "2027-01-01T02:00:00Z",
                "end_time": 1798772400000,
                "affected_services": ["orders", "billing"],
                "data": ["anything"],
            },
        ),
    ],
)
async def test_system_messages_reach_everybody_with_the_body_under_their_name(push, kind, body):
    message = ("system_message", {"type": kind, kind: body})
    assert await push(f"system/{kind}", body) == [[message], [message], [message]]


async def test_the_options_of_an_event_hold(service, crowd, tide):
    options = {"exclude": "user:1", "message_id": "mine", "priority": "low", "collapse": "order-7", "expires_in": 60}
    assert (await service.post("/message/push/all", json={**MESSAGE, **options})).status_code == 202
    await settled(tide, *crowd)
    assert [len(client.pushes) for client in crowd] == [0, 1, 1]
    assert crowd[1].pushes[0].message_id == "mine"


# Payloads.

PAYLOADS = [
    '{"n": 18446744073709551616, "m": -170141183460469231731687303715884105728}',
    '{"price": 1.10, "e": 1E+2, "zero": -0.0, "long": 0.1000000000000000055511151231257827}',
    '{"a": 1, "a": 2}',
    '"\\u00e4\\ud83d\\ude00 \\" \\\\ ]}"',
    "[ 1 ,\t2 ]",
    "null",
    "[" * 64 + "]" * 64,
    '{"data": {"data": []}}',
]


@pytest.mark.parametrize("text", PAYLOADS)
async def test_data_reaches_the_client_byte_for_byte(gateway, service, redis_url, text):
    async with connected(gateway, "42") as client:
        body = f' {{ "event" : "e" , "data" : {text} , "user_id" : 42 }} '
        answer = await service.post("/message/push/user", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 202, answer.text
        assert (await client.next("e")).data == json.loads(text)
    with redis.Redis.from_url(redis_url) as store:
        ((_, fields),) = store.xrange("tg:{events:0}")
    assert fields[b"d"] == text.encode()


# Very many targets.


@pytest.mark.parametrize("path", ["users", "custom"])
async def test_ten_thousand_targets_become_several_events(gateway, other, service, redis_url, tide, path):
    ids = [str(number) for number in range(10_000)]
    target = {"user_ids": ids} if path == "users" else {"target_type": "user", "target_ids": ids}
    async with connected(gateway, "0") as first, connected(other, "9999") as last:
        answer = (await service.post(f"/message/push/{path}", json={**target, **MESSAGE})).json()
        await settled(tide, first, last)
        assert [len(first.pushes), len(last.pushes)] == [1, 1]
        assert first.pushes[0].message_id == last.pushes[0].message_id
        assert [first.pushes[0].id, last.pushes[0].id] == answer["ids"]
        assert answer["id"] == answer["ids"][0]


async def test_long_names_become_as_many_events_as_they_need(service, redis_url):
    ids = [f"{number:0>250}" for number in range(3_000)]
    answer = (await service.post("/message/push/users", json={"user_ids": ids, **MESSAGE})).json()
    with redis.Redis.from_url(redis_url) as store:
        entries = store.xrange("tg:{events:0}")
    assert len(entries) == len(answer["ids"]) > 1
    addressed = [address for _, fields in entries for address in json.loads(fields[b"to"])]
    assert addressed == [f"user:{name}" for name in ids]
    assert all(sum(map(len, [*fields, *fields.values()])) <= 256 * 1024 for _, fields in entries)


# Batches.


async def test_a_batch_is_stored_in_order_each_with_its_result(gateway, other, service, tide):
    events = [{"to": "all", "event": "tick", "data": number} for number in range(1_000)]
    async with connected(gateway, "1") as one, connected(other, "2") as two:
        answer = await service.post("/message/push/batch", json={"events": events})
        assert answer.status_code == 202
        result = answer.json()
        assert (result["stored"], result["failed"]) == (1_000, 0)
        await settled(tide, one, two)
        for client in (one, two):
            assert [frame.data for frame in client.pushes] == list(range(1_000))
            assert [frame.id for frame in client.pushes] == [each["id"] for each in result["results"]]


async def test_what_does_not_hold_in_a_batch_leaves_the_others_alone(gateway, service, tide):
    body = """{"events": [
        {"to": ["user:1", "tag:vip"], "event": "a", "data": 18446744073709551616},
        {"to": "nobody", "event": "b", "data": 1},
        {"event": "c", "data": 1},
        7,
        {"to": "all", "event": "d", "data": 1, "tenant": "acme"},
        {"to": "all", "event": "e", "data": "%s"},
        {"to": "all", "event": "f", "data": {}}]}""" % ("x" * 300_000)
    async with connected(gateway, "1") as client:
        answer = await service.post("/message/push/batch", content=body)
        results = answer.json()["results"]
        assert answer.status_code == 202, answer.text
        statuses = [each.get("problem", {}).get("status") for each in results]
        assert statuses == [None, 422, 422, 422, 403, 413, None]
        assert results[1]["problem"]["errors"][0]["field"] == "to.0"
        await settled(tide, client)
        assert client.events == [("a", 2**64), ("f", {})]


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_batch_has_1_to_1000_events(service, count):
    events = [{"to": "all", "event": "e", "data": 1}] * count
    assert (await service.post("/message/push/batch", json={"events": events})).status_code == 422


# Idempotency.


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("all", MESSAGE),
        ("org", {"org_id": "7", "action": "created"}),
        ("system/notice", {"title": "New", "content": ""}),
        ("users", {"user_ids": [str(number) for number in range(12_000)], **MESSAGE}),
        ("batch", {"events": [{"to": "all", **MESSAGE}, {"to": "user:1", **MESSAGE}]}),
    ],
)
async def test_the_same_key_answers_the_same_and_stores_nothing_more(service, redis_url, path, body):
    first = await service.post(f"/message/push/{path}", json=body, headers={"Idempotency-Key": "once"})
    with redis.Redis.from_url(redis_url) as store:
        length = store.xlen("tg:{events:0}")
        again = await service.post(f"/message/push/{path}", json=body, headers={"Idempotency-Key": "once"})
        assert first.status_code == 202
        assert again.json() == first.json()
        assert store.xlen("tg:{events:0}") == length


async def test_a_key_is_of_its_tenant_only(service, gateway):
    async with calling(gateway.http_url, **bearer(tenant="acme")) as acme:
        first, second = [
            await client.post("/message/push/all", json=MESSAGE, headers={"Idempotency-Key": "once"})
            for client in (service, acme)
        ]
    assert first.json()["id"] != second.json()["id"]


async def test_an_event_of_a_batch_can_have_a_key_of_its_own(service):
    event = {"to": "all", "key": "order-7", **MESSAGE}
    results = (await service.post("/message/push/batch", json={"events": [event, event]})).json()["results"]
    assert results[0] == results[1]


@pytest.mark.parametrize("key", ["", "x" * 257])
async def test_a_key_that_does_not_hold_is_named(service, key):
    answer = await service.post("/message/push/all", json=MESSAGE, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]


# Tenants.


async def test_a_push_stays_within_the_tenant_of_its_credential(gateway, service, tide):
    async with (
        connected(gateway, "1") as ours,
        connected(gateway, "1", claims={"tenant": "acme"}) as theirs,
        calling(gateway.http_url, **{"X-API-Key": API_KEY}) as holder,
    ):
        await service.post("/message/push/all", json={**MESSAGE, "tenant": "default"})
        await holder.post("/message/push/user", json={"user_id": "1", **MESSAGE})
        await settled(tide, ours)
        await settled(tide, theirs, tenant="acme")
        assert (len(ours.pushes), len(theirs.pushes)) == (2, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/message/push/all", MESSAGE),
        ("/message/push/org", {"org_id": "7", "action": "created"}),
        ("/message/push/batch", {"events": [{"to": "all", **MESSAGE}]}),
        ("/api/v1/users/1/kick", {}),
    ],
)
async def test_a_body_cannot_name_another_tenant(service, path, body):
    answer = await service.post(path, json={**body, "tenant": "acme"})
    assert answer.status_code == 403
