"""`/api/v1/receipts`, the statistics in `/stats`, and `/metrics`, over two instances."""

from __future__ import annotations

import pytest

from gateway.settings import load
from publisher import Publisher
from tests.integration.http.conftest import ACME_KEY, API_KEY, API_KEYS, bearer, calling
from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected, settled
from tests.support.gateway import ApiProcess, running_gateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

RECEIPTS = "/api/v1/receipts"
MESSAGE = {"event": "shipped", "data": 7, "receipt": True}


async def complete(service, event_id):
    async def found():
        answer = await service.get(f"{RECEIPTS}/{event_id}")
        return answer.json() if answer.status_code == 200 and answer.json()["complete"] else None

    return await wait_until(found)


async def test_a_push_with_a_receipt_tells_what_became_of_it(gateway, other, service):
    async with connected(gateway, "ann") as ann, connected(other, "ann"):
        body = {"user_ids": ["ann", "nobody"], **MESSAGE}
        event_id = (await service.post("/message/push/users", json=body)).json()["id"]
        receipt = await complete(service, event_id)
        assert receipt["id"] == event_id
        assert receipt["targets"] == {
            "user:ann": {"delivered": 2, "acked": 0, "no_socket": False, "dropped": {}, "expired": 0},
            "user:nobody": {"delivered": 0, "acked": 0, "no_socket": True, "dropped": {}, "expired": 0},
        }
        await ann.send("ack", {"id": event_id})

        async def acked():
            return (await complete(service, event_id))["targets"]["user:ann"]["acked"] == 1

        await wait_until(acked)


async def test_events_of_a_batch_have_receipts_of_their_own(gateway, other, service):
    events = [{"to": "user:ann", **MESSAGE}, {"to": "user:ann", "event": "e", "data": 1}]
    results = (await service.post("/message/push/batch", json={"events": events})).json()["results"]
    assert (await complete(service, results[0]["id"]))["targets"]["user:ann"]["no_socket"] is True
    assert_problem(await service.get(f"{RECEIPTS}/{results[1]['id']}"), 404)


async def test_a_receipt_is_its_tenants_own(gateway, other, service, tide):
    mine = await tide.publish("e", 1, to="user:ann", receipt=True)
    await complete(service, mine)
    async with calling(gateway.http_url, **{"X-API-Key": ACME_KEY}) as acme:
        assert_problem(await acme.get(f"{RECEIPTS}/{mine}"), 404)
        theirs = (await acme.post("/message/push/user", json={"user_id": "ann", **MESSAGE})).json()["id"]
        await complete(acme, theirs)
    assert_problem(await service.get(f"{RECEIPTS}/{theirs}"), 404)


@pytest.mark.parametrize("event_id", ["7", "1-0.0.abc", "1-0.9.abc", "1-0.0.abc,1-0.0.abc", "%00", "*", "1-0.0.a%2Fb"])
async def test_what_is_not_known_is_404(service, event_id):
    assert_problem(await service.get(f"{RECEIPTS}/{event_id}"), 404)


async def test_a_receipt_needs_a_credential(anybody, gateway):
    assert_problem(await anybody.get(f"{RECEIPTS}/1-0.0.abc"), 401)
    async with calling(gateway.http_url, **bearer(scope="")) as nobody:
        assert_problem(await nobody.get(f"{RECEIPTS}/1-0.0.abc"), 403)


@pytest.mark.parametrize(
    "body",
    [
        {"user_ids": ["1"], "event": "e", "data": 1, "receipt": "yes"},
        {"user_ids": ["1"], "event": "e", "data": 1, "receipt": 1},
        {"user_ids": [str(n) for n in range(1_001)], "event": "e", "data": 1, "receipt": True},
        {"user_ids": [str(n) for n in range(10_001)], "event": "e", "data": 1, "receipt": True},
    ],
)
async def test_a_receipt_that_cannot_be_kept_is_422(service, body):
    assert_problem(await service.post("/message/push/users", json=body), 422)


async def test_with_redis_gone_a_receipt_is_503():
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            calling(gateway.http_url, **bearer()) as service,
        ):
            server.kill()
            answer = await service.get(f"{RECEIPTS}/1-0.0.abc")
            assert_problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1


# Statistics


