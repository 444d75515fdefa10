"""fastapi_orders.py and flask_support.py: served as a shell would, and asked over HTTP."""

from __future__ import annotations

import asyncio
import contextlib

import httpx

from publisher import Publisher
from tests.docs.examples.conftest import started
from tests.support.clients import connected, settled
from tests.support.redis_server import RedisServer, free_port

SERVERS = {
    "fastapi_orders": ("uvicorn", "fastapi_orders:app", "--port"),
    "flask_support": ("flask", "--app", "flask_support", "run", "--port"),
}


@contextlib.asynccontextmanager
async def served(name, environ):
    """Serve an example; yield a client of it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        started(*SERVERS[name], port, environ=environ) as process,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        await process.shows("unning on http", err=True)
        http.process = process
        yield http


async def test_a_shipment_reaches_the_customer_and_the_warehouse_once(gateway, environ, redis_url):
    shipment = {"customer": "ada", "parcels": 2}
    async with (
        served("fastapi_orders", environ) as http,
        connected(gateway, "ada") as ada,
        connected(gateway, "bob", claims={"groups": ["warehouse"]}) as bob,
        connected(gateway, "eve") as eve,
        Publisher(redis_url) as tide,
    ):
        first, again = [await http.post("/orders/7/shipment", json=shipment) for _ in range(2)]
        assert first.status_code == again.status_code == 200
        await settled(tide, ada, bob, eve)
        assert first.json() == again.json() == {"event_id": ada.pushes[0].id}
        assert ada.events == bob.events == [("order.shipped", {"order": 7, "parcels": 2})]
        assert eve.events == []


async def test_a_hundred_shipments_at_once_all_arrive(gateway, environ):
    async with served("fastapi_orders", environ) as http, connected(gateway, "ada") as ada:
        orders = [http.post(f"/orders/{order}/shipment", json={"customer": "ada"}) for order in range(100)]
        assert {answer.status_code for answer in await asyncio.gather(*orders)} == {200}
        assert {frame.data["order"] for frame in await ada.received(100)} == set(range(100))


async def test_a_page_connects_with_the_token_that_the_service_signs(gateway, environ):
    async with served("fastapi_orders", environ) as http:
        token = (await http.get("/realtime-token", headers={"X-User": "ada"})).json()["token"]
        async with connected(gateway, token=token) as ada:
            assert ada.welcome["user_id"] == "ada"


async def test_a_wrong_customer_is_the_callers_fault(environ):
    async with served("fastapi_orders", environ) as http:
        for customer in ("", "x" * 257, None, 7):
            answer = await http.post("/orders/7/shipment", json={"customer": customer})
            assert answer.status_code == 422


async def test_without_redis_a_shipment_is_to_be_tried_again_and_then_works(environ):
    with RedisServer() as server:
        async with served("fastapi_orders", {**environ, "TIDEGATE_REDIS_URL": server.url}) as http:
            server.kill()
            answer = await http.post("/orders/7/shipment", json={"customer": "ada"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            server.start()
            answer = await http.post("/orders/7/shipment", json={"customer": "ada"})
            assert answer.status_code == 200


async def test_a_reply_reaches_those_who_look_at_the_ticket_but_its_author(gateway, environ, redis_url):
    reply = {"author": "ada", "text": "Have you tried it again?"}
    claims = {"groups": ["ticket-7"]}
    async with (
        served("flask_support", environ) as http,
        connected(gateway, "ada", claims=claims) as ada,
        connected(gateway, "bob", claims=claims) as bob,
        Publisher(redis_url) as tide,
    ):
        key = {"Idempotency-Key": "a reply"}
        answers = [await http.post("/tickets/7/replies", json=reply, headers=key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        await settled(tide, ada, bob)
        assert ada.events == []
        assert bob.events == [("ticket.reply", {"ticket": 7, **reply})]


async def test_threads_of_the_support_desk_share_its_publisher(gateway, environ):
    async with (
        served("flask_support", environ) as http,
        connected(gateway, "bob", claims={"groups": ["ticket-7"]}) as bob,
    ):
        replies = [http.post("/tickets/7/replies", json={"author": "ada", "text": str(n)}) for n in range(50)]
        assert {answer.status_code for answer in await asyncio.gather(*replies)} == {201}
        assert {frame.data["text"] for frame in await bob.received(50)} == {str(n) for n in range(50)}


async def test_a_ticket_that_is_closed_shows_on_the_dashboard(gateway, environ):
    claims = {"groups": ["ticket-7"], "topics": ["desk"]}
    async with served("flask_support", environ) as http, connected(gateway, "bob", claims=claims) as bob:
        assert (await http.post("/tickets/7/close")).status_code == 204
        await bob.received(2)
        assert bob.events == [("ticket.closed", {"ticket": 7}), ("desk.changed", {"closed": 7})]


async def test_without_redis_a_reply_is_to_be_tried_again(environ):
    with RedisServer() as server:
        async with served("flask_support", {**environ, "TIDEGATE_REDIS_URL": server.url}) as http:
            server.kill()
            answer = await http.post("/tickets/7/replies", json={"author": "ada", "text": "?"})
            assert answer.status_code == 503
            server.start()
            answer = await http.post("/tickets/7/replies", json={"author": "ada", "text": "?"})
            assert answer.status_code == 201
