"""`/api/v1/notifications`: services notify, users see to their own inbox, nobody to another's."""

from __future__ import annotations

import pytest

from publisher import Cursor
from tests.integration.http.conftest import ACME_KEY, API_KEY, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected, settled
from tests.support.gateway import ApiProcess, make_token, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

PATH = "/api/v1/notifications"
COUNT = f"{PATH}/unread-count"
FULL = {
    "title": "Größe 🧑‍🤝‍🧑",
    "content": "Two\nlines",
    "type": "order",
    "level": "success",
    "priority": "urgent",
    "link": "/orders/7",
    "icon": "box",
}


def own(user="42", **claims):
    """Return the header of a user's own token."""
    return {"Authorization": f"Bearer {make_token(user, **claims)}"}


@pytest.fixture
async def user(gateway):
    """The user 42, by their own token."""
    async with calling(gateway.http_url, **own()) as client:
        yield client


@pytest.fixture
def notify(service, user):
    """Notify the user 42 by HTTP; return the id once it is in the inbox."""

    async def run(**body):
        answer = await service.post(PATH, json={"user_id": "42", "title": "t", **body})
        assert answer.status_code == 202, answer.text
        notification_id = answer.json()["id"]

        async def there():
            return (await user.get(f"{PATH}/{notification_id}")).status_code == 200

        await wait_until(there)
        return notification_id

    return run


async def unread(client):
    return (await client.get(COUNT)).json()["unread_count"]


def counts(device):
    """Return what a device was told; not the 0 in front that it hears where Redis was too slow for its welcome."""
    told = [frame.data["unread_count"] for frame in device.of_type("unread_count")]
    return told[1:] if told[:1] == [0] else told


async def shown(client, **query):
    return (await client.get(PATH, params=query)).json()


async def test_a_notification_has_one_id_everywhere(gateway, other, service, user):
    async with connected(other, "42") as device:
        text = b'{"user_id": 42, "title": "t", "data": {"price": 1.10, "n": 123456789012345678901234567890}}'
        answer = await service.post(PATH, content=text)
        frame = await device.next("notification")
        await device.until(lambda: counts(device) == [1])
    assert answer.json() == {"id": frame.id}
    item = await user.get(f"{PATH}/{frame.id}")
    assert item.json().items() >= frame.data.items()
    assert b'"data":{"price": 1.10, "n": 123456789012345678901234567890}' in item.content


async def test_everything_that_is_sent_is_in_the_item(notify, user):
    notification_id = await notify(**FULL, data=None, expires_in=60)
    item = (await user.get(f"{PATH}/{notification_id}")).json()
    stated = {"id": notification_id, "created_at": Cursor.parse(notification_id).ms, "read": False}
    assert item == {**FULL, "data": None, **stated}
    assert (await shown(user))["items"] == [item]


async def test_many_users_have_an_id_each_in_order(gateway, service):
    users = [str(number) for number in range(250)]
    ids = (await service.post(PATH, json={"user_ids": users, "title": "t"})).json()["ids"]
    assert (len(ids), len(set(ids))) == (250, 3)
    await wait_until(lambda: gateway.services.metrics.notifications == 250)
    for number in (0, 100, 249):
        answer = await service.get(f"{PATH}/{ids[number]}", params={"user_id": users[number]})
        assert answer.status_code == 200


async def test_pages_and_filters(notify, user):
    ids = [await notify(title=str(number), type=("a", "b")[number % 2]) for number in range(5)]
    await user.put(f"{PATH}/{ids[4]}/read")
    page = await shown(user, page=2, page_size=2)
    assert [item["id"] for item in page.pop("items")] == [ids[2], ids[1]]
    assert page == {"total": 5, "unread_count": 4, "page": 2, "page_size": 2}
    assert [item["id"] for item in (await shown(user, unread_only="true"))["items"]] == ids[3::-1]
    assert [item["id"] for item in (await shown(user, type="b"))["items"]] == [ids[3], ids[1]]
    assert (await shown(user, type="a", unread_only=1))["total"] == 2
    assert (await shown(user, type="none"))["items"] == []
    assert (await shown(user, page=99))["items"] == []


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page_size=0", "page_size=101", "unread_only=maybe", "type=", "type=%00", "page=1e9"]
)
async def test_a_query_that_does_not_hold_is_422(user, query):
    assert_problem(await user.get(f"{PATH}?{query}"), 422)


