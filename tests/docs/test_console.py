"""docs/console.md: its commands run, its settings load, its list of views is the page's."""

from __future__ import annotations

import re
import shlex
import sys

import yaml

from gateway.http import console_routes
from gateway.settings import load
from tests.docs.markdown import ROOT, blocks, document, table_rows
from tests.support.gateway import SECRET
from tests.support.terminal import clean_environment, run

PAGE = "docs/console.md"


async def test_the_bench_runs(gateway, redis_url, tmp_path):
    (command,) = (block.text.strip() for block in blocks(PAGE, "sh") if "bench" in block.text)
    environ = clean_environment(
        GATEWAY_REDIS__URL=redis_url, GATEWAY_AUTH__SECRET=SECRET, GATEWAY_LISTEN__PORT=str(gateway.port)
    )
    words = [sys.executable, "-m", *shlex.split(command.replace("--seconds 5", "--seconds 0.5"))]
    done = await run(words, cwd=tmp_path, environ=environ, timeout_s=60)
    assert done.status == 0, done.err
    assert "deliveries" in done.out


def test_the_settings_load(tmp_path):
    (block,) = blocks(PAGE, "yaml")
    path = tmp_path / "gateway.yaml"
    path.write_text(block.text)
    settings = load(path)
    assert settings.http_console
    assert settings.http.websocket_url == yaml.safe_load(block.text)["http"]["websocket_url"]


def test_every_view_is_described():
    html = (ROOT / "gateway/http/static/console/console.html").read_text()
    views = re.findall(r'<a href="#\w+">.*?<span>(\w+)</span>', html)
    assert [row[0] for row in table_rows(PAGE)[1:]] == views


def test_the_members_of_a_wish_for_a_token_are_named():
    assert all(f'"{name}"' in document(PAGE) for name in console_routes.Wanted.model_fields)
