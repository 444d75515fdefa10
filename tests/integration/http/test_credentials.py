"""Who gets in: tokens, API keys, and nobody else."""

from __future__ import annotations

import time

import pytest

from tests.integration.http.conftest import ACME_KEY, API_KEY, bearer, calling
from tests.support.clients import connected, settled
from tests.support.gateway import make_token, running_gateway
from tests.support.waiting import wait_until

MESSAGE = {"event": "e", "data": 1}
ALL = "/message/push/all"


def assert_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "detail"} <= problem.keys()
    assert problem["status"] == status
    return problem


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": API_KEY},
        {"Authorization": f"Bearer {API_KEY}"},
        {"Authorization": f"bearer {API_KEY}"},
        bearer(),
        bearer(scope="read push"),
    ],
)
async def test_a_credential_lets_in(anybody, headers):
    assert (await anybody.post(ALL, json=MESSAGE, headers=headers)).status_code == 202


async def test_an_api_key_reaches_its_tenant(gateway, anybody, tide):
    async with connected(gateway, "1", claims={"tenant": "acme"}) as theirs, connected(gateway, "1") as ours:
        await anybody.post(ALL, json=MESSAGE, headers={"X-API-Key": ACME_KEY})
        await settled(tide, theirs, tenant="acme")
        await settled(tide, ours)
        assert (theirs.events, ours.events) == ([("e", 1)], [])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, None),
        ({"Authorization": "Basic c3ZjOnB3"}, None),
        ({"Authorization": "Bearer"}, None),
        ({"X-API-Key": ""}, "unknown_key"),
        ({"X-API-Key": API_KEY[:-1]}, "unknown_key"),
        ({"X-API-Key": "x" * 10_000}, "unknown_key"),
        ({"Authorization": "Bearer tg_unknown"}, "unknown_key"),
        ({"Authorization": "Bearer a.b.c"}, "malformed"),
        (bearer(secret="another-secret-of-over-thirty-two-bytes"), "bad_signature"),
        (bearer(exp=time.time() - 1), "expired"),
        (bearer(exp=None), "no_expiry"),
        (bearer(exp=time.time() + 10**7), "lifetime_too_long"),
        (bearer(aud="somebody-else"), "wrong_audience"),
        ({**bearer(), "X-API-Key": API_KEY}, None),
    ],
)
async def test_without_a_good_credential_nothing_answers(anybody, headers, reason):
    for path in (ALL, "/stats", "/ready", "/nowhere", "/api/v1/users/1/kick"):
        problem = assert_problem(await anybody.post(path, headers=headers, json=MESSAGE), 401)
        assert problem.get("reason") == reason


async def test_a_401_challenges(anybody):
    assert (await anybody.post(ALL)).headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scope", [None, "", "pushed", "PUSH", "read"])
@pytest.mark.parametrize("path", [ALL, "/message/push/batch", "/api/v1/users/1/kick", "/api/v1/tokens/x/revoke"])
async def test_a_token_without_the_scope_may_not(anybody, path, scope):
    body = {**MESSAGE, "events": [{"to": "all", **MESSAGE}]}
    answer = await anybody.post(path, json=body, headers=bearer(scope=scope))
    assert_problem(answer, 403)
    assert 'scope="push"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/stats", "/ready"])
async def test_operation_needs_the_scope_too(anybody, path):
    assert_problem(await anybody.get(path, headers=bearer(scope="read")), 403)


async def test_a_revoked_token_is_refused(gateway, anybody, tide):
    headers = bearer(jti="svc-1")
    assert (await anybody.post(ALL, json=MESSAGE, headers=headers)).status_code == 202
    await tide.revoke(jti="svc-1")
    await wait_until(lambda: len(gateway.services.revocations))
    assert assert_problem(await anybody.post(ALL, json=MESSAGE, headers=headers), 401)["reason"] == "revoked"


async def test_health_answers_anybody(anybody):
    answer = await anybody.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_documentation_is_off_in_production(redis_url):
    async with running_gateway(redis_url) as gateway, calling(gateway.http_url) as anybody:
        for path in ("/docs", "/openapi.json", "/docs/page.js"):
            assert_problem(await anybody.get(path), 401)
            assert_problem(await anybody.get(path, headers=bearer()), 404)


async def test_a_caller_who_asks_too_often_waits_and_others_do_not(redis_url):
    settings = {"http__requests_per_s": 0.01, "http__requests_burst": 2}
    async with running_gateway(redis_url, **settings) as gateway, calling(gateway.http_url) as anybody:
        statuses = [(await anybody.post(ALL, json=MESSAGE, headers=bearer())).status_code for _ in range(3)]
        assert statuses == [202, 202, 429]
        answer = await anybody.post(ALL, json=MESSAGE, headers=bearer())
        assert_problem(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 100
        assert (await anybody.post(ALL, json=MESSAGE, headers=bearer(sub="another"))).status_code == 202


async def test_nothing_of_a_credential_is_logged(gateway, anybody, capfd):
    token = make_token("svc", scope="push")
    await anybody.post(ALL, json=MESSAGE, headers={"Authorization": f"Bearer {token}"})
    await anybody.post(f"{ALL}?token={token}", json=MESSAGE, headers={"X-API-Key": API_KEY + "x"})
    logged = "".join(capfd.readouterr())
    assert "http_request" in logged
    assert token not in logged
    assert API_KEY not in logged
