"""docs/examples/README.md: each section's lines start the example and use it, as they stand."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.examples.conftest import FOLDER
from tests.docs.markdown import blocks, document
from tests.support.clients import connected
from tests.support.postgres_server import PostgresServer, postgres_folder
from tests.support.redis_server import RedisServer, free_port
from tests.support.terminal import Piped, run
from tests.support.waiting import wait_until

PAGE = "docs/examples/README.md"

EVENTS = {
    "fastapi_orders": ("order.shipped", {"order": 7, "parcels": 1}),
    "flask_support": ("ticket.reply", {"ticket": 7, "author": "ada", "text": "Have you tried it again?"}),
    "celery_reports": ("report.ready", {"month": "2026-11", "url": "/reports/42/2026-11.pdf"}),
    "outbox_sqlite": ("order.placed", {"order": 1, "item": "tea"}),
    "outbox_postgres": ("order.placed", {"order": 1, "item": "tea"}),
}


def sections():
    """Return, for each example, the lines that start it, of which the last runs on, and those that use it."""
    pairs = zip(*[iter(blocks(PAGE, "sh")[2:])] * 2, strict=True)
    return {next(name for name in EVENTS if name in start.text): (start, use) for start, use in pairs}


def lines(block, port):
    """Return a block's lines, with a port that is free."""
    return re.sub(r"(--port |127\.0\.0\.1:)\d+", rf"\g<1>{port}", block.text).splitlines()


@pytest.fixture
def folder(tmp_path):
    """A copy of the examples, to leave files in."""
    return Path(shutil.copytree(FOLDER, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", "*.db*")))


@pytest.fixture
def services(environ):
    """What else the examples need: a broker, a database."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with RedisServer() as broker:
        yield {**environ, "PATH": path, "CELERY_BROKER_URL": broker.url, "C_FORCE_ROOT": "1"}


async def shell(line, environ, folder):
    done = await run(["bash", "-c", line], cwd=folder, environ=environ)
    assert done.status == 0, f"{line}\n{done.out}\n{done.err}"


async def listens(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("name", EVENTS)
async def test_an_example_starts_and_does_what_the_page_says(gateway, services, folder, name, request):
    if "curl" in sections()[name][1].text and shutil.which("curl") is None:
        pytest.skip("needs curl")
    if name == "outbox_postgres":
        services["DATABASE_URL"] = request.getfixturevalue("postgres").url
    port = free_port()
    *prepare, start = lines(sections()[name][0], port)
    uses = lines(sections()[name][1], port)
    for line in prepare:
        await shell(line, services, folder)
    async with (
        connected(gateway, "42", claims={"groups": ["ticket-7"]}) as client,
        Piped(["bash", "-c", f"exec {start}"], cwd=folder, environ=services) as process,
    ):
        if "--port" in start:
            await wait_until(lambda: listens(port), 60)
        for line in uses:
            await shell(line.replace("curl ", "curl --silent --show-error --fail --noproxy '*' "), services, folder)
        await wait_until(lambda: client.events, 60)
        assert client.events == [EVENTS[name]]
        process.terminate()
        await process.ended(30)


@pytest.fixture
def postgres():
    if postgres_folder() is None:
        pytest.skip("needs PostgreSQL")
    with PostgresServer() as server:
        yield server


async def test_the_examples_find_the_redis_of_make_run_as_the_page_says(services, folder, redis_server, redis_url):
    examples = Path(shutil.copytree(folder, folder.parent / "clone" / "docs" / "examples"))
    state = folder.parent / "clone" / ".tidegate"
    state.mkdir()
    (state / "redis.sock").symlink_to(redis_server.socket_path)
    del services["TIDEGATE_REDIS_URL"]
    publish = "python -m publisher user:42 order.shipped '{}'"
    await shell(f"{blocks(PAGE, 'sh')[0].text}{publish}", services, examples)
    with redis_server.client() as client:
        assert client.xlen("tg:{events:0}") == 1


async def test_what_arrives_is_shown_as_the_page_says(gateway, environ, redis_url, tmp_path):
    line = blocks(PAGE, "sh")[1].text.replace(".venv/bin/python", sys.executable)
    port = str(gateway.port)
    environ |= {"GATEWAY_REDIS__URL": redis_url, "GATEWAY_LISTEN__HOST": "127.0.0.1", "GATEWAY_LISTEN__PORT": port}
    async with Piped(["bash", "-c", f"exec {line}"], cwd=tmp_path, environ=environ) as client:
        await wait_until(lambda: gateway.services.hub.count("default", "group:ticket-7"), 30)
        await shell(f"{sys.executable} -m publisher group:ticket-7 ticket.reply '{{}}'", environ, tmp_path)
        await client.shows("ticket.reply")


def test_every_example_is_on_the_page_and_started_by_it():
    publishing = {path.stem for path in FOLDER.glob("*.py") if "from publisher" in path.read_text()}
    assert publishing == set(EVENTS) == set(sections())
    linked = {link.partition("/")[0] for link in re.findall(r"\]\((\w[^)]*)\)", document(PAGE))}
    assert {path.name for path in FOLDER.iterdir()} - {"README.md", "__pycache__"} <= linked


PACKAGES = {"fastapi": "fastapi", "jwt": "pyjwt", "flask": "flask", "celery": "celery", "psycopg": "psycopg"}


@pytest.mark.parametrize("module", PACKAGES)
def test_the_packages_that_an_example_needs_are_named(module):
    importing = re.compile(rf"^(import|from) {module}\b", re.MULTILINE)
    assert any(importing.search(path.read_text()) for path in FOLDER.glob("*.py"))
    assert f"`{PACKAGES[module]}`" in document(PAGE)
