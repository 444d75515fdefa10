"""How many connections, and how many handshakes, one address may have; and whose address counts behind a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
import websockets

from publisher import Publisher
from tests.integration.gateway.raw_socket import tcp_socket
from tests.support.clients import connected, opened
from tests.support.gateway import RunningGateway, http_get_json, running_gateway
from tests.support.waiting import wait_until

OTHER = ("127.0.0.2", 0)  # all of 127.0.0.0/8 is this machine


async def refusal(gateway: RunningGateway, **options: Any) -> tuple[int, dict[str, Any], Any]:
    """Connect and be refused; return the status, the body and the headers."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connected(gateway, **options):
            pass
    response = refused.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body), response.headers


async def test_connections_of_one_address_are_limited_and_those_of_others_are_not(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections_per_ip=2) as gateway:
        async with connected(gateway, "1"), connected(gateway, "2"):
            status, body, headers = await refusal(gateway)
            assert (status, body["reason"]) == (429, "address")
            assert int(headers["Retry-After"]) > 0
            async with connected(gateway, "4", local_addr=OTHER) as other:
                assert (await other.send("get_client_info")).data["remote"] == "127.0.0.2"
        await wait_until(lambda: not gateway.services.connections)
        async with connected(gateway, "1"), connected(gateway, "2"):  # who left has made room
            pass
        assert gateway.services.metrics.handshakes_refused == {"address": 1}


async def test_sockets_without_a_request_count_too_and_a_mob_of_them_is_cut_off(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, limits__connections_per_ip=3) as gateway,
        contextlib.AsyncExitStack() as stack,
    ):
        server = gateway.services.metrics
        sockets = [await stack.enter_async_context(tcp_socket(gateway.port)) for _ in range(20)]
        await wait_until(lambda: server.handshakes_refused["address"] == 17)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):  # not even an answer, so that they hold no socket of ours
            for socket in sockets[6:]:
                with contextlib.suppress(ConnectionError):
                    assert await loop.sock_recv(socket, 100) == b""
            for socket in sockets[3:6]:  # had time for a request, which would have been answered
                with contextlib.suppress(ConnectionError):
                    assert await loop.sock_recv(socket, 100) == b""
        async with connected(gateway, local_addr=OTHER):
            pass


async def test_handshakes_of_one_address_are_limited_before_a_token_is_looked_at(redis_url: str) -> None:
    settings = {"limits__handshakes_per_s": 0.001, "limits__handshakes_burst": 3}
    async with running_gateway(redis_url, **settings) as gateway:
        for _ in range(3):
            assert (await refusal(gateway, token="nonsense"))[0] == 401
        for token in ("nonsense", gateway.token("42")):
            status, body, headers = await refusal(gateway, token=token)
            assert (status, body["reason"]) == (429, "rate")
            assert 1 <= int(headers["Retry-After"]) <= 1_000
        assert gateway.services.metrics.auth_failures == {"malformed": 3}
        async with connected(gateway, local_addr=OTHER):
            pass


async def test_health_is_answered_whatever_the_limits_say(redis_url: str) -> None:
    settings = {"limits__handshakes_per_s": 0.1, "limits__handshakes_burst": 1, "access__block": ["127.0.0.0/8"]}
    async with running_gateway(redis_url, **settings) as gateway:
        for path in ("/health", "/ready", "/health"):
            assert (await http_get_json(gateway.port, path))[0] == 200


async def test_more_connections_than_there_is_room_for_are_refused_and_counted(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections=2) as gateway, connected(gateway), connected(gateway):
        status, _, headers = await refusal(gateway)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert gateway.services.metrics.handshakes_refused == {"connections": 1}


# Proxies


async def remote_of(gateway: RunningGateway, *forwarded: str, **options: Any) -> str:
    headers = [("X-Forwarded-For", value) for value in forwarded]
    async with connected(gateway, additional_headers=headers, way="query", **options) as client:
        return str((await client.send("get_client_info")).data["remote"])


async def test_a_forged_header_is_not_believed(gateway: RunningGateway) -> None:
    assert await remote_of(gateway, "203.0.113.1") == "127.0.0.1"


