"""The provider's key set over real HTTP: rotation, outages, hostile answers, and how often it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from gateway.auth import Authenticator, Jwks, hmac_key
from gateway.auth.jwks import MAX_BODY_BYTES
from gateway.errors import AuthError, KeyUnknown
from tests.support.key_provider import Provider, document, serving

NOW = 1_800_000_000
CLAIMS = {"sub": "42", "iat": NOW, "exp": NOW + 3_600}
SECRET = "a-secret-of-more-than-thirty-two-bytes!"

OLD, NEW = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def token(key: Any, kid: str | None) -> str:
    return jwt.encode(CLAIMS, key, "ES256", headers={} if kid is None else {"kid": kid})


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving() as provider:
        provider.body = document(old=OLD)
        yield provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jwks(provider: Provider, clock: Clock) -> Jwks:
    return Jwks(provider.url, timeout_s=5, clock=clock)


@pytest.fixture
def verifier(jwks: Jwks) -> Authenticator:
    return Authenticator(jwks=jwks, keys=[hmac_key(SECRET)], algorithms=["ES256", "HS256"])


@pytest.fixture
async def running(jwks: Jwks) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(jwks.run(), name="jwks")
    yield task
    task.cancel()
    await asyncio.wait([task])


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


# Fetching


async def test_owner_task_fetches_the_keys_at_start(
    jwks: Jwks, verifier: Authenticator, running: asyncio.Task[None]
) -> None:
    await wait_until(lambda: jwks.version == 1)
    assert verifier.verify(token(OLD, "old"), NOW).user_id == "42"


async def test_owner_task_fetches_again_when_the_lifetime_is_over(provider: Provider) -> None:
    jwks = Jwks(provider.url, lifetime_s=0.02)
    task = asyncio.create_task(jwks.run(), name="jwks")
    await wait_until(lambda: jwks.version == 1)
    provider.body = document(new=NEW)
    await wait_until(lambda: jwks.version == 2)
    task.cancel()
    await asyncio.wait([task])
    assert [key.kid for key in jwks.keys] == ["new"]


async def test_owner_task_tries_again_soon_after_a_failure(provider: Provider) -> None:
    provider.status = 503
    jwks = Jwks(provider.url, lifetime_s=0.02)
    task = asyncio.create_task(jwks.run(), name="jwks")
    await wait_until(lambda: jwks.failures >= 2)
    provider.status = 200
    await wait_until(lambda: jwks.version == 1)
    task.cancel()
    await asyncio.wait([task])
    assert jwks.failures == 0


async def test_owner_task_ends_while_a_fetch_hangs(provider: Provider, jwks: Jwks) -> None:
    provider.gate.clear()
    task = asyncio.create_task(jwks.run(), name="jwks")
    await wait_until(lambda: len(provider.requests) == 1)
    task.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([task])
    assert task.cancelled()
    provider.gate.set()


async def test_keys_are_not_fetched_by_a_connection(provider: Provider, verifier: Authenticator, jwks: Jwks) -> None:
    await jwks.refresh()
    for number in range(100):
        claims = {**CLAIMS, "sub": str(number)}
        await verifier.authenticate(jwt.encode(claims, OLD, "ES256", headers={"kid": "old"}), NOW)
    assert len(provider.requests) == 1


async def test_run_without_a_provider_returns_at_once() -> None:
    await Authenticator(keys=[hmac_key(SECRET)]).run()


# Rotation and unknown keys


async def test_unknown_key_is_fetched_and_then_known(
    provider: Provider, verifier: Authenticator, jwks: Jwks, clock: Clock
) -> None:
    await jwks.refresh()
    provider.body = document(old=OLD, new=NEW)
    clock.now_s += 60
    with pytest.raises(KeyUnknown) as caught:
        verifier.verify(token(NEW, "new"), NOW)
    assert caught.value.kid == "new"
    assert await verifier.refresh()
    assert verifier.verify(token(NEW, "new"), NOW).user_id == "42"


async def test_authenticate_does_the_fetch_by_itself(provider: Provider, verifier: Authenticator) -> None:
    assert (await verifier.authenticate(token(OLD, "old"), NOW)).user_id == "42"
    assert len(provider.requests) == 1


async def test_key_set_is_fetched_for_a_token_without_key_id_when_there_is_none_yet(
    verifier: Authenticator,
) -> None:
    assert await verifier.authenticate(token(OLD, None), NOW)


async def test_unknown_keys_cause_one_fetch_a_minute(provider: Provider, verifier: Authenticator, clock: Clock) -> None:
    for number in range(20):
        with pytest.raises(AuthError):
            await verifier.authenticate(token(NEW, f"forged-{number}"), NOW)
    assert len(provider.requests) == 1
    clock.now_s += 59.9
    assert not await verifier.refresh()
    clock.now_s += 0.1
    assert await verifier.refresh()
    assert len(provider.requests) == 2


async def test_concurrent_callers_share_one_fetch(provider: Provider, verifier: Authenticator) -> None:
    provider.gate.clear()
    logins = [asyncio.create_task(verifier.authenticate(token(OLD, "old"), NOW), name="login") for _ in range(50)]
    await wait_until(lambda: len(provider.requests) == 1)
    provider.gate.set()
    identities = await asyncio.gather(*logins)
    assert {identity.user_id for identity in identities} == {"42"}
    assert len(provider.requests) == 1


async def test_caller_who_leaves_does_not_take_the_fetch_away(provider: Provider, verifier: Authenticator) -> None:
    provider.gate.clear()
    leaving, staying = (
        asyncio.create_task(verifier.authenticate(token(OLD, "old"), NOW), name="login") for _ in range(2)
    )
    await wait_until(lambda: len(provider.requests) == 1)
    leaving.cancel()
    await asyncio.wait([leaving])
    provider.gate.set()
    assert (await staying).user_id == "42"


async def test_withdrawn_key_is_refused_even_for_a_cached_token(
    provider: Provider, verifier: Authenticator, clock: Clock
) -> None:
    cached = token(OLD, "old")
    await verifier.authenticate(cached, NOW)
    provider.body = document(new=NEW)
    clock.now_s += 60
    await verifier.refresh()
    with pytest.raises(AuthError) as caught:
        verifier.verify(cached, NOW)
    assert caught.value.reason == "unknown_key"


async def test_unchanged_key_set_keeps_the_cache(verifier: Authenticator, clock: Clock) -> None:
    cached = token(OLD, "old")
    identity = await verifier.authenticate(cached, NOW)
    clock.now_s += 60
    assert await verifier.refresh()
    assert verifier.verify(cached, NOW) is identity


async def test_known_key_with_a_bad_signature_causes_no_fetch(
    provider: Provider, verifier: Authenticator, clock: Clock
) -> None:
    await verifier.refresh()
    clock.now_s += 60
    with pytest.raises(AuthError) as caught:
        await verifier.authenticate(token(NEW, "old"), NOW)
    assert caught.value.reason == "bad_signature"
    assert len(provider.requests) == 1


async def test_static_secret_works_beside_the_key_set(verifier: Authenticator, provider: Provider) -> None:
    assert verifier.verify(jwt.encode(CLAIMS, SECRET, "HS256"), NOW)
    assert provider.requests == []


async def test_secret_in_the_key_set_signs_nothing(provider: Provider, verifier: Authenticator) -> None:
    leaked = "c-secret-of-more-than-thirty-two-bytes!"
    reader: Any = jwt.get_algorithm_by_name("HS256")
    key_set = json.loads(document(old=OLD))
    key_set["keys"].append({**reader.to_jwk(leaked, as_dict=True), "kid": "oct"})
    provider.body = json.dumps(key_set).encode()
    with pytest.raises(AuthError):
        await verifier.authenticate(jwt.encode(CLAIMS, leaked, "HS256", headers={"kid": "oct"}), NOW)


# Outages and hostile answers

ANSWERS: dict[str, tuple[int, bytes, dict[str, str]]] = {
    "error": (500, b"oops", {}),
    "not found": (404, document(new=NEW), {}),
    "no content": (204, b"", {}),
    "garbage": (200, b"\xff\xfe<html>", {}),
    "empty": (200, b"", {}),
    "not a key set": (200, b'{"hello": 1}', {}),
    "no usable key": (200, b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', {}),
    "deep": (200, b"[" * 100_000, {}),
    "huge": (200, document(new=NEW) + b" " * MAX_BODY_BYTES, {}),
    "redirect": (302, b"", {"Location": "/elsewhere"}),
    "redirect to a file": (302, b"", {"Location": "file:///etc/passwd"}),
    "permanent redirect": (308, b"", {"Location": "/elsewhere"}),
    "compressed": (200, b"\x1f\x8b\x08garbage", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_bad_answer_keeps_the_old_keys_and_is_reported(
    name: str, provider: Provider, jwks: Jwks, verifier: Authenticator, clock: Clock
) -> None:
    await jwks.refresh()
    provider.status, provider.body, provider.headers = ANSWERS[name]
    clock.now_s += 60
    with capture_logs() as logs:
        assert not await jwks.refresh()
    assert verifier.verify(token(OLD, "old"), NOW)
    assert jwks.failures == 1
    assert [entry["event"] for entry in logs] == ["jwks_fetch_failed"]


async def test_redirect_is_not_followed(provider: Provider, jwks: Jwks) -> None:
    provider.status, provider.headers = 302, {"Location": "/elsewhere"}
    await jwks.refresh()
    assert provider.requests == ["/jwks"]


async def test_largest_body_is_accepted(provider: Provider, jwks: Jwks) -> None:
    provider.body = provider.body.ljust(MAX_BODY_BYTES)
    assert await jwks.refresh()


async def test_server_that_is_down_keeps_the_old_keys(clock: Clock) -> None:
    with serving() as server:
        server.body = document(old=OLD)
        jwks = Jwks(server.url, clock=clock)
        verifier = Authenticator(jwks=jwks, algorithms=["ES256"])
        await verifier.authenticate(token(OLD, "old"), NOW)
    clock.now_s += 60
    assert not await jwks.refresh()
    assert verifier.verify(token(OLD, "old"), NOW)


async def test_server_that_is_down_at_start_refuses_tokens_and_nothing_else() -> None:
    verifier = Authenticator(jwks=Jwks("http://127.0.0.1:1/jwks"), algorithms=["ES256"])
    with pytest.raises(AuthError) as caught:
        await verifier.authenticate(token(OLD, "old"), NOW)
    assert caught.value.reason == "unknown_key"


async def test_silent_server_is_given_up(provider: Provider) -> None:
    provider.gate.clear()
    jwks = Jwks(provider.url, timeout_s=0.05)
    assert not await jwks.refresh()
    assert jwks.failures == 1
