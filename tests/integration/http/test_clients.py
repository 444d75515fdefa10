"""`/message/clients` and its statistics: everybody's connections, on whichever instance, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import orjson
import pytest
import redis
from redis.asyncio import Redis

from gateway import questions
from gateway.joining import join
from gateway.store.answers import answers_from, give_answer
from publisher import Publisher, make_event
from publisher.event import CLIENTS, KIND_CONTROL
from tests.integration.http.conftest import ACME_KEY, bearer, calling
from tests.support.clients import Client, connected, settled
from tests.support.gateway import ApiProcess, GatewayProcess, RunningGateway
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

CLIENTS_PATH = "/message/clients"
STATS_PATH = "/message/clients/stats"
VIP = {"tags": ["vip"], "groups": ["ops", "chat"], "topics": ["prices"], "name": "Ada"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instances have time to answer, however busy the machine is: who is silent then is so for good."""
    wait_for_answers(monkeypatch, 15.0)


def wait_for_answers(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    for place in ("gateway.http.context", "gateway.http_wiring"):
        monkeypatch.setattr(f"{place}.ANSWER_WITHIN_S", seconds)


@pytest.fixture
async def crowd(gateway: RunningGateway, other: RunningGateway) -> AsyncIterator[list[Client]]:
    """User 1 on both instances, 2 on the first, 3 on the other, in this order; and somebody of another tenant."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for to, user, claims in (
            (gateway, "1", VIP),
            (other, "1", {"tags": ["vip"], "groups": ["ops"]}),
            (gateway, "2", {}),
            (other, "3", {"tags": ["beta"]}),
        ):
            before = clients[-1] if clients else None
            client = await stack.enter_async_context(connected(to, user, claims=claims))
            assert before is None or before.client_id != client.client_id
            clients.append(client)
            await wait_until(_next_millisecond())  # so that the order is that of connecting
        await stack.enter_async_context(connected(other, "1", claims={"tenant": "acme", **VIP}))
        yield clients


def _next_millisecond() -> Any:
    import time

    now = int(time.time() * 1000)
    return lambda: int(time.time() * 1000) > now


async def listed(service: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await service.get(CLIENTS_PATH, params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def ids(page: dict[str, Any]) -> list[str]:
    return [client["client_id"] for client in page["clients"]]


async def test_all_connections_of_all_instances_are_listed_in_order(
    service: httpx.AsyncClient, crowd: list[Client], gateway: RunningGateway, other: RunningGateway
) -> None:
    page = await listed(service)
    assert ids(page) == [client.client_id for client in crowd]
    assert (page["total"], page["page"], page["page_size"], page["silent"]) == (4, 1, 50, [])
    first = page["clients"][0]
    assert first == {
        "client_id": crowd[0].client_id,
        "user_id": "1",
        "name": "Ada",
        "instance": gateway.instance_id,
        "remote": "127.0.0.1",
        "connected_at": first["connected_at"],
        "groups": ["chat", "ops"],
        "tags": ["vip"],
        "topics": ["prices"],
        "lagging": False,
    }
    assert [client["instance"] for client in page["clients"][1::2]] == [other.instance_id] * 2


async def test_pages_are_cut_across_instances(service: httpx.AsyncClient, crowd: list[Client]) -> None:
    pages = [await listed(service, page=number, page_size=1) for number in range(1, 6)]
    assert [ids(page) for page in pages] == [*([client.client_id] for client in crowd), []]
    assert {page["total"] for page in pages} == {4}
    assert ids(await listed(service, page=2, page_size=3)) == [crowd[3].client_id]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"user_id": "1"}, [0, 1]),
        ({"tag": "vip"}, [0, 1]),
        ({"tag": "beta"}, [3]),
        ({"user_id": "2", "tag": "vip"}, []),
        ({"user_id": "1", "tag": "vip"}, [0, 1]),
        ({"user_id": "nobody"}, []),
    ],
)
async def test_filters(
    service: httpx.AsyncClient, crowd: list[Client], query: dict[str, Any], found: list[int]
) -> None:
    page = await listed(service, **query)
    assert (ids(page), page["total"]) == ([crowd[number].client_id for number in found], len(found))


async def test_a_tenant_sees_its_own(gateway: RunningGateway, crowd: list[Client]) -> None:
    async with calling(gateway.http_url, **{"X-API-Key": ACME_KEY}) as acme:
        page = await listed(acme)
        stats = (await acme.get(STATS_PATH)).json()
    assert [client["user_id"] for client in page["clients"]] == ["1"]
    assert page["clients"][0]["client_id"] not in [client.client_id for client in crowd]
    assert (stats["active"], stats["total"], stats["users"]) == (1, 1, {"1": 1})


async def test_statistics_add_up(
    service: httpx.AsyncClient, crowd: list[Client], gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "4") as leaving:
        await leaving.send("echo", 1)
    await wait_until(lambda: len(gateway.services.connections) == 2)
    await crowd[1].send("ping")
    await tide.publish("e", 1, to="user:1")
    await settled(tide, *crowd)
    stats = (await service.get(STATS_PATH)).json()
    assert (stats["active"], stats["total"], stats["silent"]) == (4, 5, [])
    assert stats["instances"] == sorted([gateway.instance_id, other.instance_id])
    assert stats["groups"] == {"ops": 2, "chat": 1}
    assert list(stats["groups"]) == ["ops", "chat"]
    assert stats["users"] == {"1": 2, "2": 1, "3": 1}
    assert stats["messages"]["received"] == 2
    assert stats["messages"]["delivered"] == 2 + len(crowd)


async def test_statistics_name_the_largest(service: httpx.AsyncClient, gateway: RunningGateway) -> None:
    names = [f"g{number}" for number in range(1_500)]
    async with connected(gateway, "1"), connected(gateway, "1"):
        for connection, part in zip(gateway.services.connections, (names[:800], names[700:]), strict=True):
            for name in part:
                join(gateway.services, connection, f"group:{name}")
        stats = (await service.get(STATS_PATH)).json()
    assert len(stats["groups"]) == 1_000
    assert [name for name, count in stats["groups"].items() if count == 2] == sorted(names[700:800])


async def test_an_api_alone_asks_the_instances(redis_url: str, crowd: list[Client]) -> None:
    async with ApiProcess(redis_url) as api, calling(api.http_url, **bearer()) as service:
        page = await answered_by_all(service, CLIENTS_PATH)
        assert ids(page) == [client.client_id for client in crowd]
        assert (await answered_by_all(service, STATS_PATH))["active"] == 4


async def test_an_api_without_instances_finds_nobody(redis_url: str) -> None:
    async with ApiProcess(redis_url) as api, calling(api.http_url, **bearer()) as service:
        page = await listed(service)
    assert (page["total"], page["clients"], page["silent"]) == (0, [], [])


async def test_an_instance_that_does_not_answer_is_named(
    redis_url: str, service: httpx.AsyncClient, crowd: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with GatewayProcess(redis_url, http__enabled=False) as frozen:
        frozen.pause()
        wait_for_answers(monkeypatch, 1.0)
        page, stats = await asyncio.gather(
            *(answered_by_all(service, path, but=frozen.instance_id) for path in (CLIENTS_PATH, STATS_PATH))
        )
    assert ids(page) == [client.client_id for client in crowd]
    assert page["silent"] == stats["silent"] == [frozen.instance_id]


async def answered_by_all(service: httpx.AsyncClient, path: str, *, but: str = "") -> dict[str, Any]:
    """Ask until no instance was silent but one: another may have stood still for longer than is waited for it."""

    async def answered() -> dict[str, Any] | None:
        found: dict[str, Any] = (await service.get(path)).json()
        return found if set(found["silent"]) <= {but} else None

    found: dict[str, Any] = await wait_until(answered)
    return found


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0},
        {"page": "x"},
        {"page_size": 0},
        {"page_size": 201},
        {"page": 100_000, "page_size": 200},
        {"page": 10**30},
        {"user_id": ""},
        {"tag": "a\nb"},
    ],
)
async def test_what_makes_no_sense_is_a_422(service: httpx.AsyncClient, query: dict[str, Any]) -> None:
    answer = await service.get(CLIENTS_PATH, params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


@pytest.mark.parametrize("path", [CLIENTS_PATH, STATS_PATH])
async def test_the_scope_push_is_needed(gateway: RunningGateway, anybody: httpx.AsyncClient, path: str) -> None:
    assert (await anybody.get(path)).status_code == 401
    async with calling(gateway.http_url, **bearer(scope="read")) as user:
        assert (await user.get(path)).status_code == 403


async def test_who_asks_and_is_late_itself_looks_again(
    redis_url: str, tide: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    looks = [0]

    async def look(store: Redis, request: str, first: int) -> list[dict[str, Any]]:
        found = await answers_from(store, request, first)
        now[0] = 60.0  # we stood still for longer than an answer may take
        looks[0] += 1
        if looks[0] == 5:  # and so did who answers
            await give_answer(store, request, {"instance": "a"})
        return found

    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(questions, "answers_from", look)
    async with Redis.from_url(redis_url) as store:
        answers = await questions.ask(store, tide, CLIENTS, {}, tenant="default", of=["a"], within_s=2.0)
    assert (answers.given, answers.silent) == ({"a": {"instance": "a"}}, ())


async def test_with_redis_down_it_is_a_503() -> None:
    from tests.support.gateway import running_gateway

    with RedisServer() as server:
        async with (
            running_gateway(server.url) as gateway,
            calling(gateway.http_url, **bearer()) as service,
        ):
            server.kill()
            for path in (CLIENTS_PATH, STATS_PATH):
                answer = await service.get(path)
                assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


async def test_a_question_of_a_client_is_an_event_and_no_question(
    gateway: RunningGateway, crowd: list[Client], redis_url: str, tide: Publisher
) -> None:
    """What clients and services publish is never an order, whatever it is called."""
    asked = {"request": "forged", "first": 10}
    await tide.publish(CLIENTS, asked, to="user:2")
    await crowd[2].send("send_message", {"to": "2", "content": asked, "msg_type": CLIENTS})
    await settled(tide, *crowd)
    await tide.submit(make_event(CLIENTS, {**asked, "request": "asked"}, to="topic:x", kind=KIND_CONTROL))
    with redis.Redis.from_url(redis_url) as server:
        await wait_until(lambda: server.llen("tg:answers:asked") == 2)  # after what both would have said before
        assert not server.exists("tg:answers:forged")


async def test_an_answer_is_given_once_asked(gateway: RunningGateway, crowd: list[Client], redis_url: str) -> None:
    order = make_event(CLIENTS, {"request": "r", "first": 1}, to="topic:x", kind=KIND_CONTROL)
    async with Publisher(redis_url) as tide:
        await tide.submit(order)
    with redis.Redis.from_url(redis_url) as server:
        found = await wait_until(lambda: (a := server.lrange("tg:answers:r", 0, -1)) and len(a) == 2 and a)
        assert 0 < server.ttl("tg:answers:r") <= 60
    assert sum(orjson.loads(answer)["total"] for answer in found) == 4
