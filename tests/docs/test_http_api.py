"""docs/http-api.md: its commands are run, in order and in one shell, and its tables compared with the routes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import sys

import httpx
import pytest
import yaml

from gateway.settings import load
from publisher import Cursor
from tests.docs.markdown import ROOT, blocks, table_rows
from tests.support.clients import connected
from tests.support.gateway import SECRET, running_gateway

PAGE = "docs/http-api.md"
KEY = "password"  # whose hash the page shows


@pytest.fixture
async def gateway(redis_url):
    (example,) = blocks(PAGE, "yaml")
    keys = load(**yaml.safe_load(example.text)).http.api_keys
    async with running_gateway(
        redis_url,
        presence__groups=["*"],
        presence__leave_grace_s=600,  # the page kicks 42, and goes on to ask who is online
        http__docs=True,
        http__api_keys=[key.model_dump() for key in keys],
    ) as running:
        yield running


def commands():
    """Return the page's shell commands, one each."""
    text = "".join(block.text for block in blocks(PAGE, "sh"))
    return text.replace("\\\n", " ").splitlines()


async def shell(script, folder):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "TIDEGATE_"))}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", script),
        env={**environ, "PYTHONPATH": str(ROOT), "GATEWAY_AUTH__SECRET": SECRET, "API_KEY": KEY},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, script
    return output.decode()


async def test_the_commands_do_what_the_page_says(gateway, tmp_path):
    python = f"{shlex.quote(sys.executable)} -m gateway"
    begin = "\n".join(line for line in commands() if line.startswith("export"))
    begin = begin.replace("$(gateway", f"$({python}").replace("http://127.0.0.1:8890", gateway.http_url)
    begin += "\ncurl() { command curl --silent --show-error --fail-with-body --noproxy '*' \"$@\"; echo; }"
    calls = [line for line in commands() if line.startswith("curl")]
    async with connected(gateway, "42", claims={"tags": ["vip"], "topics": ["org_event"]}) as client:
        answers = (await shell("\n".join([begin, *calls]), tmp_path)).splitlines()
        assert await client.closed() == (4403, "kicked")
    assert len(answers) == len(calls)
    for call, answer in zip(calls, map(json.loads, answers), strict=True):
        if "/message/clients" in call:
            assert (answer["silent"], answer["total"]) == ([], 1)
        elif "/message/push/batch" in call:
            assert (answer["stored"], answer["failed"]) == (2, 0)
        elif "/history" in call:
            assert answer == {"messages": [], "has_more": False}
        elif "/notifications" in call and "-d" not in call:
            assert "unread_count" in answer
        elif "user_ids" in call and "/notifications" in call:
            assert all(map(Cursor.parse, answer["ids"]))
        elif "/api/v1/access" in call and "-d" not in call:
            assert [rule["network"] for rule in answer["rules"]] == ["203.0.113.0/24"]
        elif "/online" in call or "/presence" in call:
            assert "42" in json.dumps(answer) or "chat-1" in json.dumps(answer)
        elif ("/members" in call or "/groups" in call) and "-X" not in call:
            assert answer.get("user_ids") == ["42"] or answer["group_ids"] == ["ops"]
        elif "/message" in call or "/api/v1" in call:
            assert Cursor.parse(answer["id"])
    # When an inbox is written, and marked, is not for this page to say.
    assert [kind for kind, _ in client.events if kind != "unread_count"] == [
        *(
            "order.shipped",
            "data_update",
            "hello",
            "offer",
            "org_event",
            "system_message",
            "a",
            "b",
            "order.shipped",
            "notification",
            "notification",
        )
    ]


async def test_the_apikey_command_prints_lines_as_the_page_shows_them(tmp_path):
    (line,) = [line for line in commands() if line.startswith("gateway apikey")]
    output = await shell(line.replace("gateway", f"{sys.executable} -m gateway", 1), tmp_path)
    (example,) = blocks(PAGE, "yaml")
    shown = yaml.safe_load(output.partition("\n")[2])
    shown["http"]["api_keys"][0]["hash"] = yaml.safe_load(example.text)["http"]["api_keys"][0]["hash"]
    assert shown == yaml.safe_load(example.text)


async def test_the_tables_list_every_route_and_what_it_takes(gateway):
    async with httpx.AsyncClient(trust_env=False) as client:
        document = (await client.get(f"{gateway.http_url}/openapi.json")).json()
    rows = {row[0]: row[1] for row in table_rows(PAGE) if row[0].startswith("/message/push")}
    assert set(rows) == {path for path in document["paths"] if path.startswith("/message/push")}
    for path, shown in rows.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        fields = document["components"]["schemas"][schema["$ref"].split("/")[-1]]["properties"]
        assert set(re.findall(r"\w+", shown)) - {"the", "same"} <= set(fields), path


def test_the_page_names_the_other_routes():
    text = (ROOT / PAGE).read_text()
    users = ("/users/42/kick", "/users/42/revoke", "/clients/", "/tokens/", "/message/clients")
    groups = ("/groups/{group_id}/members", "/groups/{group_id}/members/{user_id}", "/users/{user_id}/groups")
    rest = ("/receipts/", "/health", "/ready", "/stats", "/metrics", "/history", "/api/v1/access")
    for path in (*users, *groups, *rest):
        assert path in text


async def test_every_route_of_notifications_is_listed(gateway):
    async with httpx.AsyncClient(trust_env=False) as client:
        document = (await client.get(f"{gateway.http_url}/openapi.json")).json()
    prefix = "/api/v1/notifications"
    routes = {
        f"{method.upper()} {path.replace('{notification_id}', '{id}')}"
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith(prefix)
    }
    assert routes - {f"POST {prefix}"} == {row[0] for row in table_rows(PAGE) if prefix in row[0]}
