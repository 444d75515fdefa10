"""The HTTP API of real processes: alone, behind several workers, and with a key from the command line."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import yaml

from gateway.settings import load
from tests.docs.markdown import ROOT
from tests.integration.http.conftest import bearer, calling
from tests.integration.http.test_credentials import ALL, MESSAGE, assert_problem
from tests.support.clients import connected
from tests.support.gateway import ApiProcess, GatewayProcess
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import wait_until


def make_key(*arguments):
    """Run `gateway apikey`; return the key, and the settings that go with it."""
    command = [sys.executable, "-m", "gateway", "apikey", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    key, _, settings = done.stdout.partition("\n")
    return key, yaml.safe_load(settings)


def test_apikey_prints_a_new_key_and_the_settings_for_it():
    key, settings = make_key("billing", "--tenant", "acme")
    (entry,) = load(**settings).http.api_keys
    assert (entry.name, entry.tenant) == ("billing", "acme")
    assert len(key) > 40
    assert key not in str(settings)
    assert make_key("billing")[0] != key


def test_apikey_refuses_a_name_that_the_settings_would_refuse():
    command = [sys.executable, "-m", "gateway", "apikey", "a b"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("gateway: name: ")


async def test_the_api_alone_pushes_to_another_processs_sockets(redis_url):
    key, settings = make_key("billing")
    api_keys = settings["http"]["api_keys"]
    async with (
        GatewayProcess(redis_url, http__enabled=False) as gateway,
        ApiProcess(redis_url, http__api_keys=api_keys, log__partitions=1) as api,
        connected(gateway, "42") as client,
        calling(api.http_url, **{"X-API-Key": key}) as service,
    ):
        answer = await service.post("/message/push/user", json={"user_id": "42", **MESSAGE})
        assert answer.status_code == 202
        frame = await client.next("e")
        assert (frame.data, frame.id) == (1, answer.json()["id"])
        assert (await service.get("/ready")).json() == {"ready": True, "reasons": []}
        stats = (await service.get("/stats")).json()
        assert stats["instance"]["http_published"] == 1
        assert [each["id"] for each in stats["cluster"]["instances"]] == [gateway.instance_id]
        assert await api.terminate() == 0


async def test_the_api_alone_learns_of_revocations(redis_url):
    async with ApiProcess(redis_url) as api, calling(api.http_url) as service:
        headers = bearer(jti="svc-1")
        assert (await service.post("/api/v1/tokens/svc-1/revoke", headers=headers)).status_code == 202

        async def is_refused():
            return (await service.get("/ready", headers=headers)).status_code == 401

        await wait_until(is_refused)
        assert (await service.get("/ready", headers=bearer(jti="svc-2"))).status_code == 200


async def test_the_api_alone_survives_redis():
    with RedisServer(appendonly="yes") as redis:
        async with ApiProcess(redis.url) as api, calling(api.http_url, **bearer()) as service:
            redis.kill()
            assert_problem(await service.post(ALL, json=MESSAGE), 503)

            async def status():
                return (await service.get("/ready")).status_code

            async def is_unready():
                return await status() == 503

            async def is_ready():
                return await status() == 200

            await wait_until(is_unready)
            redis.start()
            await wait_until(is_ready)
            assert (await service.post(ALL, json=MESSAGE)).status_code == 202


async def test_the_api_alone_does_not_start_without_redis():
    api = ApiProcess("redis://127.0.0.1:1")
    api.launch()
    try:
        assert await api.wait() == 1
        assert "redis.url" in api.log
    finally:
        await api.remove()


async def test_workers_share_the_port(redis_url):
    port = free_port()
    async with GatewayProcess(redis_url, workers=2, listen__port=free_port(), http__port=port) as gateway:
        url = f"http://127.0.0.1:{port}"

        async def answering():
            async with calling(url, **bearer()) as service:
                return (await service.get("/stats")).json()["instance"]["id"]

        names = set()

        async def both_answered():
            names.update(await asyncio.gather(*(answering() for _ in range(8))))
            return len(names) == 2

        await wait_until(both_answered)
        async with connected(gateway, "42") as client, calling(url, **bearer()) as service:
            for _ in range(2):
                assert (await service.post(ALL, json=MESSAGE)).status_code == 202
            await client.received(2)


async def test_a_taken_port_is_named(redis_url):
    async with GatewayProcess(redis_url) as first:
        port = first.log_events("listening")[-1]["http_port"]
        second = GatewayProcess(redis_url, http__port=port)
        second.launch()
        try:
            assert await second.wait() == 1
            assert f"http.port: cannot listen on 127.0.0.1:{port}" in second.log
        finally:
            await second.remove()


async def test_a_request_in_flight_ends_before_the_gateway_does(redis_url):
    async with GatewayProcess(redis_url) as gateway:
        port = gateway.log_events("listening")[-1]["http_port"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"event": "e", "data": 1}'
        token = bearer()["Authorization"]
        head = f"POST {ALL} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[:5])
        await writer.drain()
        async with calling(f"http://127.0.0.1:{port}") as anybody:  # so the gateway has read what came before
            await anybody.get("/health")
        ended = asyncio.create_task(gateway.terminate())
        await wait_until(lambda: gateway.log_events("stopping"))
        writer.write(body[5:])
        async with asyncio.timeout(30):
            assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()
        assert await ended == 0