async def test_marking_and_deleting_change_the_count_everywhere(gateway, other, notify, user):
    async with connected(gateway, "42") as here, connected(other, "42") as there:
        ids = [await notify() for _ in range(6)]
        for answer, left in (
            (await user.put(f"{PATH}/{ids[0]}/read"), 5),
            (await user.put(f"{PATH}/{ids[0]}/read"), 5),
            (await user.put(f"{PATH}/read", json={"ids": [ids[0], ids[1], "none"]}), 4),
            (await user.delete(f"{PATH}/{ids[2]}"), 3),
            (await user.delete(f"{PATH}/{ids[0]}"), 3),
            (await user.put(f"{PATH}/read", json={"all": True}), 0),
        ):
            assert (answer.status_code, answer.json()) == (200, {"unread_count": left})
        for device in (here, there):
            await device.until(lambda device=device: counts(device) == [1, 2, 3, 4, 5, 6, 5, 4, 3, 0])
    assert [item["read"] for item in (await shown(user))["items"]] == [True] * 4


@pytest.mark.parametrize("body", [b"", b"{}", b'{"all": true}', b'{"all": true, "more": 1}'])
async def test_marking_all_takes_no_body_or_one_that_says_so(notify, user, body):
    await notify()
    assert (await user.put(f"{PATH}/read", content=body)).json() == {"unread_count": 0}


@pytest.mark.parametrize(
    "body",
    [
        *({"ids": ids} for ids in ([], "x", [1], [""], ["x" * 129], ["x"] * 1001)),
        *({"all": one} for one in (False, 1, "true")),
        *({"id": "x"}, {"ids": ["x"], "all": True}, [], 7, "x"),
    ],
    ids=lambda body: str(body)[:40],
)
async def test_marking_with_a_body_that_does_not_hold_is_422_and_marks_nothing(notify, user, body):
    await notify()
    assert_problem(await user.put(f"{PATH}/read", json=body), 422)
    assert await unread(user) == 1


@pytest.mark.parametrize("name", ["1-0.0.none", "none", "%00", "x" * 500, "%F0%9F", "..%2F..", "%7B%7D"])
async def test_what_is_not_in_the_inbox_is_404(user, name):
    for answer in (
        await user.get(f"{PATH}/{name}"),
        await user.delete(f"{PATH}/{name}"),
        await user.put(f"{PATH}/{name}/read"),
    ):
        assert_problem(answer, 404)


async def test_a_user_reaches_nobody_elses_inbox(gateway, notify, user):
    notification_id = await notify()
    async with calling(gateway.http_url, **own("7")) as eve, calling(gateway.http_url, **own(tenant="acme")) as same:
        for stranger in (eve, same):
            assert (await shown(stranger))["total"] == await unread(stranger) == 0
            assert_problem(await stranger.get(f"{PATH}/{notification_id}"), 404)
            assert_problem(await stranger.delete(f"{PATH}/{notification_id}"), 404)
            assert_problem(await stranger.put(f"{PATH}/{notification_id}/read"), 404)
            assert (await stranger.put(f"{PATH}/read")).status_code == 200
        for call in (eve.get(PATH, params={"user_id": "42"}), eve.put(f"{PATH}/read?user_id=42")):
            assert_problem(await call, 403)
    assert await unread(user) == 1
    assert (await user.get(PATH, params={"user_id": "42"})).status_code == 200


async def test_a_service_names_whose_inbox_within_its_tenant(gateway, notify, service, anybody):
    notification_id = await notify()
    for headers in (bearer(), {"X-API-Key": API_KEY}):
        answer = await anybody.get(f"{PATH}/{notification_id}", params={"user_id": "42"}, headers=headers)
        assert answer.status_code == 200
    answer = await anybody.get(f"{PATH}/{notification_id}", params={"user_id": "42"}, headers={"X-API-Key": ACME_KEY})
    assert_problem(answer, 404)
    assert_problem(await anybody.get(PATH, headers={"X-API-Key": API_KEY}), 422)
    assert_problem(await service.get(PATH, params={"user_id": "a\nb"}), 422)
    assert (await shown(service))["total"] == 0  # the token's own user
    answer = await service.put(f"{PATH}/read", params={"user_id": "42"})
    assert answer.json() == {"unread_count": 0}


