"""deploy/nginx: the site as it is shipped, on a real nginx, before two real gateways."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
import websockets

from gateway.settings import Settings
from publisher import Publisher
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess
from tests.support.nginx import SITE, Nginx, nginx_binary
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(nginx_binary() is None, reason="needs nginx")

SECRET_QUERY = "do-not-write-me-down"


def from_network(number):
    """Return `connected`'s option for a client of a network of its own: `ip_hash` looks at three octets."""
    return {"local_addr": (f"127.0.{number}.1", 0)}


@pytest.fixture(scope="module")
def redis_url():
    """The URL of a server for all tests of this module, as the gateways are."""
    with RedisServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def pair(redis_url):
    settings = {"listen__trusted_proxies": ["127.0.0.1"]}  # and ports that no connection takes while one is restarted
    both = [GatewayProcess(redis_url, listen__port=free_port(), http__port=free_port(), **settings) for _ in range(2)]
    try:
        yield both
    finally:
        asyncio.run(removed(both))


async def started(gateways):
    await asyncio.gather(*(gateway.start() for gateway in gateways))


async def removed(gateways):
    await asyncio.gather(*(gateway.remove() for gateway in gateways))


@pytest.fixture
async def gateways(pair):
    """Two gateways, of which the test may end as many as it likes."""
    await started([gateway for gateway in pair if not gateway.runs])
    return pair


@pytest.fixture
def nginx(gateways, tmp_path):
    """An nginx that has not seen either of them fail yet."""
    http_ports = [gateway.log_events("listening")[-1]["http_port"] for gateway in gateways]
    with Nginx(tmp_path / "nginx", [gateway.port for gateway in gateways], http_ports) as running:
        yield running


@pytest.fixture
async def browser(nginx):
    async with httpx.AsyncClient(verify=nginx.ssl, trust_env=False, base_url=nginx.http_url, timeout=30) as client:
        yield client


async def info(client):
    return (await client.send("get_client_info")).data


async def held_by(gateways, nginx, network):
    """Return the number of the gateway where a client of this network lands."""
    async with connected(nginx, ssl=nginx.ssl, **from_network(network)) as client:
        return await holder(gateways, client)


async def holder(gateways, client):
    instance = (await info(client))["instance"]
    return [gateway.instance_id for gateway in gateways].index(instance)


async def networks_of_both(gateways, nginx):
    """Return a network for each gateway."""
    found = {}
    for network in range(1, 60):
        found.setdefault(await held_by(gateways, nginx, network), network)
        if len(found) == 2:
            return found
    raise AssertionError("60 networks, one gateway")


async def test_an_address_stays_on_a_gateway_and_others_go_to_the_other(gateways, nginx):
    networks = await networks_of_both(gateways, nginx)
    for gateway, network in networks.items():
        assert [await held_by(gateways, nginx, network) for _ in range(4)] == [gateway] * 4


async def test_the_clients_of_a_killed_gateway_resume_on_the_other(gateways, nginx, redis_url):
    networks = await networks_of_both(gateways, nginx)
    async with Publisher(redis_url, timeout_s=60) as tide:
        async with connected(nginx, "42", ssl=nginx.ssl, **from_network(networks[0])) as before:
            await tide.publish("tick", 1, to="user:42")
            await settled(tide, before)
            gateways[0].kill()
            await before.socket.wait_closed()
        await tide.publish("tick", 2, to="user:42")
        options = {"cursor": before.cursor, "ssl": nginx.ssl, **from_network(networks[0])}
        async with connected(nginx, "42", **options) as after:
            await tide.publish("tick", 3, to="user:42")
            await settled(tide, after)
            assert await holder(gateways, after) == 1
            assert after.welcome["resumed"] is True
            assert after.events == [("tick", 2), ("tick", 3)]
        await gateways[0].start()
        await wait_until(lambda: back_home(gateways, nginx, networks[0]), 30)


async def back_home(gateways, nginx, network):
    return await held_by(gateways, nginx, network) == 0


