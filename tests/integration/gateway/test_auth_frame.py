"""Authentication by an `auth` frame, and the life of a token on an open connection."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import websockets

from publisher import Publisher
from tests.support.clients import Client, connected, opened, settled
from tests.support.gateway import RunningGateway, make_token, running_gateway
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("nonsense", "malformed"),
        (make_token("42", ttl_s=-1), "expired"),
        (make_token("42", secret="another-secret-that-is-long-enough-to-be-one"), "bad_signature"),
    ],
    ids=["malformed", "expired", "bad signature"],
)
async def test_a_bad_token_in_an_auth_frame_is_told_and_closes_with_4401(
    gateway: RunningGateway, token: str, reason: str
) -> None:
    async with opened(gateway) as client:
        failed = await client.send("auth", {"token": token}, message_id="a1")
        assert (failed.type, failed.message_id) == ("auth_failed", "a1")
        assert failed.data["reason"] == reason
        assert failed.data["message"]
        assert await client.closed() == (4401, reason)
        assert [frame.type for frame in client.frames] == ["auth_failed"]


async def test_a_revoked_token_in_an_auth_frame_is_told_and_closes_with_4401(
    gateway: RunningGateway, tide: Publisher
) -> None:
    token = gateway.token("42")  # from before: one that is issued in the second after it would be good
    await tide.revoke(user="42")
    await wait_until(lambda: len(gateway.services.revocations) == 1)
    async with opened(gateway) as client:
        failed = await client.send("auth", {"token": token})
        assert failed.data["reason"] == "revoked"
        assert (await client.closed())[0] == 4401


async def test_an_auth_frame_that_cannot_be_read_is_an_error_and_no_end(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        for data in (None, {}, {"token": 7}, {"token": None}, [], "x", {"token": "x", "cursor": 7}):
            assert (await client.send("auth", data)).data["code"] == 400
        assert (await client.send("auth", {"token": gateway.token("42")})).type == "auth_success"


async def test_who_does_not_authenticate_in_time_is_closed_with_4408(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, limits__auth_timeout_s=3) as gateway,
        opened(gateway) as silent,
        opened(gateway) as prompt,
    ):
        await prompt.send("auth", {"token": gateway.token("42")})
        code, reason = await silent.closed()
        assert code == 4408
        assert "auth" in reason
        assert (await prompt.send("ping")).type == "pong"


async def test_pings_do_not_put_off_the_end_of_who_does_not_authenticate(redis_url: str) -> None:
    async with running_gateway(redis_url, limits__auth_timeout_s=0.2) as gateway, opened(gateway) as client:

        async def ended() -> bool:
            if client.socket.close_code is None:
                with contextlib.suppress(websockets.ConnectionClosed):  # it is closing
                    await client.socket.ping()
            return client.socket.close_code is not None

        await wait_until(ended)
        assert client.socket.close_code == 4408


@pytest.mark.parametrize(
    "command", ["echo", "send_message", "subscribe", "join_group", "get_client_info", "unheard_of"]
)
async def test_a_command_before_auth_is_refused_with_401(gateway: RunningGateway, command: str) -> None:
    async with opened(gateway) as client:
        refused = await client.send(command, {"topic": "t", "group_id": "g", "content": "x"}, message_id="c1")
        assert (refused.type, refused.message_id, refused.data["code"]) == ("error", "c1", 401)
        assert (await client.send("auth", {"token": gateway.token("42")})).type == "auth_success"


async def test_ping_is_answered_before_auth_without_a_position(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        assert (await client.send("ping")).data == {}
        assert (await client.send("auth", {"token": gateway.token("42")})).type == "auth_success"
        assert (await client.send("ping")).data["cursor"]


async def test_nothing_is_delivered_before_auth(gateway: RunningGateway, tide: Publisher) -> None:
    async with opened(gateway) as early, connected(gateway) as witness:
        await tide.publish("notice", 1, to="all")
        await settled(tide, witness)
        await early.send("auth", {"token": gateway.token("42")})
        await early.next("welcome")
        await settled(tide, early)
        assert early.events == []
        assert witness.events == [("notice", 1)]


async def test_auth_frames_sent_together_are_each_answered_and_welcome_once(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        ids = [await client.post("auth", {"token": gateway.token("42")}) for _ in range(3)]
        ids.append(await client.post("echo", 1))
        assert [(await client.reply(each)).type for each in ids] == ["auth_success"] * 3 + ["echo"]
        assert [frame.type for frame in client.frames] == ["auth_success", "welcome", *["auth_success"] * 2, "echo"]


async def test_auth_success_says_who_one_is_and_until_when(gateway: RunningGateway) -> None:
    until = int(time.time()) + 300
    async with opened(gateway) as client:
        success = await client.send("auth", {"token": make_token("42", exp=until)})
        assert success.data == {"user_id": "42", "expires_at": until * 1000}


async def test_a_connection_ends_with_its_token_and_is_warned(gateway: RunningGateway) -> None:
    async with connected(gateway, token=make_token("42", ttl_s=6)) as client:
        warning = await client.next("token_expiring")
        assert 0 < warning.data["expires_in_ms"] <= 6_000
        assert await client.closed() == (4401, "expired")
        assert len(client.of_type("token_expiring")) == 1


async def test_a_token_with_time_left_is_not_warned_of(gateway: RunningGateway) -> None:
    async with (
        connected(gateway, token=make_token("1", ttl_s=300)) as lasting,
        connected(gateway, token=make_token("2", ttl_s=20)) as ending,
    ):
        await ending.next("token_expiring")
        await lasting.send("ping")
        assert lasting.of_type("token_expiring") == []


async def test_a_new_token_extends_the_life_of_a_connection(gateway: RunningGateway, tide: Publisher) -> None:
    first = time.time() + 6
    async with (
        connected(gateway, token=make_token("42", exp=first)) as client,
        connected(gateway, token=make_token("43", exp=first)) as other,
    ):
        await client.next("token_expiring")
        refreshed = await client.send("auth", {"token": make_token("42")})
        assert refreshed.type == "auth_success"
        assert (await other.closed())[0] == 4401  # so the time has come
        await tide.publish("notice", 1, to="user:42")
        assert (await client.next("notice")).data == 1
        assert len(client.of_type("welcome")) == 1
        assert len(client.of_type("token_expiring")) == 1


async def test_a_shorter_token_shortens_it(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        await client.send("auth", {"token": make_token("42", ttl_s=5)})
        assert (await client.next("token_expiring")).data["expires_in_ms"] <= 5_000
        assert await client.closed() == (4401, "expired")


@pytest.mark.parametrize("claims", [{"sub": "43"}, {"tenant": "acme"}], ids=["user", "tenant"])
async def test_a_new_token_of_somebody_else_is_refused_and_changes_nothing(
    gateway: RunningGateway, tide: Publisher, claims: dict[str, Any]
) -> None:
    async with connected(gateway, "42") as client:
        refused = await client.send("auth", {"token": make_token("42", **claims)})
        assert (refused.type, refused.data["code"]) == ("error", 403)
        await tide.publish("notice", 1, to="user:42")
        await tide.publish("notice", 2, to="user:43")
        await settled(tide, client)
        assert client.events == [("notice", 1)]


async def test_a_bad_new_token_ends_the_connection(gateway: RunningGateway) -> None:
    async with connected(gateway, "42") as client:
        assert (await client.send("auth", {"token": make_token("42", ttl_s=-1)})).type == "auth_failed"
        assert await client.closed() == (4401, "expired")


async def test_a_new_token_takes_its_scopes_into_effect(redis_url: str) -> None:
    settings: dict[str, Any] = {"policy__subscribe": ({"allow": "scope:news"},)}
    async with running_gateway(redis_url, **settings) as gateway, connected(gateway, "42") as client:
        assert (await client.send("subscribe", {"topic": "t"})).data["code"] == 403
        await client.send("auth", {"token": make_token("42", scope="read news")})
        assert (await client.send("subscribe", {"topic": "t"})).type == "ack"


async def test_two_users_waiting_on_one_connection_cannot_both_enter(gateway: RunningGateway) -> None:
    async with opened(gateway) as client:
        await client.post("auth", {"token": make_token("42")})
        second = await client.post("auth", {"token": make_token("43")})
        assert (await client.reply(second)).data["code"] == 403
        assert await _user(client) == "42"


async def _user(client: Client) -> str:
    return str((await client.send("get_client_info")).data["user_id"])
