"""`gateway token`."""

from __future__ import annotations

import time

import jwt
import pytest

from tests.support.clients import connected
from tests.support.gateway import SECRET, running_gateway


async def test_it_prints_a_token_that_the_gateway_accepts_and_nothing_else(shell, gateway):
    done = await shell.gateway("token", "--user", "7")
    assert (done.status, done.err, done.out.count("\n")) == (0, "", 1)
    async with connected(gateway, token=done.out.strip()) as client:
        assert client.welcome["user_id"] == "7"


async def test_the_claims_are_those_asked_for(redis_shell):
    asked = ["--tenant", "acme", "--name", "Ada", "--group", "g", "--group", "h", "--tag", "t", "--topic", "o"]
    done = await redis_shell.gateway("token", "--user", "7", *asked, "--scope", "push read", "--ttl", "15m")
    claims = jwt.decode(done.out.strip(), SECRET, ["HS256"])
    assert claims["exp"] - claims["iat"] == 900
    assert claims["iat"] == pytest.approx(time.time(), abs=30)
    assert claims.pop("jti") != ""
    assert {name: value for name, value in claims.items() if name not in {"iat", "exp"}} == {
        "sub": "7",
        "tenant": "acme",
        "name": "Ada",
        "groups": ["g", "h"],
        "tags": ["t"],
        "topics": ["o"],
        "scope": "push read",
    }


async def test_it_is_accepted_where_issuer_audience_and_algorithm_are_required(redis_shell, redis_url):
    required = {
        "auth__algorithms": ["RS256", "HS512"],
        "auth__issuer": "https://id.example",
        "auth__audience": "tidegate",
    }
    done = await redis_shell.gateway(
        "token",
        GATEWAY_AUTH__ALGORITHMS='["RS256", "HS512"]',
        GATEWAY_AUTH__ISSUER="https://id.example",
        GATEWAY_AUTH__AUDIENCE="tidegate",
    )
    async with (
        running_gateway(redis_url, **required) as gateway,
        connected(gateway, token=done.out.strip()) as client,
    ):
        assert client.welcome["user_id"] == "42"


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        (["--ttl", "2d"], {}, "--ttl: 2 d is over auth.max_lifetime_s, 24 h: the gateway would refuse the token"),
        (["--ttl", "0"], {}, "--ttl: use a positive number of seconds"),
        (["--user", ""], {}, "token: the gateway would refuse it: a claim has a wrong type or value: `sub`"),
        (["--tenant", "a b"], {}, "token: the gateway would refuse it: a claim has a wrong type or value: `tenant`"),
        ([], {"GATEWAY_AUTH__ALGORITHMS": '["ES256"]'}, "auth.algorithms: has none for a secret, only ES256"),
        (["-c", "nowhere.yaml"], {}, "nowhere.yaml: cannot"),
    ],
)
async def test_what_would_be_refused_is_not_made(redis_shell, arguments, environ, said):
    done = await redis_shell.gateway("token", *arguments, **environ)
    assert (done.status, done.out) == (1, "")
    assert said in done.err
    assert done.err.count("\n") == 1


async def test_without_a_secret_it_says_what_to_do(bare_shell):
    done = await bare_shell.gateway("token")
    assert (done.status, done.out) == (1, "")
    assert "auth.secret: is not set" in done.err
    assert not (bare_shell.folder / ".tidegate").exists()


async def test_with_public_keys_only_it_refers_to_their_issuer(bare_shell):
    done = await bare_shell.gateway("token", GATEWAY_AUTH__JWKS_URL="https://id.example/jwks")
    assert done.status == 1
    assert "get a token from their issuer" in done.err


async def test_an_unreadable_life_is_wrong_usage(redis_shell):
    done = await redis_shell.gateway("token", "--ttl", "soon")
    assert done.status == 2
    assert "not a duration" in done.err
