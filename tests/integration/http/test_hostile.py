"""Requests that are broken, huge, deep, slow or of the wrong kind."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.integration.http.conftest import bearer, calling
from tests.integration.http.test_credentials import ALL, MESSAGE, assert_problem
from tests.support.gateway import running_gateway

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"event": "e", "data": NaN}',
        b'{"event": "e", "data": 1e400}',
        b'{"event": "e", "data": "\xff"}',
        b'{"event": "e", "data": "\\ud800"}',
        b'{"event": "e", "data": 1} x',
        b'\xef\xbb\xbf{"event": "e", "data": 1}',
        b'{"event": "e", "event": "f", "data": 1}',
        b'{"event": "e", "data": 1, "data": 2}',
        b'{"event": "e", "data": 1, "x": ' + b"9" * 5_000 + b"}",
        b'{"event": "e", "data": ' + b"[" * 70 + b"]" * 70 + b"}",
        b"[" * 100_000,
    ],
)
async def test_what_is_not_json_is_400(service, body):
    answer = await service.post(ALL, content=body, headers=JSON)
    assert_problem(answer, 400 if body else 422)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("all", 7, "body"),
        ("all", "text", "body"),
        ("all", [MESSAGE], "body"),
        ("all", {}, "body.event"),
        ("all", {"event": "e"}, "body.data"),
        ("all", {"event": "", "data": 1}, "body.event"),
        ("all", {"event": 7, "data": 1}, "body.event"),
        ("all", {"event": "x" * 129, "data": 1}, "body.event"),
        ("all", {"event": "a\nb", "data": 1}, "body.event"),
        ("all", {**MESSAGE, "expires_in": -1}, "body.expires_in"),
        ("all", {**MESSAGE, "priority": "high"}, "body.priority"),
        ("all", {**MESSAGE, "exclude": ["somebody"]}, "body.exclude.0"),
        ("user", MESSAGE, "body.user_id"),
        ("user", {"user_id": "", **MESSAGE}, "body.user_id"),
        ("user", {"user_id": True, **MESSAGE}, "body.user_id"),
        ("user", {"user_id": 2**64, **MESSAGE}, "body.user_id"),
        ("user", {"user_id": "a\u0000", **MESSAGE}, "body.user_id"),
        ("user", {"user_id": ["1"], **MESSAGE}, "body.user_id"),
        ("users", {"user_ids": [], **MESSAGE}, "body.user_ids"),
        ("users", {"user_ids": ["1", None], **MESSAGE}, "body.user_ids.1"),
        ("users", {"user_ids": "1", **MESSAGE}, "body.user_ids"),
        ("tag", {"tag": "x" * 257, **MESSAGE}, "body.tag"),
        ("custom", {"target_type": "planet", **MESSAGE}, "body.target_type"),
        ("org", {"org_id": 1.5, "action": "created"}, "body.org_id.str"),
        ("org", {"org_id": "7", "action": "created", "org_info": []}, "body.org_info"),
        ("system/notice", {"content": ""}, "body.title"),
        ("system/maintenance", {"title": "x", "content": "", "affected_services": "all"}, "body.affected_services"),
    ],
)
async def test_a_field_that_does_not_hold_is_named(service, path, body, field):
    answer = await service.post(f"/message/push/{path}", content=json.dumps(body), headers=JSON)
    problem = assert_problem(answer, 422)
    assert field in [error["field"] for error in problem["errors"]]


async def test_a_422_does_not_send_back_what_was_sent(service):
    answer = await service.post("/message/push/user", json={"user_id": {"password": "hunter2"}, **MESSAGE})
    assert "hunter2" not in answer.text


async def test_data_over_64_levels_deep_is_refused(service):
    answer = await service.post(ALL, content=b'{"event": "e", "data": ' + b"[" * 65 + b"]" * 65 + b"}", headers=JSON)
    assert "64 levels" in assert_problem(answer, 422)["detail"]


@pytest.mark.parametrize("path", ["all", "users"])
async def test_an_event_over_256_kib_is_413(service, path):
    body = {"event": "e", "data": "x" * 262_144, "user_ids": [str(number) for number in range(20)]}
    assert_problem(await service.post(f"/message/push/{path}", json=body), 413)


async def test_a_body_over_the_limit_is_413_before_it_has_come(gateway):
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.application.http_port)
    token = bearer()["Authorization"]
    writer.write(
        f"POST {ALL} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nExpect: 100-continue\r\n"
        f"Content-Length: {10**12}\r\n\r\n".encode()
    )
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_body_without_a_length_is_counted(redis_url):
    async def chunks():
        for _ in range(64):
            yield b" " * 1_024

    async with (
        running_gateway(redis_url, http__max_body_bytes=16_384) as gateway,
        calling(gateway.http_url, **bearer()) as service,
    ):
        assert_problem(await service.post(ALL, content=chunks(), headers=JSON), 413)
        assert (await service.post(ALL, json=MESSAGE)).status_code == 202


async def test_a_body_that_does_not_come_is_408(redis_url, monkeypatch):
    monkeypatch.setattr("gateway.http.gate._DRAIN_S", 0.1)
    async with running_gateway(redis_url, http__body_timeout_s=0.1) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.application.http_port)
        token = bearer()["Authorization"]
        writer.write(
            f"POST {ALL} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 9\r\n\r\n{{".encode()
        )
        async with asyncio.timeout(30):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_a_body_of_another_media_type_is_415(service):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"):
        answer = await service.post(ALL, content=json.dumps(MESSAGE), headers={"Content-Type": kind})
        assert_problem(answer, 415)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/problem+json", None])
async def test_json_is_taken_by_any_of_its_names(service, kind):
    headers = {"Content-Type": kind} if kind else {}
    answer = await service.post(ALL, content=json.dumps(MESSAGE).encode(), headers=headers)
    assert answer.status_code == 202


@pytest.mark.parametrize(("method", "path", "status"), [("GET", ALL, 405), ("PUT", "/stats", 405), ("POST", "/x", 404)])
async def test_unknown_paths_and_methods_are_problems(service, method, path, status):
    assert_problem(await service.request(method, path), status)


async def test_too_many_connections_at_once_are_503_and_as_many_as_allowed_are_not(redis_url):
    async with running_gateway(redis_url, http__connections=2) as gateway, contextlib.AsyncExitStack() as stack:
        for status in (200, 200, 503):
            anybody = await stack.enter_async_context(calling(gateway.http_url))
            assert (await anybody.get("/health")).status_code == status


async def test_too_many_requests_at_once_are_503(redis_url):
    async with running_gateway(redis_url, http__connections=2) as gateway, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.application.http_port)
            stack.callback(writer.close)
            writer.write(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            await writer.drain()
        anybody = await stack.enter_async_context(calling(gateway.http_url))
        assert (await anybody.get("/health")).status_code == 503


async def test_a_connection_without_a_request_is_ended(gateway, monkeypatch):
    monkeypatch.setattr("gateway.http.server._SILENT_FOR_S", 0.1)
    monkeypatch.setattr("gateway.http.server._SWEEP_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.application.http_port)
    writer.write(b"GET /health HTTP/1.1\r\nX-Drip: ")
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_a_bug_is_a_problem_and_one_log_line(gateway, service, monkeypatch, capfd):
    async def broken(*_):
        raise ZeroDivisionError("the-secret-of-the-bug")

    monkeypatch.setattr("gateway.http.push.Push.__call__", broken)
    answer = await service.post(ALL, json=MESSAGE)
    assert "secret" not in assert_problem(answer, 500)["detail"]
    assert "".join(capfd.readouterr()).count("http_request_failed") == 1


async def test_a_user_whose_name_has_a_slash_can_be_kicked(service, gateway):
    assert (await service.post("/api/v1/users/a%2Fb/kick")).status_code == 202
