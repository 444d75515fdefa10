"""Authentication in the handshake: where a token may stand, which are refused, and what is selected."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
import websockets

from publisher import Publisher
from tests.support.clients import SUBPROTOCOL, Way, connected, opened
from tests.support.gateway import SECRET, RunningGateway, make_token, running_gateway
from tests.support.waiting import wait_until

WAYS: list[Way] = ["query", "header", "subprotocol", "auth"]
IN_HANDSHAKE: list[Way] = ["query", "header", "subprotocol"]


async def refusal(gateway: RunningGateway, way: Way, token: str) -> tuple[int, dict[str, Any], Any]:
    """Offer a token that is refused; return the status, the body and the headers."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connected(gateway, way=way, token=token):
            pass
    response = refused.value.response
    assert response.body is not None
    return response.status_code, json.loads(response.body), response.headers


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_is_accepted_in_each_of_the_four_ways(gateway: RunningGateway, way: Way) -> None:
    async with connected(gateway, "42", way=way) as client:
        assert client.welcome["user_id"] == "42"
        first = ["auth_success", "welcome"] if way == "auth" else ["welcome"]
        assert [frame.type for frame in client.frames] == first


async def test_the_welcome_says_what_a_client_needs_to_know(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, heartbeat__ping_interval_s=7, limits__max_message_bytes=5_000) as gateway,
        connected(gateway, "42") as client,
    ):
        welcome = dict(client.welcome)
        assert welcome.pop("client_id")
        assert welcome.pop("session_id")
        assert welcome.pop("cursor")
        assert welcome == {
            "user_id": "42",
            "resumed": False,
            "heartbeat_s": 7,
            "max_message_bytes": 5_000,
            "unread_count": 0,
        }


async def test_connections_of_one_token_share_a_session_and_nothing_else(gateway: RunningGateway) -> None:
    token = gateway.token("42")
    async with connected(gateway, token=token) as one, connected(gateway, token=token) as two:
        assert one.welcome["session_id"] == two.welcome["session_id"]
        assert one.client_id != two.client_id


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda: "nonsense", "malformed"),
        (lambda: make_token("42", ttl_s=-1), "expired"),
        (lambda: make_token("42", secret="another-secret-that-is-long-enough-to-be-one"), "bad_signature"),
        (lambda: make_token("42", sub=None), "no_subject"),
        (lambda: make_token("42", exp=None), "no_expiry"),
        (lambda: make_token("42", nbf=time.time() + 3_600), "not_yet_valid"),
        (lambda: make_token("42", ttl_s=10 * 86_400), "lifetime_too_long"),
        (lambda: make_token("42", aud="somebody-else"), "wrong_audience"),
        (lambda: make_token("42", tenant="a/b"), "bad_claim"),
        (lambda: jwt.encode({"sub": "42", "exp": time.time() + 60}, SECRET * 2, "HS512"), "algorithm_not_allowed"),
        (lambda: jwt.encode({"sub": "42", "exp": time.time() + 60}, None, "none"), "algorithm_not_allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_token_in_the_handshake_is_answered_with_401_and_the_reason(
    gateway: RunningGateway, token: Callable[[], str], reason: str
) -> None:
    for way in IN_HANDSHAKE:
        status, body, headers = await refusal(gateway, way, token())
        assert status == 401
        assert body["reason"] == reason
        assert body["error"]
        assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert gateway.services.metrics.auth_failures == {reason: len(IN_HANDSHAKE)}
    assert not gateway.services.connections


async def test_user_id_stands_in_for_sub(gateway: RunningGateway) -> None:
    async with connected(gateway, token=make_token("", sub=None, user_id=42)) as client:
        assert client.welcome["user_id"] == "42"


async def test_audience_and_issuer_are_required_where_they_are_set(redis_url: str) -> None:
    async with running_gateway(redis_url, auth__audience="app", auth__issuer="us") as gateway:
        async with connected(gateway, claims={"aud": ["x", "app"], "iss": "us"}):
            pass
        _, body, _ = await refusal(gateway, "query", make_token("1", aud="app"))
        assert body["reason"] == "wrong_issuer"
        _, body, _ = await refusal(gateway, "query", make_token("1", iss="us"))
        assert body["reason"] == "wrong_audience"


async def test_the_previous_secret_is_good_during_a_rotation(redis_url: str) -> None:
    new = "the-new-secret-which-is-also-long-enough-by-far"
    async with running_gateway(redis_url, auth__secret=new, auth__previous_secret=SECRET) as gateway:
        for secret in (new, SECRET):
            async with connected(gateway, token=make_token("42", secret=secret)) as client:
                assert client.welcome["user_id"] == "42"


@pytest.mark.parametrize("revoked", [{"jti": "t1"}, {"user": "42"}], ids=["token", "user"])
async def test_a_revoked_token_is_refused_in_the_handshake(
    gateway: RunningGateway, tide: Publisher, revoked: dict[str, str]
) -> None:
    token = gateway.token("42", jti="t1")
    async with connected(gateway, token=token):  # verified once: it is in the cache as well
        pass
    await tide.revoke(**revoked)
    await wait_until(lambda: len(gateway.services.revocations) == 1)
    for way in IN_HANDSHAKE:
        status, body, _ = await refusal(gateway, way, token)
        assert (status, body["reason"]) == (401, "revoked")


async def test_a_revocation_is_known_to_a_gateway_that_starts_later(redis_url: str, tide: Publisher) -> None:
    await tide.revoke(jti="t1")
    async with running_gateway(redis_url) as gateway:
        _, body, _ = await refusal(gateway, "query", gateway.token("42", jti="t1"))
        assert body["reason"] == "revoked"
        async with connected(gateway, "42", claims={"jti": "t2"}):
            pass


async def test_our_subprotocol_is_selected_if_it_is_offered_and_never_another(gateway: RunningGateway) -> None:
    token = gateway.token("42")
    ours = SUBPROTOCOL
    cases = [([ours], ours), (["chat", ours], ours), ([f"bearer.{token}", ours], ours), ([], None), (["chat"], None)]
    for offered, selected in cases:
        async with opened(gateway, subprotocols=offered, query=f"token={token}") as client:
            await client.next("welcome")
            assert client.socket.subprotocol == selected


async def test_a_token_alone_among_the_subprotocols_is_good_but_not_echoed(gateway: RunningGateway) -> None:
    async with opened(gateway, subprotocols=[f"bearer.{gateway.token('42')}"]) as client:
        await client.next("welcome")
        assert client.socket.subprotocol is None
        assert "Sec-WebSocket-Protocol" not in client.socket.response.headers


async def test_a_page_of_another_host_is_refused(redis_url: str) -> None:
    async with running_gateway(redis_url, listen__origins=("https://app.example.com",)) as gateway:
        foreign = ("https://evil.example", "null", "https://app.example.com.evil.example", "", "http://127.0.0.1:1")
        for origin in foreign:
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with connected(gateway, additional_headers={"Origin": origin}):
                    pass
            assert refused.value.response.status_code == 403
        assert not gateway.services.connections


async def test_pages_of_our_own_host_and_of_the_list_may_connect(redis_url: str) -> None:
    async with running_gateway(redis_url, listen__origins=("https://app.example.com",)) as gateway:
        for origin in (f"http://127.0.0.1:{gateway.port}", "https://app.example.com", "https://APP.example.com"):
            async with connected(gateway, additional_headers={"Origin": origin}) as client:
                assert client.welcome


async def test_any_page_may_connect_where_the_list_says_so(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, listen__origins=("*",)) as gateway,
        connected(gateway, additional_headers={"Origin": "null"}) as client,
    ):
        assert client.welcome
