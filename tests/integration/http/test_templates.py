"""Message templates: in the settings, over HTTP, and from publishers that fetch them from Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from gateway.errors import ConfigError
from gateway.settings import load
from publisher import Publisher, PublishError, PublishIncomplete, PublishUnavailable
from publisher.sync import Publisher as BlockingPublisher
from tests.integration.http.conftest import bearer, calling
from tests.support.clients import Client, connected, settled
from tests.support.gateway import ApiProcess, RunningGateway, running_gateway
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
TEMPLATES = {
    "order_shipped": {"event": "order.shipped", "data": {"order": "{{ order.id }}", "n": 1}},
    "greeting": {"title": "Hello {{ name }}", "content": "{{ text | default('…') }}"},
}
PARAMS = {"order": {"id": 7}}
SHIPPED = ("order.shipped", {"order": "7", "n": 1})


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[RunningGateway]:
    """A gateway with templates."""
    async with running_gateway(redis_url, templates=TEMPLATES) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway) -> AsyncIterator[Client]:
    """Somebody who receives."""
    async with connected(gateway, "42") as connection:
        yield connection


# HTTP


async def test_a_template_stands_in_for_event_and_data(
    service: httpx.AsyncClient, client: Client, tide: Publisher
) -> None:
    body = {"user_id": "42", "template": "order_shipped", "params": PARAMS}
    answer = await service.post("/message/push/user", json=body)
    assert answer.status_code == 202
    await settled(tide, client)
    assert client.events == [SHIPPED]
    assert client.pushes[0].id == answer.json()["id"]


async def test_the_body_names_the_event_where_the_template_does_not(
    service: httpx.AsyncClient, client: Client, tide: Publisher
) -> None:
    named = {"template": "greeting", "params": {"name": "Ada"}, "event": "greeting"}
    assert (await service.post("/message/push/all", json=named)).status_code == 202
    other = {"template": "order_shipped", "params": PARAMS, "event": "other"}
    assert (await service.post("/message/push/all", json=other)).status_code == 202
    await settled(tide, client)
    assert client.events == [("greeting", {"title": "Hello Ada", "content": "…"}), ("other", SHIPPED[1])]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"template": "order_shipped"}, "template 'order_shipped', data.order: 'order' is undefined"),
        ({"template": "order_shipped", "params": {"order": {}}}, "'dict object' has no attribute 'id'"),
        ({"template": "nobody"}, "there is no template 'nobody'"),
        ({"template": "greeting", "params": {"name": 1}}, "template 'greeting' has no event: name one"),
        ({"template": "order_shipped", "params": PARAMS, "data": 1}, "data: leave it out: the template has it"),
        ({"template": "order_shipped", "params": [1]}, "params: "),
        ({"template": "order_shipped", "params": {"order": {"id": "x" * 70_000}}}, "over the limit of 65536"),
        ({"template": 7, "params": PARAMS}, "template: "),
        ({"template": None}, "event: Field required"),
        ({"event": "e"}, "data: Field required"),
        ({"data": None}, "event: Field required"),
    ],
)
async def test_what_cannot_be_rendered_is_a_422_before_anything_is_sent(
    service: httpx.AsyncClient, redis_url: str, body: dict[str, Any], problem: str
) -> None:
    answer = await service.post("/message/push/all", json=body)
    assert (answer.status_code, problem in answer.json()["detail"]) == (422, True), answer.text
    with redis.Redis.from_url(redis_url) as log:
        assert log.xlen("tg:{events:0}") == 0


async def test_null_is_data(service: httpx.AsyncClient, client: Client, tide: Publisher) -> None:
    assert (await service.post("/message/push/all", json={"event": "e", "data": None})).status_code == 202
    await settled(tide, client)
    assert client.events == [("e", None)]


async def test_each_event_of_a_batch_may_have_one(service: httpx.AsyncClient, client: Client, tide: Publisher) -> None:
    events = [
        {"to": "user:42", "template": "order_shipped", "params": PARAMS},
        {"to": "user:42", "template": "order_shipped"},
        {"to": "user:42", "event": "e", "data": 1},
    ]
    answer = (await service.post("/message/push/batch", json={"events": events})).json()
    assert (answer["stored"], answer["failed"]) == (2, 1)
    assert "'order' is undefined" in answer["results"][1]["problem"]["detail"]
    await settled(tide, client)
    assert client.events == [SHIPPED, ("e", 1)]


async def test_an_api_alone_has_them_as_well(redis_url: str, gateway: RunningGateway, client: Client) -> None:
    async with ApiProcess(redis_url, templates=TEMPLATES) as api, calling(api.http_url, **bearer()) as service:
        body = {"template": "order_shipped", "params": PARAMS}
        assert (await service.post("/message/push/all", json=body)).status_code == 202
    await client.next("order.shipped")


# Publishers


async def test_a_publisher_fetches_and_renders(
    gateway: RunningGateway, client: Client, tide: Publisher, redis_url: str
) -> None:
    await tide.publish(template="order_shipped", params=PARAMS, to="user:42")
    await tide.publish("other", template="order_shipped", params=PARAMS, to="user:42", priority="low")
    await tide.publish_many(
        [
            {"template": "order_shipped", "params": PARAMS, "to": "user:42"},
            {"event": "plain", "data": 1, "to": "user:42"},
        ]
    )
    await asyncio.to_thread(_publish_blocking, redis_url)
    await settled(tide, client)
    names = [name for name, _ in client.events]
    assert names == ["order.shipped", "other", "order.shipped", "plain", "order.shipped", "order.shipped"]
    assert {str(data) for name, data in client.events if name != "plain"} == {str(SHIPPED[1])}
    assert await tide.render("greeting", {"name": "Ada"}) == {"title": "Hello Ada", "content": "…"}


def _publish_blocking(redis_url: str) -> None:
    with BlockingPublisher(redis_url) as tide:
        tide.publish(template="order_shipped", params=PARAMS, to="user:42")
        tide.publish_many([{"template": "order_shipped", "params": PARAMS, "to": "user:42"}])
        assert tide.render("greeting", {"name": "Ada"})["title"] == "Hello Ada"


async def test_what_cannot_be_rendered_is_an_error_before_anything_is_sent(
    gateway: RunningGateway, tide: Publisher, redis_url: str
) -> None:
    good = {"event": "e", "data": 1, "to": "all"}
    with pytest.raises(PublishError, match="'order' is undefined"):
        await tide.publish(template="order_shipped", to="all")
    with pytest.raises(PublishError, match="there is no template 'nobody'"):
        await tide.publish(template="nobody", to="all")
    with pytest.raises(PublishError, match="data or a template"):
        await tide.publish("e", 1, template="order_shipped", params=PARAMS, to="all")
    with pytest.raises(PublishError, match="or name a template"):
        await tide.publish("e", to="all")
    with pytest.raises(PublishError, match="'order' is undefined") as refused:
        await tide.publish_many([good, {"template": "order_shipped", "to": "all"}])
    assert not isinstance(refused.value, PublishIncomplete)
    with redis.Redis.from_url(redis_url) as log:
        assert log.xlen("tg:{events:0}") == 0


async def test_without_a_gateway_there_are_no_templates(redis_url: str, tide: Publisher) -> None:
    with pytest.raises(PublishError, match="there is no template"):
        await tide.publish(template="order_shipped", params=PARAMS, to="all")


async def test_with_redis_down_they_are_unavailable() -> None:
    url = "redis://127.0.0.1:1"  # where nobody listens, and nobody will
    async with Publisher(url, timeout_s=1) as tide:
        with pytest.raises(PublishUnavailable, match="the templates cannot be fetched"):
            await tide.publish(template="order_shipped", params=PARAMS, to="all")
    with BlockingPublisher(url, timeout_s=1) as blocking, pytest.raises(PublishUnavailable):
        blocking.publish(template="order_shipped", params=PARAMS, to="all")


async def test_without_jinja_the_error_says_what_to_install(gateway: RunningGateway, redis_url: str) -> None:
    code = f"""
