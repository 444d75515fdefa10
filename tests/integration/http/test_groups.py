"""Durable membership by HTTP: what is changed on one instance holds for the sockets of all."""

from __future__ import annotations

import pytest

from tests.integration.http.conftest import ACME_KEY, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected, settled
from tests.support.gateway import running_gateway
from tests.support.redis_server import RedisServer

MEMBERS = "/api/v1/groups/ops/members"


async def test_members_are_added_listed_and_removed(gateway, other, service, tide):
    async with connected(gateway, "1") as one, connected(other, "2") as two:
        added = await service.put(MEMBERS, json={"user_ids": ["1", "2", 3, "2"]})
        assert added.status_code == 200
        assert added.json()["changed"] == 3
        assert "id" not in (await service.put(MEMBERS, json={"user_ids": ["1"]})).json()
        await tide.publish("e", 1, to="group:ops")
        removed = await service.request("DELETE", MEMBERS, json={"user_ids": ["1", "9"]})
        assert removed.json()["changed"] == 1
        assert removed.json()["id"] > added.json()["id"]
        await tide.publish("e", 2, to="group:ops")
        await settled(tide, one, two)
        assert [one.events, two.events] == [[("e", 1)], [("e", 1), ("e", 2)]]
    page = (await service.get(MEMBERS, params={"page_size": 1, "page": 2})).json()
    assert page == {"group_id": "ops", "user_ids": ["3"], "total": 2, "page": 2, "page_size": 1}
    assert (await service.get("/api/v1/users/2/groups")).json() == {"user_id": "2", "group_ids": ["ops"]}
    assert (await service.get("/api/v1/users/1/groups")).json()["group_ids"] == []


async def test_one_member_has_a_path_of_its_own(service):
    assert (await service.put(f"{MEMBERS}/42")).json()["changed"] == 1
    assert (await service.put(f"{MEMBERS}/42")).json() == {"changed": 0}
    assert (await service.get(MEMBERS)).json()["user_ids"] == ["42"]
    assert (await service.delete(f"{MEMBERS}/42")).json()["changed"] == 1
    assert (await service.get(MEMBERS)).json()["total"] == 0


async def test_users_to_remove_may_stand_in_the_query(service):
    await service.put(MEMBERS, json={"user_ids": ["1", "2", "3"]})
    assert (await service.delete(MEMBERS, params={"user_id": ["1", "3"]})).json()["changed"] == 2
    assert (await service.get(MEMBERS)).json()["user_ids"] == ["2"]
    assert_problem(await service.delete(MEMBERS), 422)


@pytest.mark.parametrize("name", ["李\u3000雷", "a/b c%20", "group:x", '"]'])
async def test_any_name_that_a_token_can_have_is_a_member(service, name):
    path = "/api/v1/groups/" + "".join(f"%{byte:02X}" for byte in name.encode())
    assert (await service.put(f"{path}/members", json={"user_ids": [name]})).json()["changed"] == 1
    assert (await service.get(f"{path}/members")).json()["user_ids"] == [name]
    encoded = path.rpartition("/")[2]
    assert (await service.get(f"/api/v1/users/{encoded}/groups")).json()["group_ids"] == [name]
    assert (await service.delete(f"{path}/members/{encoded}")).json()["changed"] == 1


async def test_ten_thousand_are_added_at_once(service):
    users = [str(number) for number in range(10_000)]
    assert (await service.put(MEMBERS, json={"user_ids": users})).json()["changed"] == 10_000
    assert (await service.get(MEMBERS, params={"page": 10, "page_size": 1_000})).json()["user_ids"] == users[9_000:]
    assert_problem(await service.put(MEMBERS, json={"user_ids": [*users, "one more"]}), 422)


async def test_the_tenant_is_that_of_the_credential(gateway, service):
    await service.put(MEMBERS, json={"user_ids": ["1"]})
    assert_problem(await service.put(MEMBERS, json={"user_ids": ["1"], "tenant": "acme"}), 403)
    async with calling(gateway.http_url, **{"X-API-Key": ACME_KEY}) as acme:
        assert (await acme.get(MEMBERS)).json()["total"] == 0
        assert (await acme.put(MEMBERS, json={"user_ids": ["2"], "tenant": "acme"})).json()["changed"] == 1
        assert (await acme.get("/api/v1/users/1/groups")).json()["group_ids"] == []
    assert (await service.get(MEMBERS)).json()["user_ids"] == ["1"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", MEMBERS),
        ("PUT", MEMBERS),
        ("DELETE", MEMBERS),
        ("PUT", f"{MEMBERS}/1"),
        ("DELETE", f"{MEMBERS}/1"),
        ("GET", "/api/v1/users/1/groups"),
    ],
)
async def test_a_user_may_do_none_of_it(gateway, anybody, method, path):
    body = {"json": {"user_ids": ["1"]}} if method == "PUT" else {}
    assert_problem(await anybody.request(method, path, **body), 401)
    async with calling(gateway.http_url, **bearer(sub="1", scope="chat")) as user:
        assert_problem(await user.request(method, path, **body), 403)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (MEMBERS, {}),
        (MEMBERS, {"user_ids": []}),
        (MEMBERS, {"user_ids": "42"}),
        (MEMBERS, {"user_ids": ["a\nb"]}),
        (MEMBERS, {"user_ids": [""]}),
        (MEMBERS, {"user_ids": [True]}),
        (f"/api/v1/groups/{'x' * 257}/members", {"user_ids": ["1"]}),
        ("/api/v1/groups/a%00b/members", {"user_ids": ["1"]}),
    ],
)
async def test_what_does_not_hold_is_422(service, path, body):
    assert_problem(await service.put(path, json=body), 422)


@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=0", "page_size=1001", "page=99999999999999999999"])
async def test_a_page_that_does_not_hold_is_422(service, query):
    assert_problem(await service.get(f"{MEMBERS}?{query}"), 422)


async def test_redis_down_is_503_with_retry_after():
    with RedisServer() as own:
        async with running_gateway(own.url) as gateway:
            async with calling(gateway.http_url, **bearer()) as service:
                own.kill()
                for answer in (
                    await service.get(MEMBERS),
                    await service.put(f"{MEMBERS}/1"),
                    await service.get("/api/v1/users/1/groups"),
                ):
                    assert_problem(answer, 503)
                    assert int(answer.headers["Retry-After"]) >= 1
            own.start()


async def test_the_openapi_document_shows_them_with_examples(documented):
    document = (await documented.get("/openapi.json")).json()
    operations = document["paths"]["/api/v1/groups/{group_id}/members"]
    assert set(operations) == {"get", "put", "delete"}
    assert set(document["paths"]["/api/v1/groups/{group_id}/members/{user_id}"]) == {"put", "delete"}
    assert "get" in document["paths"]["/api/v1/users/{user_id}/groups"]
    for schema in ("Users", "MembersChanged", "MembersPage", "UsersGroups"):
        assert document["components"]["schemas"][schema]["examples"]
