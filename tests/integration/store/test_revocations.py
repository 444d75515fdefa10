"""Revocations as publishers store them and instances load them; answers to `gateway explain`."""

from __future__ import annotations

import time

from redis.asyncio import Redis

from gateway.identity import Identity, identity_from_claims
from gateway.revocations import Revocations
from gateway.store import keys
from gateway.store.answers import answers_from, give_answer
from gateway.store.revocations import load_revocations
from publisher import Publisher
from tests.support.redis_server import RedisServer

KEY = keys.revocations(0)


def _identity(user_id: str, jti: str | None = None, tenant: str = "default", age_s: float = 60) -> Identity:
    now = time.time()
    claims = {"sub": user_id, "tenant": tenant, "jti": jti, "iat": now - age_s, "exp": now + 600}
    return identity_from_claims({name: value for name, value in claims.items() if value is not None}, b"digest")


async def _loaded(redis: Redis) -> Revocations:
    revocations = Revocations()
    await load_revocations(redis, revocations)
    return revocations


async def test_what_a_publisher_revoked_is_loaded(redis: Redis, server: RedisServer) -> None:
    async with Publisher(server.url, timeout_s=60) as tide:
        await tide.revoke(jti="stolen")
        await tide.revoke(user="mallory", tenant="acme")
    revocations = await _loaded(redis)
    assert revocations.is_revoked(_identity("1", "stolen"))
    assert not revocations.is_revoked(_identity("1", "stolen", tenant="acme"))
    assert revocations.is_revoked(_identity("mallory", tenant="acme"))
    assert not revocations.is_revoked(_identity("mallory"))
    assert not revocations.is_revoked(_identity("mallory", tenant="acme", age_s=-5))


async def test_what_may_be_forgotten_is_not_loaded(redis: Redis) -> None:
    await redis.zadd(KEY, {'["default","jti","old"]': time.time() * 1000 - 1, '["default","jti","new"]': 4e12})
    assert len(await _loaded(redis)) == 1


async def test_poison_does_not_keep_the_others_from_being_loaded(redis: Redis) -> None:
    poison = ["{", '["default"]', '["default","jti",7]', '["default","user","1"]', "null", "\x00"]
    await redis.zadd(KEY, dict.fromkeys(poison, 3000000000000.0) | {'["default","jti","endless"]': "inf"})
    await redis.zadd(KEY, {'["default","jti","stolen"]': 4e12})
    revocations = await _loaded(redis)
    assert len(revocations) == 1
    assert revocations.is_revoked(_identity("1", "stolen"))


async def test_answers_are_kept_for_a_minute(redis: Redis) -> None:
    await give_answer(redis, "r", {"instance": "a"})
    await give_answer(redis, "r", {"instance": "b"})
    assert await answers_from(redis, "r", 0) == [{"instance": "a"}, {"instance": "b"}]
    assert await answers_from(redis, "r", 1) == [{"instance": "b"}]
    assert 0 < await redis.ttl(keys.answers("r")) <= 60
    assert await answers_from(redis, "other", 0) == []
