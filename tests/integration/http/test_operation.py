"""/ready, /stats, the documentation, and Redis going away and coming back."""

from __future__ import annotations

import pytest
import redis
from redis.asyncio import Redis

from tests.integration.http.conftest import bearer, calling
from tests.integration.http.test_credentials import ALL, MESSAGE, assert_problem
from tests.support.clients import connected
from tests.support.gateway import running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def own_redis():
    """A server that a test may kill."""
    with RedisServer(appendonly="yes") as server:
        yield server


async def test_ready_says_yes(service):
    answer = await service.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


async def test_stats_count_this_instance_and_list_the_cluster(gateway, other, service, redis_url):
    async with connected(gateway, "1"):
        await service.post(ALL, json=MESSAGE)
        await service.get("/nowhere")
        stats = (await service.get("/stats")).json()
    mine = stats["instance"]
    assert (mine["id"], mine["connections"], mine["http_published"]) == (gateway.instance_id, 1, 1)
    assert (mine["http_requests"]["202"], mine["http_requests"]["404"]) == (1, 1)
    instances = stats["cluster"]["instances"]
    assert {each["id"] for each in instances} == {gateway.instance_id, other.instance_id}
    assert all(isinstance(each["started_at"], int) and "token" not in each for each in instances)
    assert stats["cluster"]["connections"] == sum(each["connections"] for each in instances)


async def test_a_dead_redis_is_503_and_its_return_is_noticed(own_redis):
    async with (
        running_gateway(own_redis.url) as gateway,
        calling(gateway.http_url, **bearer()) as service,
        connected(gateway, "1") as client,
    ):
        assert (await service.post(ALL, json=MESSAGE)).status_code == 202
        own_redis.kill()
        answer = await service.post(ALL, json=MESSAGE)
        problem = assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert problem["stored"] in {"no", "unknown"}
        assert "127.0.0.1" not in answer.text
        assert_problem(await service.get("/stats"), 503)
        assert_problem(await service.post("/api/v1/users/1/kick"), 503)
        batch = await service.post("/message/push/batch", json={"events": [{"to": "all", **MESSAGE}, 7]})
        assert [each["problem"]["status"] for each in assert_problem(batch, 503)["results"]] == [503, 422]
        ready = await wait_until(lambda: unready(service))
        assert ready["reasons"]
        assert (await service.get("/health")).status_code == 200
        own_redis.start()
        await wait_until(lambda: is_stored(service))
        await client.received(2)


async def unready(service):
    answer = await service.get("/ready")
    return answer.json() if answer.status_code == 503 else None


async def is_stored(service):
    return (await service.post(ALL, json=MESSAGE)).status_code == 202


async def test_a_frozen_redis_is_stored_unknown_and_the_key_makes_it_once(own_redis):
    async with (
        running_gateway(own_redis.url) as gateway,
        calling(gateway.http_url, **bearer()) as service,
    ):
        assert (await service.post(ALL, json=MESSAGE)).status_code == 202
        own_redis.pause()
        try:
            problem = assert_problem(await service.post(ALL, json=MESSAGE), 503)
        finally:
            own_redis.resume()
        assert problem["stored"] == "unknown"
        headers = {"Idempotency-Key": problem["idempotency_key"]}
        again = await service.post(ALL, json=MESSAGE, headers=headers)
        assert again.status_code == 202
        async with Redis.from_url(own_redis.url) as client:
            assert await client.xlen("tg:{events:0}") == 2


async def test_a_redis_that_takes_no_writes_is_503_without_its_words(own_redis):
    async with (
        running_gateway(own_redis.url) as gateway,
        calling(gateway.http_url, **bearer()) as service,
    ):
        assert (await service.post(ALL, json=MESSAGE)).status_code == 202
        with own_redis.client() as admin:
            admin.config_set("maxmemory", 1)
            answer = await service.post(ALL, json=MESSAGE)
            assert assert_problem(answer, 503)["stored"] == "no"
            assert "OOM" not in answer.text
            admin.config_set("maxmemory", 0)
        await wait_until(lambda: is_stored(service))


async def test_what_redis_refuses_for_good_is_503_and_logged(service, redis_url, capfd):
    with redis.Redis.from_url(redis_url) as client:
        client.delete("tg:{events:0}")
        client.set("tg:{events:0}", "not a stream")
        answer = await service.post(ALL, json=MESSAGE)
        client.delete("tg:{events:0}")
    problem = assert_problem(answer, 503)
    assert "WRONGTYPE" not in answer.text
    assert problem["stored"] == "no"
    assert "publish_refused" in "".join(capfd.readouterr())


# The documentation.


async def test_the_openapi_document_is_complete(documented):
    document = (await documented.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert path == "/health" or operation["security"], (method, path)
            body = operation.get("requestBody")
            if body is not None:
                schema = body["content"]["application/json"]["schema"]
                name = next(each["$ref"] for each in schema.get("anyOf", [schema]) if "$ref" in each).split("/")[-1]
                model = document["components"]["schemas"][name]
                assert model["examples"], name
                assert all(field.get("description") for field in model["properties"].values()), name
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_every_example_of_the_openapi_document_is_accepted(documented):
    document = (await documented.get("/openapi.json")).json()
    paths = [path for path in document["paths"] if path.startswith("/message/push/")]
    assert len(paths) == 15
    for path in paths:
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        for example in document["components"]["schemas"][schema["$ref"].split("/")[-1]]["examples"]:
            answer = await documented.post(path, json=example)
            assert answer.status_code == 202, (path, answer.text)
            assert "failed" not in answer.json() or answer.json()["failed"] == 0


async def test_the_documentation_needs_nothing_from_elsewhere(documented):
    documented.headers.pop("Authorization")
    page = await documented.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in ("/docs/page.js", "/docs/page.css"):
        assert f'"{path}"' in page.text
        part = await documented.get(path)
        assert part.status_code == 200
        assert "http://" not in part.text
        assert "https://" not in part.text
    assert "http" not in page.text.replace("HTTP", "")
