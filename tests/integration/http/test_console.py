"""The console over HTTP: what is served to whom, how strictly, and who gets a token."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import httpx
import pytest

from gateway.commands.description import COMMANDS
from gateway.http import console_routes
from gateway.http.console_routes import CONFIG_PATH, PAGE_PATH, TOKEN_PATH
from tests.integration.http.conftest import bearer, calling
from tests.support.clients import connected
from tests.support.gateway import running_gateway
from tests.support.waiting import wait_until

ROOT = Path(console_routes.__file__).parents[2]
SCRIPTS = sorted((Path(console_routes.__file__).with_name("static") / "console").glob("*.js"))
WANTED = {"user_id": "7", "name": "Ada", "groups": ["chat-1"], "scope": "push"}


@pytest.fixture
async def dev(redis_url):
    """A gateway in dev mode."""
    async with running_gateway(redis_url, mode="dev") as running:
        yield running


@pytest.fixture
async def page(dev):
    """Somebody without a credential, on the machine of `dev`."""
    async with calling(dev.http_url) as client:
        yield client


async def test_it_is_off_in_production(anybody):
    for path in (PAGE_PATH, CONFIG_PATH, "/console/console.js"):
        assert (await anybody.get(path)).status_code == 401
    assert (await anybody.post(TOKEN_PATH, json=WANTED)).status_code == 401


async def test_it_can_be_turned_on_in_production_without_making_tokens(redis_url):
    async with running_gateway(redis_url, http__console=True) as gateway, calling(gateway.http_url) as anybody:
        assert (await anybody.get(PAGE_PATH)).status_code == 200
        assert (await anybody.get(CONFIG_PATH)).json()["mints"] is False
        assert (await anybody.post(TOKEN_PATH, json=WANTED)).status_code == 401
        assert (await anybody.post(TOKEN_PATH, json=WANTED, headers=bearer())).status_code == 404


async def test_it_can_be_turned_off_in_dev_mode(redis_url):
    async with (
        running_gateway(redis_url, mode="dev", http__console=False) as gateway,
        calling(gateway.http_url) as anybody,
    ):
        assert (await anybody.get(PAGE_PATH)).status_code == 401


async def test_every_file_that_the_page_names_is_served(page):
    html = (await page.get(PAGE_PATH)).text
    named = set(re.findall(r'(?:src|href)="(console/[^"]+)"', html))
    assert {"console/console.js", "console/console.css", "console/theme.js", "console/icon.svg"} == named
    todo, seen = [f"/{name}" for name in named], set()
    while todo:
        path = todo.pop()
        seen.add(path)
        answer = await page.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"
        imported = {f"/console/{name}" for name in re.findall(r"from '\./([\w.]+)'", answer.text)}
        todo += imported - seen - set(todo)
    assert "/console/tidegate.js" in seen


async def test_its_policy_allows_nothing_but_itself(page, dev):
    policy = (await page.get(PAGE_PATH)).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == "'self'"
    assert rules["connect-src"] == f"'self' ws://127.0.0.1:{dev.port}"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"


async def test_the_page_has_no_inline_script_and_no_inline_style(page):
    html = (await page.get(PAGE_PATH)).text
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html) == []


async def test_no_script_of_it_writes_markup(page):
    scripts = [path for path in SCRIPTS if path.name != "tidegate.js"]
    assert len(scripts) > 10
    for script in scripts:
        source = (await page.get(f"/console/{script.name}")).text
        assert source
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", source) == []


def test_the_wheel_will_have_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    globs = project["tool"]["setuptools"]["package-data"]["gateway"]
    packed = {path for glob in globs for path in (ROOT / "gateway").glob(glob)}
    assert set(SCRIPTS) | {SCRIPTS[0].with_name("console.html"), SCRIPTS[0].with_name("console.css")} <= packed


async def test_the_configuration_names_the_endpoint_and_every_command(page, dev):
    config = (await page.get(CONFIG_PATH)).json()
    assert config["websocket_url"] == dev.url
    assert config["mints"] is True
    assert sorted(command["type"] for command in config["commands"]) == sorted(command.name for command in COMMANDS)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost:1", "ws://localhost"), ("[::1]:1", "ws://[::1]"), ("push.example.com", "ws://push.example.com")],
)
async def test_the_endpoint_is_on_the_host_of_the_page(page, dev, host, expected):
    config = (await page.get(CONFIG_PATH, headers={"Host": host})).json()
    assert config["websocket_url"] == f"{expected}:{dev.port}/ws"


@pytest.mark.parametrize("host", ["evil;script-src *", "a b", "x'y", "", "a" * 300, "evil.example, b"])
async def test_a_hostile_host_gets_nothing_into_the_policy(page, dev, host):
    try:
        answer = await page.get(PAGE_PATH, headers={"Host": host})
    except httpx.RemoteProtocolError:
        return  # the server refuses it before us
    if answer.status_code == 200:
        assert f"connect-src 'self' ws://127.0.0.1:{dev.port};" in answer.headers["content-security-policy"]


async def test_the_endpoint_can_be_configured(redis_url):
    url = "wss://push.example.com/ws"
    async with (
        running_gateway(redis_url, http__console=True, http__websocket_url=url) as gateway,
        calling(gateway.http_url) as anybody,
    ):
        assert (await anybody.get(CONFIG_PATH)).json()["websocket_url"] == url
        policy = (await anybody.get(PAGE_PATH)).headers["content-security-policy"]
        assert "connect-src 'self' wss://push.example.com;" in policy


# Tokens.


async def test_dev_mode_makes_a_token_that_works(page, dev):
    answer = await page.post(TOKEN_PATH, json=WANTED, headers={"Origin": dev.http_url})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    async with connected(dev, token=answer.json()["token"]) as client:
        info = (await client.send("get_client_info")).data
    assert (info["user_id"], info["name"], info["groups"]) == ("7", "Ada", ["chat-1"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1.evil.example:8890"},
        {"Host": ""},
    ],
)
async def test_no_other_page_gets_a_token(page, headers):
    answer = await page.post(TOKEN_PATH, json=WANTED, headers=headers)
    assert answer.status_code in (400, 403), answer.text
    assert "token" not in answer.json() if answer.status_code == 403 else True


async def test_a_form_of_another_page_is_no_request_for_a_token(page):
    answer = await page.post(TOKEN_PATH, content=b'{"user_id": "7"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code in (415, 422)


@pytest.mark.parametrize(
    "wanted",
    [{}, {"user_id": ""}, {"user_id": "a\x00b"}, {**WANTED, "ttl_s": 1e7}, {**WANTED, "ttl_s": -1}, {**WANTED, "x": 1}],
)
async def test_a_token_that_would_be_refused_is_not_made(page, wanted):
    answer = await page.post(TOKEN_PATH, json=wanted)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


# What it shows.


async def test_stats_say_how_far_each_instance_is_behind(service, gateway, other, tide):
    await tide.publish("notice", {}, to="all")

    async def read_by_all():
        stats = (await service.get("/stats")).json()
        lags = {instance["id"]: instance["lag"] for instance in stats["cluster"]["instances"]}
        return lags == {gateway.instance_id: 0, other.instance_id: 0}

    await wait_until(read_by_all)