async def test_a_gateway_that_drains_gets_no_new_clients(gateways, nginx):
    networks = await networks_of_both(gateways, nginx)
    async with connected(nginx, ssl=nginx.ssl, **from_network(networks[1])) as client:
        assert await gateways[1].terminate() == 0
        await client.socket.wait_closed()
        assert client.socket.close_code == 1012
    assert await held_by(gateways, nginx, networks[1]) == 0


async def test_the_gateway_sees_the_client_and_not_what_it_says_of_itself(nginx):
    forged = {"X-Forwarded-For": "198.51.100.1", "X-Real-IP": "198.51.100.1", "Forwarded": "for=198.51.100.1"}
    async with connected(nginx, ssl=nginx.ssl, additional_headers=forged, **from_network(9)) as client:
        assert (await info(client))["remote"] == "127.0.9.1"


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "auth"])
async def test_every_way_to_say_who_one_is_gets_through(nginx, way):
    async with connected(nginx, "42", way=way, ssl=nginx.ssl) as client:
        assert client.welcome["user_id"] == "42"
        assert (await client.send("echo", "x" * 40_000)).data == "x" * 40_000


async def test_a_page_of_the_same_host_may_connect_and_another_may_not(nginx):
    async with connected(nginx, ssl=nginx.ssl, origin=f"https://127.0.0.1:{nginx.port}"):
        pass
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connected(nginx, ssl=nginx.ssl, origin="https://evil.example.com"):
            pass
    assert refused.value.response.status_code == 403


async def test_inside_is_not_outside(nginx, browser):
    for path in ("/metrics", "/stats", "/ready", "/docs", "/openapi.json", "/console", "/", "/ws/x"):
        assert (await browser.get(path)).status_code == 404
    assert (await browser.get("/health")).status_code == 200
    assert (await browser.get("/api/v1/notifications")).status_code == 401
    assert (await browser.post("/message/push/all", json={})).status_code == 403  # loopback is none of the networks


async def test_a_user_reads_notifications_through_it(gateways, nginx, browser):
    token = gateways[0].token("42")
    answer = await browser.get("/api/v1/notifications", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_no_log_has_a_token_whatever_goes_wrong(gateways, nginx, browser):
    token = gateways[0].token("42")
    async with connected(nginx, token=token, ssl=nginx.ssl):
        pass
    with pytest.raises(websockets.InvalidStatus):
        async with connected(nginx, token=SECRET_QUERY, ssl=nginx.ssl):
            pass
    query = f"token={SECRET_QUERY}"
    for path in (f"/nothing?{query}", f"/api/v1/notifications?{query}", f"/metrics?{query}", f"/ws/?{query}"):
        await browser.get(path, headers={"Referer": f"https://a.example.com/?{query}"})
    async with httpx.AsyncClient(trust_env=False, timeout=30) as plain:
        moved = await plain.get(f"http://127.0.0.1:{nginx.plain_port}/ws?{query}")
        assert moved.status_code == 308
    for gateway in gateways:
        gateway.kill()
    gone = await browser.get(f"/ws?{query}")
    assert gone.status_code == 502
    await wait_until(lambda: '"status":502' in nginx.access_log)
    assert token not in nginx.all_logs
    assert SECRET_QUERY not in nginx.all_logs


def directive(name, file="locations.conf"):
    """Return the values of a directive."""
    return re.findall(rf"^\s*{name} ([^;]+);", (SITE / file).read_text(), re.MULTILINE)


def test_the_timeouts_leave_the_decision_to_the_heartbeat():
    heartbeat = Settings.model_fields["heartbeat"].default
    socket_timeouts = [directive("proxy_read_timeout")[0], *directive("proxy_send_timeout")]
    assert socket_timeouts == ["75s", "75s"]
    assert 75 > heartbeat.timeout_s > heartbeat.ping_interval_s


def test_no_log_format_has_a_variable_that_holds_the_query():
    (text,) = re.findall(r"^log_format [^;]+;", (SITE / "http.conf").read_text(), re.MULTILINE)
    holds_it = {"request", "request_uri", "args", "query_string", "is_args", "http_referer", "http_cookie", "arg_token"}
    used = set(re.findall(r"\$(\w+)", text))
    assert {"uri", "status"} <= used
    assert used & holds_it == set()
    assert "http_authorization" not in used
