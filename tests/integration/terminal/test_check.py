"""`gateway check`."""

from __future__ import annotations

import pytest

from tests.integration.terminal.conftest import NO_REDIS
from tests.support.gateway import SECRET
from tests.support.redis_server import RedisServer, free_port

CONFIG = """
auth: {audience: tidegate}
log: {retention_s: 900}
policy:
  join_group: [{pattern: "team-*", allow: "scope:staff"}]
"""


@pytest.fixture
def config(redis_shell):
    (redis_shell.folder / "gateway.yaml").write_text(CONFIG)
    return redis_shell


async def test_it_shows_values_with_where_they_come_from(config):
    done = await config.gateway("check", "-c", "gateway.yaml")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert done.status == 0
    assert "Configuration gateway.yaml and 2 environment variables" in lines
    assert "retention_s 900 (15 min) file" in lines
    assert "port 8889 default" in lines
    assert f"secret *** ({len(SECRET)} bytes) GATEWAY_AUTH__SECRET" in lines
    assert "join_group team-*: scope:staff file" in lines


async def test_it_says_what_they_mean(config):
    done = await config.gateway("check", "-c", "gateway.yaml")
    assert "clients can resume up to 15 min back" in done.out
    assert f"HS256 tokens, secret of {len(SECRET)} bytes; one lives at most 24 h" in done.out
    assert "clients with the scope 'staff' may join groups like 'team-*'; nobody may join other groups" in done.out
    assert "nobody may send to users" in done.out
    assert "a token needs aud 'tidegate'" in done.out


async def test_it_never_shows_a_secret(config, redis_url):
    url = redis_url.replace("redis://", "redis://user:hunter2@")
    done = await config.gateway("check", GATEWAY_REDIS__URL=url, GATEWAY_AUTH__PREVIOUS_SECRET="p" * 40)
    assert "redis://user:***@" in done.out
    for secret in (SECRET, "hunter2", "p" * 40):
        assert secret not in done.out + done.err


async def test_it_says_what_redis_is(config):
    done = await config.gateway("check")
    assert "✓ Valkey 9" in done.out
    assert "✓ its maxmemory-policy is noeviction" in done.out
    assert "! Redis keeps no append-only file" in done.out
    assert done.out.endswith("✓ no error, 1 warning\n")


async def test_a_redis_that_does_not_answer_is_a_warning(config):
    done = await config.gateway("check", GATEWAY_REDIS__URL=NO_REDIS)
    assert done.status == 0
    assert "does not answer, and serve would not start" in done.out


async def test_eviction_is_an_error_unless_it_is_allowed(config):
    with RedisServer(maxmemory_policy="allkeys-lru") as server:
        done = await config.gateway("check", GATEWAY_REDIS__URL=server.url)
        allowed = await config.gateway("check", GATEWAY_REDIS__URL=server.url, GATEWAY_REDIS__ALLOW_EVICTION="true")
    assert done.status == 1
    assert "✗ its maxmemory-policy is allkeys-lru" in done.out
    assert allowed.status == 0
    assert "! its maxmemory-policy is allkeys-lru" in allowed.out


async def test_production_without_a_key_is_refused_by_check_and_by_serve(bare_shell, redis_url):
    checked = await bare_shell.gateway("check", GATEWAY_REDIS__URL=redis_url)
    served = await bare_shell.gateway("serve", GATEWAY_REDIS__URL=redis_url, GATEWAY_LISTEN__PORT=str(free_port()))
    assert (checked.status, served.status) == (1, 1)
    assert "✗ auth.secret: no key: set auth.secret, auth.public_keys or auth.jwks_url" in checked.out
    assert "gateway: auth.secret: no key" in served.err


async def test_a_public_key_that_is_none_is_an_error(bare_shell, redis_url):
    (bare_shell.folder / "key.pem").write_text("no key")
    environ = {"GATEWAY_AUTH__PUBLIC_KEYS": '["key.pem"]', "GATEWAY_AUTH__ALGORITHMS": '["RS256"]'}
    done = await bare_shell.gateway("check", GATEWAY_REDIS__URL=redis_url, **environ)
    assert done.status == 1
    assert "✗ auth.public_keys: not a public key in PEM form" in done.out


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("listn: {}", "gateway: listn: is not a setting; there are: mode,"),
        ("listen: {port: many}", "gateway: listen.port:"),
        ("auth: {secret: short}", "gateway: auth.secret: use at least 32 bytes"),
        ("listen: [", "gateway.yaml: is not YAML"),
        ("mode: dev\nlisten: {host: 0.0.0.0}", "gateway: listen.host: dev mode listens on a loopback address only"),
        ("redis: {url: 'http://x'}", "gateway: redis.url: use a redis://"),
    ],
)
async def test_what_cannot_be_loaded_is_named(bare_shell, yaml, said):
    (bare_shell.folder / "gateway.yaml").write_text(yaml)
    done = await bare_shell.gateway("check", "-c", "gateway.yaml")
    assert (done.status, done.out) == (1, "")
    assert said in done.err


async def test_dev_mode_needs_nothing_and_leaves_nothing(bare_shell):
    (bare_shell.folder / "dev.yaml").write_text("mode: dev")
    done = await bare_shell.gateway("check", "-c", "dev.yaml")
    assert done.status == 0
    assert "an embedded Redis starts with the gateway; it does not run now" in done.out
    assert "everybody may join any group" in done.out
    assert not (bare_shell.folder / ".tidegate").exists()


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("mode: dev\nlisten: {port: 9000}\nhttp: {port: 9000}", "http.port: is 9000, as listen.port is"),
        ("mode: dev\nstate_dir: /proc/x/y", "state_dir: /proc/x/y cannot be used: No such file or directory"),
        ("mode: dev\nstate_dir: dev.yaml", "state_dir: dev.yaml cannot be used: File exists"),
    ],
)
async def test_what_serve_refuses_at_once_is_an_error(bare_shell, yaml, said):
    (bare_shell.folder / "dev.yaml").write_text(yaml)
    checked = await bare_shell.gateway("check", "-c", "dev.yaml")
    served = await bare_shell.gateway("serve", "-c", "dev.yaml")
    assert (checked.status, served.status) == (1, 1)
    assert said in checked.out
    assert f"gateway: {said}" in served.err


async def test_each_of_several_problems_is_a_line_of_the_gateway(bare_shell):
    (bare_shell.folder / "gateway.yaml").write_text("mode: x\nlisten: {port: x}")
    done = await bare_shell.gateway("check", "-c", "gateway.yaml")
    assert [line[:15] for line in done.err.splitlines()] == ["gateway: mode: ", "gateway: listen"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serve", "--workers", "x"), "argument --workers: use 1 to 256"),
        (("bench", "--clients", "x"), "argument --clients: use 1 to 200000"),
        (("bench", "--rate", "x"), "argument --rate: use a number above 0, up to a million"),
    ],
)
async def test_count_that_is_no_number_is_told_what_may_be(bare_shell, arguments, said):
    done = await bare_shell.gateway(*arguments)
    assert done.status == 2
    assert said in done.err


async def test_it_is_coloured_on_a_terminal_only(config):
    async with config.terminal("check") as terminal:
        assert await terminal.ended() == 0
        assert "\x1b[1;32m✓ no error" in terminal.painted
    assert "\x1b" not in (await config.gateway("check")).out
    async with config.terminal("check", NO_COLOR="1") as terminal:
        assert await terminal.ended() == 0
        assert "\x1b" not in terminal.painted