async def test_statistics_are_those_of_this_instance_and_of_the_cluster(redis_url):
    async with (
        running_gateway(redis_url, log__retention_s=12) as one,  # whose lease is then renewed every three seconds
        running_gateway(redis_url, log__retention_s=12) as two,
        calling(one.http_url, **bearer()) as service,
        Publisher(redis_url) as tide,
        connected(one, "ann") as ann,
        connected(two, "bob") as bob,
    ):
        pushed = (await service.post("/message/push/all", json=MESSAGE)).json()["id"]
        await tide.publish("late", 1, to="all", expires_in=0.000_1)
        await ann.received(1)
        await bob.received(1)
        await settled(tide, ann, bob)  # both instances have dropped what was late, before either says anything
        await bob.send("ack", {"id": pushed})
        mine = (await service.get("/stats")).json()["instance"]["statistics"]
        assert mine["by_event"]["shipped"] == {"accepted": 1, "delivered": 1, "dropped": 0, "acked": 0}
        assert mine["by_event"]["late"] == {"accepted": 0, "delivered": 0, "dropped": 1, "acked": 0}
        assert (mine["accepted"], mine["acked"], mine["dropped"]) == (1, 0, {"expired": 1})
        assert mine["delivered"] == sum(counts["delivered"] for counts in mine["by_event"].values())

        async def everybodys():
            total = (await service.get("/stats")).json()["cluster"]["statistics"]
            return total if total["acked"] else None

        total = await wait_until(everybodys)
        assert total["by_event"]["shipped"] == {"accepted": 1, "delivered": 2, "dropped": 0, "acked": 1}
        assert (total["accepted"], total["acked"], total["dropped"]) == (1, 1, {"expired": 2})


# Metrics


async def test_metrics_need_a_credential_unless_they_are_open(gateway, anybody, service, redis_url):
    assert_problem(await anybody.get("/metrics"), 401)
    async with calling(gateway.http_url, **bearer(scope="")) as nobody:
        assert_problem(await nobody.get("/metrics"), 403)
    async with calling(gateway.http_url, Authorization=f"Bearer {API_KEY}") as prometheus:
        answer = await prometheus.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert f'tidegate_build_info{{instance="{gateway.instance_id}",version=' in answer.text
    async with (
        running_gateway(redis_url, http__metrics="open") as wide,
        calling(wide.http_url) as anybody,
    ):
        assert (await anybody.get("/metrics")).status_code == 200
        assert_problem(await anybody.get("/stats"), 401)


async def test_metrics_that_are_off_are_nowhere(redis_url):
    async with (
        running_gateway(redis_url, http__metrics="off", http__api_keys=API_KEYS) as gateway,
        calling(gateway.http_url) as anybody,
        calling(gateway.http_url, **bearer()) as service,
    ):
        assert_problem(await anybody.get("/metrics"), 401)
        assert_problem(await service.get("/metrics"), 404)


def test_off_may_be_written_as_yaml_has_it():
    settings = load(http={"metrics": False}, auth={"secret": "x" * 32})
    assert settings.http.metrics == "off"
    assert load(mode="dev").http.metrics == "open"
    assert load(mode="dev", http={"metrics": "credential"}).http.metrics == "credential"


async def test_metrics_say_what_has_happened(gateway, service, tide):
    async with connected(gateway, "ann") as ann:
        await tide.publish('odd "name"', 1, to="user:ann")
        await settled(tide, ann)
        await ann.send("nonsense")
        await wait_until(lambda: gateway.application.parts.consumers[0].health.lag == 0)  # as of its last look
        text = (await service.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['tidegate_connections{state="active"}'] == "1.0"
    assert lines["tidegate_deliveries_total"] == "2.0"
    assert lines['tidegate_deliveries_by_event_total{event="odd \\"name\\""}'] == "1.0"
    assert lines['tidegate_commands_total{type="error"}'] == "1.0"
    assert lines["tidegate_redis_up"] == "1.0"
    assert lines['tidegate_consumer_lag_entries{partition="0"}'] == "0.0"
    assert float(lines["tidegate_log_oldest_age_seconds"]) < 600


async def test_metrics_say_that_redis_is_gone():
    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            calling(gateway.http_url, **bearer()) as service,
        ):
            server.kill()

            async def down():
                return "tidegate_redis_up 0.0" in (await service.get("/metrics")).text

            await wait_until(down)


async def test_an_api_on_its_own_has_metrics_statistics_and_receipts(redis_url, gateway, other):
    async with ApiProcess(redis_url) as api, calling(api.http_url, **bearer()) as service:
        event_id = (await service.post("/message/push/user", json={"user_id": "ann", **MESSAGE})).json()["id"]
        assert (await complete(service, event_id))["targets"]["user:ann"]["no_socket"] is True
        text = (await service.get("/metrics")).text
        assert "tidegate_publishes_total 1.0" in text
        assert "tidegate_connections{" not in text
        stats = (await service.get("/stats")).json()
        assert stats["instance"]["statistics"]["by_event"]["shipped"]["accepted"] == 1
        assert stats["cluster"]["statistics"]["accepted"] == 1
