"""The address rules by HTTP: who may change them, what they do, and that they hold for this port too."""

from __future__ import annotations

import hashlib

import pytest

from tests.integration.http.conftest import API_KEY, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected
from tests.support.gateway import ApiProcess, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ACCESS = "/api/v1/access"
OTHER = "127.0.0.2"
ADMIN = {"sub": "ops", "scope": "admin"}
BLOCK = {"action": "block", "network": "127.0.0.2/31", "lasts_s": 60}


async def test_an_operator_blocks_a_network_on_every_instance(gateway, other, anybody):
    headers = bearer(**ADMIN)
    async with (
        connected(gateway, "1", local_addr=(OTHER, 0)) as one,
        connected(other, "2", local_addr=(OTHER, 0)) as two,
    ):
        answer = await anybody.post(ACCESS, json=BLOCK, headers=headers)
        assert answer.status_code == 202
        assert answer.json()["id"]
        for client in (one, two):
            assert (await client.closed())[0] == 4403
    (rule,) = (await anybody.get(ACCESS, headers=headers)).json()["rules"]
    assert (rule["network"], rule["action"]) == ("127.0.0.2/31", "block")
    assert rule["until"] > 1e12
    await anybody.post(ACCESS, json={"action": "clear", "network": "127.0.0.2/31"}, headers=headers)
    await wait_until(lambda: not len(gateway.application.parts.rules))
    async with connected(gateway, local_addr=(OTHER, 0)):
        pass
    assert (await anybody.get(ACCESS, headers=headers)).json() == {"rules": []}


@pytest.mark.parametrize("scope", ["", "push", "push read", "administrator", "ADMIN"])
async def test_who_may_push_may_not_operate(anybody, scope):
    for answer in (
        await anybody.post(ACCESS, json=BLOCK, headers=bearer(scope=scope)),
        await anybody.get(ACCESS, headers=bearer(scope=scope)),
    ):
        assert_problem(answer, 403)
        assert 'scope="admin"' in answer.headers["www-authenticate"]


async def test_an_operator_may_not_push(anybody):
    assert_problem(
        await anybody.post("/message/push/all", json={"event": "e", "data": 1}, headers=bearer(**ADMIN)), 403
    )


async def test_an_api_key_has_the_scopes_that_the_settings_say(redis_url):
    digest = hashlib.sha256(API_KEY.encode()).hexdigest()
    for scopes, push, access in ((None, 202, 403), (["admin"], 403, 202), (["push", "admin"], 202, 202)):
        key = {"name": "k", "hash": digest, **({"scopes": scopes} if scopes else {})}
        async with running_gateway(redis_url, http__api_keys=[key]) as gateway, calling(gateway.http_url) as client:
            headers = {"X-API-Key": API_KEY}
            body = {"event": "e", "data": 1}
            assert (await client.post("/message/push/all", json=body, headers=headers)).status_code == push
            change = {"action": "block", "network": "203.0.113.0/24"}
            assert (await client.post(ACCESS, json=change, headers=headers)).status_code == access


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"action": "block"},
        {"network": "203.0.113.0/24"},
        {"action": "ban", "network": "203.0.113.0/24"},
        {"action": "block", "network": "203.0.113.7/24"},
        {"action": "block", "network": "example.com"},
        {"action": "block", "network": ["203.0.113.0/24"]},
        {"action": "block", "network": 7},
        {"action": "block", "network": "203.0.113.0/24", "lasts_s": 0},
        {"action": "block", "network": "203.0.113.0/24", "lasts_s": 1e12},
        {"action": "block", "network": "203.0.113.0/24", "lasts_s": "soon"},
        {"action": "block", "network": "x" * 10_000},
    ],
)
async def test_what_is_not_well_formed_is_refused(anybody, change):
    problem = assert_problem(await anybody.post(ACCESS, json=change, headers=bearer(**ADMIN)), 422)
    assert len(problem["detail"]) < 300


async def test_a_blocked_address_is_refused_here_too_and_health_is_not(gateway, anybody, tide):
    async with connected(gateway):
        await tide.access("block", "127.0.0.0/8", lasts_s=60)
        await wait_until(lambda: len(gateway.application.parts.rules))
    assert_problem(await anybody.get("/stats", headers=bearer()), 403)
    assert_problem(await anybody.get("/stats"), 403)  # before who it is
    assert (await anybody.get("/health")).status_code == 200


async def test_who_is_behind_a_trusted_proxy_is_looked_at_and_a_forged_header_is_not(redis_url, tide):
    settings = {"access__block": ["203.0.113.0/24"]}
    forwarded = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", **bearer()}
    async with running_gateway(redis_url, **settings) as gateway, calling(gateway.http_url) as client:
        assert (await client.get("/stats", headers=forwarded)).status_code == 200
    settings["listen__trusted_proxies"] = ["127.0.0.1"]
    async with running_gateway(redis_url, **settings) as gateway, calling(gateway.http_url) as client:
        assert_problem(await client.get("/stats", headers=forwarded), 403)
        allowed = {"X-Forwarded-For": "203.0.113.7, 198.51.100.1", **bearer()}
        assert (await client.get("/stats", headers=allowed)).status_code == 200


async def test_the_caller_s_address_is_logged(redis_url, capfd):
    async with (
        running_gateway(redis_url, listen__trusted_proxies=["127.0.0.1"]) as gateway,
        calling(gateway.http_url) as client,
    ):
        await client.get("/stats", headers={"X-Forwarded-For": "203.0.113.7", **bearer()})
    assert "remote=203.0.113.7" in "".join(capfd.readouterr())


async def test_the_api_alone_learns_of_a_block(redis_url, tide):
    async with ApiProcess(redis_url) as api, calling(api.http_url) as client:
        assert (await client.get("/stats", headers=bearer())).status_code == 200
        await tide.access("block", "127.0.0.1", lasts_s=60)

        async def refused():
            return (await client.get("/stats", headers=bearer())).status_code == 403

        await wait_until(refused)


async def test_without_redis_the_rules_cannot_be_listed_or_changed():
    with RedisServer() as server:
        async with running_gateway(server.url) as gateway, calling(gateway.http_url) as client:
            server.kill()
            assert_problem(await client.get(ACCESS, headers=bearer(**ADMIN)), 503)
            assert_problem(await client.post(ACCESS, json=BLOCK, headers=bearer(**ADMIN)), 503)
