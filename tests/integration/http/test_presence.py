"""Who is online, over HTTP: on two instances, by pages, and without sockets."""

from __future__ import annotations

import itertools

import pytest

from gateway.presence import Change
from gateway.store import keys
from gateway.store.connection import connect
from gateway.store.presence import PresenceStore
from tests.integration.http.conftest import ACME_KEY, API_KEYS, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected
from tests.support.gateway import ApiProcess, make_token, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

OPS = {"groups": ["ops"]}
ON = {"presence__groups": ["*"]}


@pytest.fixture
async def gateway(redis_url):
    async with running_gateway(redis_url, http__api_keys=API_KEYS, **ON) as running:
        yield running


@pytest.fixture
async def other(redis_url, gateway):
    async with running_gateway(redis_url, http__enabled=False, **ON) as running:
        yield running


async def got(service, path, **query):
    answer = await service.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def lists(service, *users):
    async def is_so():
        return (await got(service, "/api/v1/users/online"))["users"] == sorted(users)

    await wait_until(is_so)


async def test_a_user_is_online_while_connected_to_any_instance(gateway, other, service):
    assert await got(service, "/api/v1/users/bob/online") == {"user_id": "bob", "online": False}
    async with connected(other, "bob"), connected(gateway, "bob"), connected(gateway, "alice"):
        await lists(service, "alice", "bob")
        assert await got(service, "/api/v1/users/bob/online") == {"user_id": "bob", "online": True}
        answer = await service.post("/api/v1/users/online", json={"user_ids": ["bob", "x", "alice", 7]})
        assert answer.status_code == 200
        assert answer.json() == {"online": {"bob": True, "x": False, "alice": True, "7": False}}
        assert (await got(service, "/stats"))["online_users"] == 2
    await lists(service)
    assert (await got(service, "/stats"))["online_users"] == 0


async def test_who_is_in_a_group(gateway, other, service):
    async with connected(gateway, "alice", claims=OPS), connected(other, "bob", claims=OPS), connected(other, "carol"):
        await lists(service, "alice", "bob", "carol")
        path = "/api/v1/groups/ops/presence"
        assert await got(service, path) == {"group_id": "ops", "users": ["alice", "bob"], "total": 2}
        first = await got(service, path, limit=1)
        assert first == {"group_id": "ops", "users": ["alice"], "total": 2, "next": "alice"}
        assert await got(service, path, limit=1, after="alice") == {"group_id": "ops", "users": ["bob"], "total": 2}
        assert await got(service, "/api/v1/groups/dev/presence") == {"group_id": "dev", "users": [], "total": 0}


async def test_ten_thousand_users_come_in_pages(gateway, service, redis_url):
    users = [f"user-{number:05}" for number in range(10_000)]
    redis = connect(redis_url, 5)
    numbers = itertools.count(1)
    store = PresenceStore(redis, token="t", partitions=1, maxlen=1_000)
    await redis.hset(keys.instance("crowd"), mapping={"pid": "1", "token": "t"})  # it never beats again
    await store.claim(0, "crowd", number=next(numbers))
    for start in range(0, len(users), 250):
        changes = [Change(("default", "", user), here=True, aloud=True) for user in users[start : start + 250]]
        await store.apply(0, "crowd", changes, number=next(numbers))
    await redis.aclose()
    found = []
    for page in itertools.count(1):
        answer = await got(service, "/api/v1/users/online", page=page, page_size=1_000)
        assert (answer["total"], answer["page"], answer["page_size"]) == (10_000, page, 1_000)
        if not answer["users"]:
            break
        found += answer["users"]
    assert found == users
    assert len((await got(service, "/api/v1/users/online"))["users"]) == 100
    assert (await got(service, "/stats"))["online_users"] == 10_000


async def test_a_tenant_sees_its_own_and_the_count_is_everybodys(gateway, service):
    acme = {**OPS, "tenant": "acme"}
    async with (
        connected(gateway, "alice", claims=OPS),
        connected(gateway, "bob", claims=acme),
        calling(gateway.http_url, **{"X-API-Key": ACME_KEY}) as partner,
    ):
        await lists(service, "alice")
        await lists(partner, "bob")
        assert (await got(partner, "/api/v1/groups/ops/presence"))["users"] == ["bob"]
        assert not (await got(partner, "/api/v1/users/alice/online"))["online"]
        assert (await got(partner, "/stats"))["online_users"] == (await got(service, "/stats"))["online_users"] == 2
        answer = await partner.post("/api/v1/users/online", json={"user_ids": ["alice"], "tenant": "default"})
        assert_problem(answer, 403)


