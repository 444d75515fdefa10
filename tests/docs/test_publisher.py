"""docs/publisher.md: its snippets are run, in order and in one namespace, and its tables compared with the code."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import subprocess
import sys

import pytest
import redis

import publisher
from publisher import Cursor, Publisher, make_event, make_notifications
from publisher.address import KINDS
from publisher.notification import NotificationOptions
from publisher.sync import Publisher as BlockingPublisher
from tests.docs.markdown import ROOT, blocks, table_rows
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until_sync

PAGE = "docs/publisher.md"
SHOWN_URL = "redis://127.0.0.1:6379/0"


async def run(block, scope):
    """Run a snippet, which may await."""
    code = compile(block.text, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, scope)
    if inspect.isawaitable(result):
        await result


@pytest.fixture
def stored(redis_url):
    """Returns the names of the events in the log."""

    def names():
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            return [fields["e"] for _, fields in client.xrange("tg:{events:0}")]

    return names


async def test_the_snippets_run_as_they_stand(redis_url, stored):
    scope: dict = {}
    try:
        for block in blocks(PAGE, "python"):
            text = block.text.replace(SHOWN_URL, redis_url)
            await run(type(block)(block.info, text, block.where), scope)
    finally:
        await scope["tide"].aclose()
    names = stored()
    pushed = {"order.shipped", "order.moved", "notice", "tick", "notification"}
    assert set(names) == pushed | {"alarm", "members", "kick", "revoke", "access"}
    assert names.count("kick") == names.count("revoke") == 2
    assert Cursor.parse(scope["event_id"])


async def test_the_snippet_for_a_sentinel_runs(redis_url):
    (block,) = blocks(PAGE, "python sentinel")
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(RedisServer())
        lines = (f"sentinel monitor tide 127.0.0.1 {master.port} 1",)
        watcher = stack.enter_context(RedisServer(sentinel=True, lines=lines))
        scope = {"Publisher": Publisher}
        await run(type(block)(block.info, block.text.replace("26379", str(watcher.port)), block.where), scope)
        await scope["tide"].aclose()
        for client in (scope["master"], *scope["sentinel"].sentinels):
            await client.aclose()
        with master.client() as client:
            assert client.xlen("tg:{events:0}") == 1


async def test_the_snippet_for_a_cluster_runs():
    (block,) = blocks(PAGE, "python cluster")
    with RedisServer(cluster_enabled="yes") as node, node.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until_sync(lambda: "ok" in str(client.execute_command("CLUSTER", "INFO")).split("cluster_slots")[0], 20)
        scope = {"Publisher": Publisher}
        await run(type(block)(block.info, block.text.replace("6379", str(node.port)), block.where), scope)
        await scope["tide"].aclose()
        await scope["cluster"].aclose()
        assert sum(client.xlen(f"tg:{{events:{partition}}}") for partition in range(4)) == 1


def test_the_shell_lines_publish(redis_url, stored, tmp_path):
    (block,) = blocks(PAGE, "sh")
    environ = {**os.environ, "TIDEGATE_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    lines = block.text.replace("python -m", f"{sys.executable} -m").splitlines()
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], env=environ, cwd=tmp_path, capture_output=True, check=True, text=True
        )
        assert Cursor.parse(done.stdout.strip())
    assert stored() == ["order.shipped", "notice", "order.shipped", "notification"]


# What the page must not leave out.


def options_listed():
    """Return option → default as the tables have them."""
    return {row[0]: row[1] for row in table_rows(PAGE) if len(row) == 3}


def test_every_option_of_a_publisher_is_listed_with_its_default():
    listed = options_listed()
    for kind in (Publisher, BlockingPublisher):
        for name, parameter in inspect.signature(kind).parameters.items():
            if name != "redis":
                assert float(listed[name]) == float(parameter.default), name


def test_every_option_of_an_event_is_listed():
    names = set(inspect.signature(make_event).parameters) - {"event", "data", "kind", "max_event_bytes"}
    assert names <= set(options_listed())


def test_every_option_of_a_notification_is_listed():
    names = set(inspect.signature(make_notifications).parameters) - {"to", "partitions", "max_event_bytes"}
    assert names <= set(options_listed())
    assert names == set(NotificationOptions.__annotations__)


def test_every_option_of_kick_and_revoke_is_listed():
    names = {name for row in table_rows(PAGE) for name in row[0].split(" or ")}
    for method in (Publisher.kick, Publisher.revoke, Publisher.access):
        assert set(inspect.signature(method).parameters) - {"self"} <= names


def test_every_kind_of_address_and_every_error_is_listed():
    first_cells = {row[0] for row in table_rows(PAGE)}
    assert {cell.partition(":")[0] for cell in first_cells} >= {"all", *KINDS}
    errors = {name for name in publisher.__all__ if name.startswith("Publish") and name != "Publisher"}
    assert errors <= first_cells


def test_every_option_of_the_shell_command_is_shown_or_named():
    text = "\n".join(block.text for block in blocks(PAGE, "sh"))
    usage = subprocess.run(
        [sys.executable, "-m", "publisher", "--help"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    options = set(re.findall(r"--[a-z-]+", usage)) - {"--help", "--redis", "--partitions"}
    assert options <= set(re.findall(r"--[a-z-]+", text))
