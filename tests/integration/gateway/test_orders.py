"""Kick and revoke: carried out on every instance, at their place in the log's order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import websockets

from publisher import Publisher
from tests.support.clients import connected, settled
from tests.support.gateway import RunningGateway, make_token


async def test_a_kicked_user_is_closed_everywhere_before_what_comes_next(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "42") as one,
        connected(other, "42") as two,
        connected(other, "43") as bystander,
        connected(gateway, "42", claims={"tenant": "acme"}) as namesake,
    ):
        await tide.kick("42")
        await settled(tide, bystander)
        await settled(tide, namesake, tenant="acme")
        assert [instance.services.hub.count("default", "user:42") for instance in (gateway, other)] == [0, 0]
        assert (await one.closed())[0] == (await two.closed())[0] == 4403


@pytest.mark.parametrize("order", ["kick", "revoke"])
async def test_it_takes_effect_on_every_instance_within_a_second(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, order: str
) -> None:
    times = []
    for user in ("51", "52", "53"):
        async with connected(gateway, user) as one, connected(other, user) as two:
            began = time.monotonic()
            await (tide.kick(user) if order == "kick" else tide.revoke(user=user))
            await one.closed()
            await two.closed()
            times.append(time.monotonic() - began)
    assert min(times) < 1, times  # of three: a busy machine may stand still in one


async def test_a_kick_has_the_code_and_the_reason_of_its_caller(gateway: RunningGateway, tide: Publisher) -> None:
    for code, reason in ((4409, "elsewhere"), (1000, "done"), (4999, "é" * 61)):
        async with connected(gateway, "42") as client:
            await tide.kick("42", code=code, reason=reason)
            assert await client.closed() == (code, reason)


async def test_a_kick_may_mean_one_client_only(gateway: RunningGateway, other: RunningGateway, tide: Publisher) -> None:
    async with connected(gateway, "42") as one, connected(other, "42") as two:
        await tide.kick(client=two.client_id)
        assert (await two.closed())[0] == 4403
        await settled(tide, one)


async def test_a_kicked_user_may_come_back_and_is_not_kicked_again_by_the_replay(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await tide.kick("42")
        await client.closed()
    async with connected(gateway, "42", cursor=client.cursor) as client:
        await tide.publish("notice", 1, to="user:42")
        await settled(tide, client)
        assert client.events == [("notice", 1)]


async def test_what_was_published_before_a_kick_comes_and_what_was_after_does_not(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        before = [tide.publish("notice", number, to="user:42") for number in range(20)]
        after = [tide.publish("notice", number, to="user:42") for number in range(20, 40)]
        await asyncio.gather(*before, tide.kick("42"), *after)
        assert (await client.closed())[0] == 4403
        assert [data for _, data in client.events] == list(range(20))


@pytest.mark.parametrize("revoked", [{"jti": "t1"}, {"user": "42"}], ids=["token", "user"])
async def test_a_revocation_closes_every_connection_under_it_before_what_comes_next(
    gateway: RunningGateway, other: RunningGateway, tide: Publisher, revoked: dict[str, str]
) -> None:
    other_token = {"jti": "t2"}
    async with (
        connected(gateway, "42", claims={"jti": "t1"}) as one,
        connected(other, "42", claims={"jti": "t1"}) as two,
        connected(gateway, "43", claims=other_token) as bystander,
        connected(gateway, "42", claims={"jti": "t1", "tenant": "acme"}) as namesake,
    ):
        await tide.revoke(**revoked)
        await settled(tide, bystander)
        await settled(tide, namesake, tenant="acme")
        assert [instance.services.hub.count("default", "user:42") for instance in (gateway, other)] == [0, 0]
        assert await one.closed() == await two.closed() == (4403, "revoked")


async def test_another_token_of_the_same_user_outlives_the_revocation_of_one(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with (
        connected(gateway, "42", claims={"jti": "t1"}) as one,
        connected(gateway, "42", claims={"jti": "t2"}) as two,
    ):
        await tide.revoke(jti="t1")
        await one.closed()
        await settled(tide, two)
        assert (await two.send("auth", {"token": make_token("42", jti="t1")})).data["reason"] == "revoked"
        assert (await two.closed())[0] == 4401


async def test_a_token_issued_after_the_revocation_of_its_user_is_good(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "42") as client:
        await tide.revoke(user="42")
        await client.closed()
    with pytest.raises(websockets.InvalidStatus):
        async with connected(gateway, "42", claims={"iat": None}):
            pass
    later: dict[str, Any] = {"iat": int(time.time()) + 2}
    async with connected(gateway, "42", claims=later) as client:
        await settled(tide, client)
