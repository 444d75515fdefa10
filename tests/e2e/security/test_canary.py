"""
What must not be seen: secrets and payloads, in no log at any level, in no error answer, not by `gateway check`.

And what must not be done: writing a line, or moving a cursor, in the operators' log by choosing a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets

from publisher import Publisher
from tests.support.clients import connected, opened
from tests.support.gateway import SECRET, GatewayProcess, make_token
from tests.support.redis_server import RedisServer
from tests.support.terminal import Piped, clean_environment
from tests.support.waiting import wait_until

PASSWORD = "canary-password-of-redis"
PAYLOAD = "canary-payload-of-a-user"
API_KEY = "tg_canary-key-of-a-service"
KEYS = [{"name": "svc", "hash": hashlib.sha256(API_KEY.encode()).hexdigest(), "scopes": ["push", "admin"]}]

# What ends a line, moves a cursor, recolours, hides, or turns the reading direction: C0, C1, separators, bidi, and a
# forged line of our own form.
NASTY = "x\x9b31m\x85\u2028\u2029\u202e\u2066\u200b\ufeff"
FORGED = '2026-01-01T00:00:00Z [info] connection_opened user=admin {"event": "forged"}'
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture
def redis_with_password() -> Any:
    with RedisServer() as server:
        with server.client() as client:
            client.config_set("requirepass", PASSWORD)
        yield server


def ports(log: str) -> list[int]:
    """Return the ports of a gateway, for sockets and for HTTP, from its log, whatever its form, once they are there."""
    found = [re.search(rf"\W{name}\W+(\d+)\D", log) for name in ("port", "http_port")]
    return [int(one[1]) for one in found if one is not None]


class Console(GatewayProcess):
    """A gateway whose log is for people."""

    async def start(self, *, timeout_s: float = 60, ready: bool = True) -> Console:
        self.launch()
        await wait_until(lambda: self._alive() and len(ports(self.log)) == 2, timeout_s)
        self._settings["listen__port"] = ports(self.log)[0]
        return self


@contextlib.asynccontextmanager
async def talkative(url: str, form: str, **settings: Any) -> AsyncIterator[tuple[GatewayProcess, str]]:
    """Run a gateway; give it and the address of its HTTP API."""
    own = {"logging__level": "debug", "logging__format": form, "http__api_keys": KEYS, "http__docs": True}
    kind = Console if form == "console" else GatewayProcess
    async with kind(url, **{**own, **settings}) as gateway:
        yield gateway, f"http://127.0.0.1:{ports(gateway.log)[1]}"


async def use_everything(gateway: GatewayProcess, http: str, tokens: list[str]) -> list[str]:
    """Do what succeeds and what fails, with the canaries in it; return all error answers."""
    errors: list[str] = []
    good, expired = tokens
    async with connected(gateway, token=good) as client:
        for kind, data in (
            ("send_message", {"group_id": "g", "content": PAYLOAD}),
            ("join_group", {"group_id": {"x": PAYLOAD}}),
            ("send_message", {"group_id": "g", "content": {"a": [PAYLOAD] * 5}, "msg_type": [PAYLOAD]}),
            ("auth", {"token": good, "cursor": PAYLOAD}),
            ("add_tag", [PAYLOAD]),
        ):
            reply = await client.send(kind, data)
            errors += [json.dumps(reply.data)] if reply.type == "error" else []
        await client.socket.send('{"type": "echo", "data": "' + PAYLOAD)  # not JSON
        await client.socket.send('{"message_id": "' + PAYLOAD)
        await client.until(lambda: len([f for f in client.of_type("error") if f.message_id is None]) == 2)
        errors += [json.dumps(frame.data) for frame in client.of_type("error")]
    async with opened(gateway) as client:
        errors.append(json.dumps((await client.send("auth", {"token": expired})).data))
    for options in (
        {"query": f"token={expired}"},
        {"query": f"token={expired}&cursor={PAYLOAD}", "additional_headers": {"Origin": f"https://{PAYLOAD}"}},
        {"additional_headers": {"Authorization": f"Bearer {expired}"}},
        {"subprotocols": ["tidegate.v1", f"bearer.{expired}"]},
    ):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with opened(gateway, **options):  # type: ignore[arg-type]
                pass
        errors.append((refused.value.response.body or b"").decode())
    return errors + await use_http(http, tokens)


async def use_http(http: str, tokens: list[str]) -> list[str]:
    good, expired = tokens
    errors = []
    body = {"event": "e", "data": PAYLOAD}
    async with httpx.AsyncClient(base_url=http, trust_env=False, timeout=30) as client:
        key = {"X-API-Key": API_KEY}
        assert (await client.post("/message/push/all", json=body, headers=key)).status_code == 202
        calls: list[tuple[str, dict[str, Any]]] = [
            ("/message/push/all", {"headers": {"Authorization": f"Bearer {expired}"}, "json": body}),
            ("/message/push/all", {"headers": {"Authorization": f"Bearer {good}"}, "json": body}),
            ("/message/push/all", {"headers": {"X-API-Key": API_KEY + "x"}, "json": body}),
            (f"/message/push/all?token={good}&api_key={API_KEY}", {"json": body}),
            ("/message/push/all", {"headers": key, "content": '{"event": "e", "data": "' + PAYLOAD}),
            ("/message/push/all", {"headers": key, "json": {"event": [PAYLOAD], "data": 1}}),
            ("/message/push/user", {"headers": key, "json": {**body, "user_id": {"x": PAYLOAD}}}),
            ("/message/push/all", {"headers": key, "json": {**body, "priority": PAYLOAD, "expires_in": PAYLOAD}}),
            ("/message/push/all", {"headers": key, "json": {**body, "tenant": PAYLOAD}}),
            ("/message/push/all", {"headers": key, "json": {**body, "data": PAYLOAD * 20_000}}),
            ("/message/push/all", {"headers": {**key, "Idempotency-Key": PAYLOAD * 50}, "json": body}),
            ("/message/push/batch", {"headers": key, "json": {"events": [{"to": PAYLOAD, **body}]}}),
            ("/api/v1/access", {"headers": key, "json": {"action": "block", "network": PAYLOAD}}),
            (f"/nowhere/{good}", {"headers": key, "json": body}),
        ]
        for path, options in calls:
            answer = await client.post(path, **options)
            if answer.status_code >= 400 or "problem" in answer.text:
                errors.append(answer.text)
    assert len(errors) == len(calls)
    return errors


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_canary_is_seen(redis_with_password: RedisServer, form: str) -> None:
    url = redis_with_password.url.replace("//", f"//:{PASSWORD}@")
    tokens = [make_token("42", name="Ada"), make_token("42", exp=time.time() - 10)]
    async with talkative(url, form) as (gateway, http):
        errors = await use_everything(gateway, http, tokens)
        redis_with_password.kill()  # and now all that can be said of Redis
        async with connected(gateway, token=tokens[0]) as client, httpx.AsyncClient(trust_env=False, timeout=30) as api:
            await client.send("join_group", {"group_id": "g"})
            reply = await client.send("send_message", {"group_id": "g", "content": PAYLOAD})
            errors.append(json.dumps(reply.data))
            body = {"event": "e", "data": PAYLOAD}
            headers = {"X-API-Key": API_KEY}
            errors.append((await api.post(f"{http}/message/push/all", json=body, headers=headers)).text)
            errors.append((await api.get(f"{http}/stats", headers=headers)).text)
        await wait_until(lambda: "log_unreachable" in gateway.log)
        status, ready = await gateway.ready()
        assert status == 503
        log = gateway.log
    canaries = [PASSWORD, PAYLOAD, API_KEY, KEYS[0]["hash"], SECRET]
    canaries += [part for token in tokens for part in token.split(".")[1:]]
    for canary in canaries:
        assert str(canary) not in log
        assert [error for error in [*errors, json.dumps(ready)] if str(canary) in error] == []


async def test_a_wrong_password_is_not_shown(redis_with_password: RedisServer) -> None:
    gateway = GatewayProcess(redis_with_password.url.replace("//", "//user:canary-wrong@"), logging__level="debug")
    try:
        gateway.launch()
        assert await gateway.wait() == 1
        assert "canary" not in gateway.log
        assert "redis.url" in gateway.log
    finally:
        await gateway.remove()


@pytest.mark.parametrize("scheme", ["redis://user:{}@{}", "redis://:{}@{}", "redis://{1}?password={0}"])
async def test_check_shows_no_secret(redis_with_password: RedisServer, tmp_path: Path, scheme: str) -> None:
    url = scheme.format(PASSWORD, redis_with_password.url.removeprefix("redis://"))
    environ = clean_environment(
        GATEWAY_REDIS__URL=url,
        GATEWAY_AUTH__SECRET=SECRET,
        GATEWAY_AUTH__PREVIOUS_SECRET=SECRET[::-1],
        GATEWAY_HTTP__API_KEYS=json.dumps(KEYS),
    )
    async with Piped([sys.executable, "-m", "gateway", "check"], cwd=tmp_path, environ=environ) as checking:
        await checking.ended()
    for canary in (PASSWORD, SECRET, SECRET[::-1], KEYS[0]["hash"]):
        assert str(canary) not in checking.out + checking.err


# Injection


async def speak_nastily(gateway: GatewayProcess, http: str, url: str) -> None:
    """Put what is nasty wherever a peer chooses a text."""
    user = f"u{NASTY}{FORGED}"
    claims = {"name": NASTY, "groups": [NASTY], "tags": [NASTY], "jti": f"j{FORGED}"}
    nasty = {"additional_headers": {"User-Agent": FORGED, "X-Forwarded-For": f"{FORGED}, nobody"}}
    async with connected(gateway, user, claims=claims, **nasty) as client, Publisher(url) as tide:
        for kind, data in (
            ("join_group", {"group_id": NASTY + FORGED}),
            (NASTY + FORGED, NASTY),
            ("add_tag", {"tag": NASTY}),
        ):
            await client.send(kind, data)
        await tide.kick(client=client.client_id, reason="Bye. " + FORGED)
        await client.closed()
    for origin in (f"https://x{FORGED}", "null"):
        with contextlib.suppress(websockets.WebSocketException, OSError):
            async with opened(gateway, additional_headers={"Origin": origin}):
                pass
    lines = ["/%0a" + quote(FORGED), "/%1b%5b31m%c2%9b%e2%80%a8", "/x\x1b[31m", "/" + quote(NASTY), "/%ff%fe"]
    http_port = int(http.rpartition(":")[2])
    for port in (gateway.port, http_port):
        for path in lines:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            agent = f"User-Agent: {FORGED}\x9b31m\r\nX-API-Key: {API_KEY}\r\nX-Forwarded-For: \x9b31m\r\n"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\x9b\r\n{agent}\r\n".encode("latin-1"))
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    await reader.read(1_000)
            writer.close()
    async with httpx.AsyncClient(base_url=http, trust_env=False, timeout=30) as api:
        for path in (f"/api/v1/users/{quote(NASTY)}/kick", f"/api/v1/users/{quote(FORGED)}/revoke"):
            await api.post(path, headers={"X-API-Key": API_KEY})


@pytest.mark.parametrize("form", ["json", "console"])
async def test_no_name_writes_a_line_of_the_log(redis_url: str, redis_server: RedisServer, form: str) -> None:
    async with talkative(redis_url, form, listen__trusted_proxies=["127.0.0.1"]) as (gateway, http):
        await speak_nastily(gateway, http, redis_url)
        with redis_server.client() as client:  # what is on the log was not checked by us
            fields = {"v": "1", "t": "default", "to": '["all"]', "e": "kick", "m": "m", "k": "control"}
            client.xadd("tg:{events:0}", {**fields, "d": f"{NASTY}\n{FORGED}\x1b[31m"})
            client.xadd("tg:{events:0}", {**fields, "e": f"{NASTY}\n{FORGED}\x1b[31m", "d": "{}"})
            client.zadd("tg:{events:0}:access", {f"block \n{FORGED}\x1b[31m": 4e12})
        await wait_until(lambda: gateway.log.count("poison_entry") == 2)
        log = gateway.log
        assert FORBIDDEN.search(log) is None, repr(FORBIDDEN.search(log))
        lines = log.splitlines()
        assert "connection_opened" in log
        assert "http_request" in log
        assert all(len(line) < 2_000 for line in lines)
        if form == "json":
            events = {json.loads(line)["event"] for line in lines}
            assert {event for event in events if not re.fullmatch(r"[a-z_]+", event)} == set()
            assert "forged" not in events
        else:
            ours = re.compile(r"20\d\d-\d\d-\d\d[T ]\S+ \[\w+ *\] [a-z_]+ ")
            assert [line for line in lines if not ours.match(line)] == []
            assert [line for line in lines if line.startswith("2026-01-01T00:00:00Z")] == []