async def test_the_right_most_untrusted_hop_is_the_client(redis_url: str) -> None:
    trusted = ["127.0.0.1", "10.0.0.0/8"]
    async with running_gateway(redis_url, listen__trusted_proxies=trusted) as gateway:
        assert await remote_of(gateway, "203.0.113.1") == "203.0.113.1"
        assert await remote_of(gateway, "198.51.100.1, 203.0.113.1, 10.0.0.7") == "203.0.113.1"
        assert await remote_of(gateway, "198.51.100.1", "::ffff:203.0.113.1") == "203.0.113.1"
        assert await remote_of(gateway) == "127.0.0.1"
        assert await remote_of(gateway, "203.0.113.1", local_addr=OTHER) == "127.0.0.2"


async def test_behind_a_proxy_each_client_has_limits_of_its_own(redis_url: str) -> None:
    settings = {"limits__connections_per_ip": 1, "listen__trusted_proxies": ["127.0.0.1"]}

    def at(address: str) -> dict[str, Any]:
        return {"additional_headers": {"X-Forwarded-For": address}}

    async with running_gateway(redis_url, **settings) as gateway:
        async with connected(gateway, **at("203.0.113.1")), connected(gateway, **at("203.0.113.2")):
            assert (await refusal(gateway, **at("203.0.113.1")))[0] == 429
            assert (await refusal(gateway, **at("198.51.100.1, 203.0.113.2")))[0] == 429
            async with connected(gateway, **at("2001:db8::1")):
                assert (await refusal(gateway, **at("2001:db8::2")))[0] == 429
        await wait_until(lambda: not gateway.services.connections)
        async with connected(gateway, **at("203.0.113.1")):
            pass


async def test_an_address_dodges_no_limit_by_a_header(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections_per_ip=1) as gateway, connected(gateway):
        for address in ("203.0.113.1", "::1", "127.0.0.9", "garbage"):
            assert (await refusal(gateway, additional_headers={"X-Forwarded-For": address}))[0] == 429


# Users


async def test_more_connections_of_a_user_are_refused(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections_per_user=2) as gateway:
        async with connected(gateway, "42"), connected(gateway, "42"):
            for way in ("query", "header", "subprotocol"):
                status, body, headers = await refusal(gateway, user="42", way=way)
                assert (status, body["reason"]) == (429, "user")
                assert headers["Retry-After"]
            async with opened(gateway) as late:
                reply = await late.send("auth", {"token": gateway.token("42")})
                assert (reply.type, reply.data["code"]) == ("error", 429)
                assert reply.data["retry_after_ms"] > 0
                assert await late.closed() == (4429, "too many connections of this user")
            async with connected(gateway, "43"), connected(gateway, "42", claims={"tenant": "acme"}):
                pass
        await wait_until(lambda: not gateway.services.connections)
        async with connected(gateway, "42") as back:
            assert back.welcome["user_id"] == "42"


async def test_the_oldest_connection_of_a_user_gives_way(redis_url: str) -> None:
    settings = {"limits__connections_per_user": 2, "limits__over_user_limit": "replace"}
    async with (
        running_gateway(redis_url, **settings) as gateway,
        Publisher(redis_url) as tide,
        connected(gateway, "42") as first,
        connected(gateway, "42", way="auth") as second,
        connected(gateway, "42", way="auth") as third,
    ):
        assert await first.closed() == (4409, "replaced by a newer connection")
        async with connected(gateway, "42") as fourth, connected(gateway, "43"):
            assert (await second.closed())[0] == 4409
            await tide.publish("e", 1, to="user:42")
            for client in (third, fourth):
                await client.next("e")
        assert gateway.services.metrics.replaced == 2
        assert second.events == []


async def test_a_refreshed_token_is_no_new_connection(redis_url: str) -> None:
    for policy in ("refuse", "replace"):
        settings = {"limits__connections_per_user": 1, "limits__over_user_limit": policy}
        async with running_gateway(redis_url, **settings) as gateway, connected(gateway, "42") as client:
            assert (await client.send("auth", {"token": gateway.token("42", ttl_s=900)})).type == "auth_success"
            assert (await client.send("ping")).type == "pong"


async def test_many_at_once_are_no_more_than_the_limit(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__connections_per_user=3) as gateway, contextlib.AsyncExitStack() as s:
        attempts = [s.enter_async_context(connected(gateway, "42")) for _ in range(20)]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(outcome, websockets.InvalidStatus) for outcome in outcomes) == 17
        assert gateway.services.hub.count("default", "user:42") == 3