import sys
sys.modules["jinja2"] = None
from publisher import PublishError
from publisher.sync import Publisher
try:
    Publisher({redis_url!r}).publish(template="order_shipped", params={PARAMS!r}, to="all")
except PublishError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout == "template 'order_shipped' needs Jinja2: pip install 'tidegate[templates]'\n"


# What is kept in Redis


async def test_the_instance_that_started_last_decides(redis_url: str, gateway: RunningGateway, tide: Publisher) -> None:
    new = {"order_shipped": {"event": "new", "data": "{{ order.id }}"}}
    async with running_gateway(redis_url, templates=new):
        assert await tide.render("order_shipped", PARAMS) == {"event": "new", "data": "7"}
        async with Publisher(redis_url) as another, running_gateway(redis_url, templates=new):
            assert (await another.render("order_shipped", PARAMS))["event"] == "new"
    with redis.Redis.from_url(redis_url) as server:
        assert 0 < server.ttl("tg:templates") <= 24 * 3600


async def test_they_are_renewed_and_come_back_after_a_loss(redis_url: str) -> None:
    from gateway.store.connection import connect
    from gateway.template_keeper import TemplateKeeper

    client = connect(redis_url, 5)
    try:
        old, new = TemplateKeeper(client, {"t": {"data": 1}}), TemplateKeeper(client, {"t": {"data": 2}})
        none = TemplateKeeper(client, {})
        assert await none.keep()
        assert not await client.exists("tg:templates")
        assert await old.keep()
        assert await new.keep()
        await client.expire("tg:templates", 10)
        assert await old.keep()
        assert await client.hget("tg:templates", "json") == b'{"t":{"data":2}}'
        assert await client.ttl("tg:templates") > 1_000
        await client.flushall()
        assert await old.keep()
        assert await client.hget("tg:templates", "json") == b'{"t":{"data":1}}'
    finally:
        await client.aclose()