async def test_a_users_own_token_opens_nothing_but_the_inbox(documented):
    document = (await documented.get("/openapi.json")).json()
    user = documented
    user.headers.update(own())
    closed = []
    for path, operations in document["paths"].items():
        for method in operations:
            if path == "/health" or (path.startswith(PATH) and (method, path) != ("post", PATH)):
                continue
            answer = await user.request(method, path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code in {403, 422}, (method, path)
            closed.append(answer.status_code)
    assert closed.count(403) >= 5
    assert_problem(await user.post(PATH, json={"user_id": "42", "title": "t"}), 403)
    assert_problem(await user.post("/message/push/all", json={"event": "e", "data": 1}), 403)


async def test_without_a_credential_nothing_answers(anybody):
    for method, path in (
        ("GET", PATH),
        ("POST", PATH),
        ("GET", COUNT),
        ("PUT", f"{PATH}/read"),
        ("DELETE", f"{PATH}/x"),
    ):
        assert_problem(await anybody.request(method, path), 401)
        assert_problem(await anybody.request(method, path, headers=own(ttl_s=-5)), 401)


async def test_what_is_sent_again_under_its_key_is_stored_once(service, user, notify):
    for body in ({"user_id": "42"}, {"user_ids": ["42", "43"]}):
        answers = [
            (await service.post(PATH, json={"title": "t", **body}, headers={"Idempotency-Key": "k"})).json()
            for _ in range(3)
        ]
        assert answers[0] == answers[1] == answers[2]
    await notify()  # after all of them
    assert (await shown(user))["total"] == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": "t"},
        {"user_id": "42"},
        {"user_id": "42", "user_ids": ["1"], "title": "t"},
        *({"user_ids": ids, "title": "t"} for ids in ([], "x", ["a\nb"], [None], ["1"] * 100_001)),
        *({"user_id": one, "title": "t"} for one in ("", "a\x00b", 1.5, True, [], "x" * 257)),
        *({"user_id": "42", "title": one} for one in ("", 7, None, "a\nb", "x" * 257)),
        *({"user_id": "42", "title": "t", "content": one} for one in (7, None, "x" * 4097)),
        *({"user_id": "42", "title": "t", "type": one} for one in ("", "a\nb", "x" * 65)),
        *({"user_id": "42", "title": "t", "level": one} for one in ("", "fatal", None)),
        *({"user_id": "42", "title": "t", "priority": one} for one in ("", "highest", 1)),
        *({"user_id": "42", "title": "t", "link": one} for one in ("", "a\nb", "x" * 2049)),
        *({"user_id": "42", "title": "t", "icon": one} for one in ("", 7)),
        *({"user_id": "42", "title": "t", "expires_in": one} for one in (0, -1, 1e11)),
        {"user_id": "42", "title": "t", "data": "x" * 40_000},
    ],
    ids=lambda body: str(body)[:60],
)
async def test_a_body_that_does_not_hold_is_422(service, body):
    assert_problem(await service.post(PATH, json=body), 422)


async def test_a_body_that_names_another_tenant_is_403(service):
    assert_problem(await service.post(PATH, json={"user_id": "42", "title": "t", "tenant": "acme"}), 403)


async def test_without_redis_it_is_503_with_retry_after_and_then_goes_on():
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            calling(gateway.http_url, **own()) as user,
            calling(gateway.http_url, **bearer()) as service,
        ):
            server.kill()
            for answer in (
                await user.get(PATH),
                await user.get(COUNT),
                await user.get(f"{PATH}/x"),
                await user.put(f"{PATH}/read"),
                await user.put(f"{PATH}/x/read"),
                await user.delete(f"{PATH}/x"),
                await service.post(PATH, json={"user_id": "42", "title": "t"}),
                await service.post(PATH, json={"user_ids": ["1", "2"], "title": "t"}),
            ):
                assert_problem(answer, 503)
                assert int(answer.headers["retry-after"]) >= 1
            server.start()

            async def answers():
                return (await user.get(PATH)).status_code == 200

            await wait_until(answers)


async def test_where_notifications_are_not_kept_there_is_no_inbox(redis_url, tide):
    async with (
        running_gateway(redis_url, inbox__enabled=False) as gateway,
        calling(gateway.http_url, **own()) as user,
        calling(gateway.http_url, **bearer()) as service,
        connected(gateway, "42") as device,
    ):
        answer = await service.post(PATH, json={"user_id": "42", "title": "t"})
        assert (await device.next("notification")).id == answer.json()["id"]
        assert_problem(await user.get(PATH), 404)
        assert_problem(await user.put(f"{PATH}/read"), 404)
        await settled(tide, device)


async def test_the_api_alone_leaves_the_writing_to_those_with_sockets(redis_url):
    async with (
        ApiProcess(redis_url) as api,
        calling(api.http_url, **bearer()) as service,
        calling(api.http_url, **own()) as user,
    ):
        notification_id = (await service.post(PATH, json={"user_id": "42", "title": "t"})).json()["id"]
        assert_problem(await user.get(f"{PATH}/{notification_id}"), 404)
        async with running_gateway(redis_url) as gateway, connected(gateway, "42") as device:

            async def there():
                return await unread(user) == 1

            await wait_until(there)
            assert (await user.put(f"{PATH}/{notification_id}/read")).json() == {"unread_count": 0}
            await device.until(lambda: [f.data["unread_count"] for f in device.of_type("unread_count")][-1:] == [0])
