"""docs/templates.md: its settings are loaded, its snippets run, and what comes of them compared."""

from __future__ import annotations

import json

import yaml

from gateway.settings import load
from gateway.settings.extensions import Template
from tests.docs.markdown import blocks, table_rows
from tests.docs.test_http_api import shell
from tests.docs.test_publisher import SHOWN_URL, run
from tests.support.clients import Client, connected
from tests.support.gateway import make_token, running_gateway

PAGE = "docs/templates.md"


def pushes(client: Client) -> list:
    """Return what the page sent; when an inbox is counted is not for it to say."""
    return [event for event in client.events if event[0] != "unread_count"]


async def test_what_the_page_sends_is_what_clients_get(redis_url, tmp_path):
    (settings,), (snippet,), (command,) = (blocks(PAGE, info) for info in ("yaml", "python", "sh"))
    (shown,) = (json.loads(block.text) for block in blocks(PAGE, "json server"))
    templates = yaml.safe_load(settings.text)["templates"]
    async with running_gateway(redis_url, templates=templates) as gateway, connected(gateway, "42") as client:
        text = snippet.text.replace(SHOWN_URL, redis_url)
        scope: dict = {}
        await run(type(snippet)(snippet.info, text, snippet.where), scope)
        begin = f"export API={gateway.http_url} TOKEN={make_token('svc', scope='push')}\n"
        await shell(begin + command.text.replace("curl", "curl --fail-with-body --silent --noproxy '*'"), tmp_path)
        await client.until(lambda: len(pushes(client)) == 5)
    moved = {"order": "7", "where": {"city": "Ulm", "country": "DE"}}
    assert [push for push in pushes(client) if push[0] != "notification"] == [
        ("order.shipped", shown["data"]),
        ("order.late", moved),
        ("order.moved", {**moved, "where": {"city": "Bonn", "country": "DE"}}),
        ("order.moved", moved),
    ]
    (notification,) = [data for kind, data in pushes(client) if kind == "notification"]
    assert notification == {**notification, **shown["data"], "link": "/orders/7"}
    assert scope["fields"] == {"event": "order.shipped", **shown["data"]}


def test_the_settings_load():
    (settings,) = blocks(PAGE, "yaml")
    assert set(load(**yaml.safe_load(settings.text)).templates) == {"order_shipped", "order_moved"}


def test_every_field_is_listed():
    listed = {name.strip() for row in table_rows(PAGE) for name in row[0].split(",")}
    assert set(Template.model_fields) <= listed
