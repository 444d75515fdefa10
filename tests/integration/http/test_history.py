"""A group's history by HTTP, for services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.http.conftest import ACME_KEY, API_KEYS, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected
from tests.support.gateway import ApiProcess, RunningGateway, running_gateway
from tests.support.redis_server import RedisServer

PATH = "/api/v1/groups/g/history"
IN_G = {"groups": ["g"]}
KEEPING = {"history__groups": ["*"]}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with an HTTP API and two API keys, whose groups keep everything."""
    async with running_gateway(redis_url, http__api_keys=API_KEYS, **KEEPING) as running:
        yield running


async def written(gateway: RunningGateway, count: int) -> list[str]:
    async with connected(gateway, "ann", claims=IN_G) as ann:
        acks = [await ann.send("send_message", {"group_id": "g", "content": n}) for n in range(count)]
    return [ack.data["id"] for ack in acks]


async def test_a_service_gets_what_members_get(gateway: RunningGateway, service: httpx.AsyncClient) -> None:
    await written(gateway, 3)
    answer = await service.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    async with connected(gateway, "bob", claims=IN_G) as bob:
        reply = await bob.send("get_history", {"group_id": "g"})
    assert {"success": True, **answer.json()} == reply.data
    assert [message["data"]["content"] for message in answer.json()["messages"]] == [2, 1, 0]


async def test_pages_follow_each_other(gateway: RunningGateway, service: httpx.AsyncClient) -> None:
    ids = await written(gateway, 5)
    first = (await service.get(PATH, params={"limit": 2})).json()
    second = (await service.get(PATH, params={"limit": 3, "before": first["messages"][-1]["id"]})).json()
    assert [message["id"] for message in first["messages"] + second["messages"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_a_service_reads_its_own_tenant_only(gateway: RunningGateway, service: httpx.AsyncClient) -> None:
    await written(gateway, 1)
    async with calling(gateway.http_url, **{"X-API-Key": ACME_KEY}) as acme:
        assert (await acme.get(PATH)).json() == {"messages": [], "has_more": False}
    assert len((await service.get(PATH)).json()["messages"]) == 1


async def test_a_credential_with_the_scope_push_is_needed(gateway: RunningGateway, anybody: httpx.AsyncClient) -> None:
    assert_problem(await anybody.get(PATH), 401)
    async with calling(gateway.http_url, **bearer(scope="", groups=["g"])) as member:
        assert_problem(await member.get(PATH), 403)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=-1", "limit=x", "limit=" + "9" * 40, "limit=1.5"),
        *("before=x", "before=", "before=1-1", "before=1-1.7.abc", "before=0-0.0.abc", "before=1-" + "9" * 20 + ".0.a"),
        "before=" + "x" * 1_000,
    ],
)
async def test_what_does_not_hold_is_422(service: httpx.AsyncClient, query: str) -> None:
    problem = assert_problem(await service.get(f"{PATH}?{query}"), 422)
    assert [error["field"] for error in problem["errors"]] == ["query." + query.partition("=")[0]]


async def test_a_group_with_a_slash_in_its_name_has_a_history(
    gateway: RunningGateway, service: httpx.AsyncClient
) -> None:
    async with connected(gateway, "ann", claims={"groups": ["a/history/ü"]}) as ann:
        await ann.send("send_message", {"group_id": "a/history/ü", "content": 1})
    for path in ("a/history/ü", "a%2Fhistory%2F%C3%BC"):
        assert len((await service.get(f"/api/v1/groups/{path}/history")).json()["messages"]) == 1
    assert_problem(await service.get(f"/api/v1/groups/{'x' * 257}/history"), 422)


async def test_a_push_to_a_group_is_kept_where_it_says_so(service: httpx.AsyncClient) -> None:
    body = {"group_id": "g", "event": "notice", "data": {"n": 2**70}}
    await service.post("/message/push/group", json={**body, "history": True, "exclude": ["client:x"]})
    await service.post("/message/push/group", json=body)
    [message] = (await service.get(PATH)).json()["messages"]
    assert (message["type"], message["data"]) == ("notice", {"n": 2**70})
    for wrong in ({"history": "yes"}, {"history": True, "exclude": ["user:1"]}, {"history": True, "expires_in": 5}):
        assert_problem(await service.post("/message/push/group", json={**body, **wrong}), 422)


async def test_the_api_alone_serves_it_too(redis_url: str, gateway: RunningGateway) -> None:
    ids = await written(gateway, 1)
    async with ApiProcess(redis_url, **KEEPING) as api, calling(api.http_url, **bearer()) as client:
        assert [message["id"] for message in (await client.get(PATH)).json()["messages"]] == ids


async def test_without_redis_it_is_503_with_retry_after() -> None:
    with RedisServer() as server:
        async with (
            running_gateway(server.url, **KEEPING) as gateway,
            calling(gateway.http_url, **bearer()) as client,
        ):
            server.kill()
            answer = await client.get(PATH)
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