async def test_a_gateway_puts_them_back(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.template_keeper._RENEW_S", 0.05)
    with redis.Redis.from_url(redis_url) as server:
        async with running_gateway(redis_url, templates=TEMPLATES):
            server.delete("tg:templates")
            await wait_until(lambda: server.exists("tg:templates"))


# Settings


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ({"title": "{{ x"}, "templates.t: title: "),
        ({"data": {"a": ["{% if %}"]}}, "templates.t: data.a[0]: "),
        ({"titel": "x"}, "templates.t.titel: is not a setting; there are: event, type, title"),
        ({"event": "a\nb"}, "templates.t: event: "),
        ({"title": 7}, "templates.t.title: "),
    ],
)
def test_a_template_that_is_wrong_refuses_to_start(template: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(templates={"t": template})
    assert str(refused.value).startswith(problem)


def test_they_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEMPLATES", '{"t": {"event": "e", "data": null}}')
    assert load().templates["t"].plain() == {"event": "e", "data": None}
    monkeypatch.setenv("GATEWAY_TEMPLATES", "nonsense")
    with pytest.raises(ConfigError, match="GATEWAY_TEMPLATES is not JSON"):
        load()


async def test_a_notification_says_what_its_template_says_and_what_is_given(
    gateway: RunningGateway, service: httpx.AsyncClient
) -> None:
    body = {"user_id": "42", "template": "order_shipped", "params": PARAMS, "title": "Off it went"}
    async with connected(gateway, "42") as client:
        assert (await service.post("/api/v1/notifications", json=body)).status_code == 202
        await client.until(lambda: client.of_type("notification"))
        (pushed,) = client.of_type("notification")
    assert pushed.data["title"] == "Off it went"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"template": "nobody"}, "there is no template 'nobody'"),
        ({"template": "order_shipped", "params": PARAMS}, "title"),
        ({}, "name a title, or a template that has it"),
    ],
)
async def test_a_notification_without_a_title_is_refused(
    service: httpx.AsyncClient, body: dict[str, Any], problem: str
) -> None:
    answer = await service.post("/api/v1/notifications", json={"user_id": "42", **body})
    assert answer.status_code == 422
    assert problem in answer.text
