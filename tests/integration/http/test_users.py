"""Kick and revoke, by HTTP, of sockets on another instance."""

from __future__ import annotations

import pytest
import websockets

from tests.integration.http.test_credentials import assert_problem
from tests.support.clients import connected, settled
from tests.support.gateway import make_token
from tests.support.waiting import wait_until


async def test_a_kick_closes_all_connections_of_a_user(gateway, other, service, tide):
    async with connected(gateway, "1") as here, connected(other, "1") as there, connected(other, "2") as bystander:
        answer = await service.post("/api/v1/users/1/kick", json={"code": 4409, "reason": "Schluß"})
        assert answer.status_code == 202
        assert answer.json()["id"]
        assert await here.closed() == await there.closed() == (4409, "Schluß")
        await settled(tide, bystander)


async def test_a_kick_needs_no_body(other, service):
    async with connected(other, "1") as client:
        await service.post("/api/v1/users/1/kick")
        assert await client.closed() == (4403, "kicked")


async def test_a_kick_can_close_one_connection(other, service, tide):
    async with connected(other, "1") as one, connected(other, "1") as two:
        await service.post(f"/api/v1/clients/{one.client_id}/kick", json={"reason": "you"})
        assert await one.closed() == (4403, "you")
        await settled(tide, two)


@pytest.mark.parametrize("body", [{"code": 1006}, {"code": "4403"}, {"reason": "x" * 124}, {"reason": "a\nb"}])
async def test_a_kick_that_does_not_hold_is_422(service, body):
    assert_problem(await service.post("/api/v1/users/1/kick", json=body), 422)


async def test_a_revoked_user_is_closed_and_kept_out_of_every_instance(gateway, other, service):
    token = make_token("1")
    async with connected(other, token=token) as client:
        assert (await service.post("/api/v1/users/1/revoke")).status_code == 202
        assert (await client.closed())[0] == 4403
    for instance in (gateway, other):
        await wait_until(lambda instance=instance: len(instance.services.revocations))
        with pytest.raises(websockets.InvalidStatus):
            async with connected(instance, token=token):
                pass


async def test_a_revoked_token_is_closed_and_the_users_other_one_is_not(other, service, tide):
    async with (
        connected(other, "1", claims={"jti": "lost"}) as lost,
        connected(other, "1", claims={"jti": "kept"}) as kept,
    ):
        assert (await service.post("/api/v1/tokens/lost/revoke")).status_code == 202
        assert (await lost.closed())[0] == 4403
        await settled(tide, kept)


@pytest.mark.parametrize("name", ["a%00b", "a%E2%80%8Db", "x" * 257])
@pytest.mark.parametrize("order", ["kick", "revoke"])
async def test_a_name_that_does_not_hold_is_422(service, name, order):
    assert_problem(await service.post(f"/api/v1/users/{name}/{order}"), 422)