@pytest.mark.parametrize("name", ["a%20b", "a%2Fb", "a/b", "%C3%A4", "online", "x" * 256])
async def test_any_valid_name_can_be_asked_for(service, name):
    assert (await got(service, f"/api/v1/users/{name}/online"))["online"] is False
    assert (await got(service, f"/api/v1/groups/{name}/presence"))["users"] == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/users/a%00b/online", {}),
        (f"/api/v1/users/{'x' * 257}/online", {}),
        ("/api/v1/groups/a%00b/presence", {}),
        ("/api/v1/groups/ops/presence", {"limit": 0}),
        ("/api/v1/groups/ops/presence", {"limit": 1_001}),
        ("/api/v1/groups/ops/presence", {"after": ""}),
        ("/api/v1/groups/ops/presence", {"after": "a\x00"}),
        ("/api/v1/users/online", {"page": 0}),
        ("/api/v1/users/online", {"page": -1}),
        ("/api/v1/users/online", {"page": 10**30}),
        ("/api/v1/users/online", {"page_size": 0}),
        ("/api/v1/users/online", {"page_size": 1_001}),
        ("/api/v1/users/online", {"page_size": "many"}),
    ],
)
async def test_what_does_not_hold_is_422(service, path, query):
    assert_problem(await service.get(path, params=query), 422)


@pytest.mark.parametrize(
    "body",
    [{}, {"user_ids": []}, {"user_ids": "a"}, {"user_ids": [""]}, {"user_ids": ["a\n"]}, {"user_ids": ["a"] * 1_001}],
)
async def test_users_that_do_not_hold_are_422(service, body):
    assert_problem(await service.post("/api/v1/users/online", json=body), 422)


@pytest.mark.parametrize(
    "path", ["/api/v1/users/online", "/api/v1/users/1/online", "/api/v1/groups/ops/presence", "/stats"]
)
async def test_who_is_online_is_for_services(gateway, anybody, path):
    assert_problem(await anybody.get(path), 401)
    async with calling(gateway.http_url, Authorization=f"Bearer {make_token('1')}") as user:
        assert_problem(await user.get(path), 403)


async def test_where_presence_is_off_there_is_nothing(redis_url):
    async with (
        running_gateway(redis_url, presence__enabled=False) as gateway,
        calling(gateway.http_url, **bearer()) as service,
    ):
        for path in ("/api/v1/users/online", "/api/v1/users/1/online", "/api/v1/groups/ops/presence"):
            assert_problem(await service.get(path), 404)
        assert_problem(await service.post("/api/v1/users/online", json={"user_ids": ["1"]}), 404)
        assert (await got(service, "/stats"))["online_users"] is None


async def test_a_group_whose_presence_is_not_kept_is_404(redis_url):
    async with running_gateway(redis_url) as gateway, calling(gateway.http_url, **bearer()) as service:
        assert_problem(await service.get("/api/v1/groups/ops/presence"), 404)
        assert (await got(service, "/api/v1/users/online"))["total"] == 0


async def test_without_redis_it_is_503():
    with RedisServer() as server:
        async with (
            running_gateway(server.url, **ON) as gateway,
            calling(gateway.http_url, **bearer()) as service,
        ):
            server.stop()
            for path in ("/api/v1/users/online", "/api/v1/users/1/online", "/api/v1/groups/ops/presence", "/stats"):
                assert_problem(await service.get(path), 503)
            server.start()

            async def is_back():
                return (await service.get("/api/v1/users/online")).status_code == 200

            await wait_until(is_back)


async def test_after_a_flush_the_answer_is_to_ask_again_until_it_is_right(redis_url, redis_server, gateway, service):
    async with connected(gateway, "alice"):
        await lists(service, "alice")
        seen: list[int] = []

        async def is_back():
            answer = await service.get("/api/v1/users/online")
            seen.append(answer.status_code)
            assert answer.status_code == 503 or answer.json()["users"] == ["alice"]
            return answer.status_code == 200

        async def flushed() -> bool:
            with redis_server.client() as client:
                client.flushall()
            await wait_until(is_back)
            return 503 in seen

        await wait_until(flushed)  # once more, where the gateway was quicker than the first question


async def test_the_api_alone_knows_who_is_online(redis_url, other):
    async with (
        connected(other, "bob", claims=OPS),
        ApiProcess(redis_url, **ON) as api,
        calling(api.http_url, **bearer()) as service,
    ):
        await lists(service, "bob")
        assert (await got(service, "/api/v1/groups/ops/presence"))["users"] == ["bob"]
        assert (await got(service, "/stats"))["online_users"] == 1
