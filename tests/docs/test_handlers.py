"""docs/handlers.md and docs/examples/chat_handler.py: run by a real gateway."""

from __future__ import annotations

import json
import sys

import pytest
import yaml

from gateway.handlers import REFUSALS, Handler, Session
from tests.docs.markdown import ROOT, blocks, document, table_rows
from tests.support.clients import connected
from tests.support.gateway import running_gateway

PAGE = "docs/handlers.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the example and the page's own handler in it, as a user would have them."""
    for name, text in (
        ("chat_handler", (ROOT / "docs/examples/chat_handler.py").read_text()),
        ("dice", blocks(PAGE, "python")[0].text),
    ):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in ("chat_handler", "dice"):
        sys.modules.pop(name, None)


async def test_the_example_does_what_it_says(redis_url, folder):
    (example,) = blocks(PAGE, "yaml")
    async with (
        running_gateway(redis_url, **yaml.safe_load(example.text)) as gateway,
        running_gateway(redis_url, policy__join_group=[{"allow": "anyone"}]) as other,
        connected(other, "watcher", claims={"groups": ["lobby"]}) as watcher,
    ):
        async with connected(gateway, "mallory", welcomed=False) as banned:
            assert await banned.closed() == (4403, "you are banned")
        async with connected(gateway, "42", claims={"name": "Ada"}) as ada:
            assert (await ada.next("motd")).data == {"text": "Hello Ada!"}
            assert (await ada.send("vote", {"choice": "yes"})).data == {"success": True, "choice": "yes"}
            assert (await ada.send("vote", {"choice": "yes"})).data["code"] == 409
            assert (await ada.send("vote", ["yes"])).data["code"] == 400
            assert (await ada.next("votes")).data == {"yes": 1}
            assert (await watcher.next("votes")).data == {"yes": 1}
            rude = await ada.send("send_message", {"group_id": "lobby", "content": "Drat it"})
            assert rude.data == {"code": 403, "message": "mind your language"}
            await ada.send("send_message", {"group_id": "lobby", "content": "Hello"})
            assert (await watcher.next("new_message")).data["content"] == "Hello"
        assert (await watcher.next("left")).data == {"user_id": "42", "code": 1000}


async def test_the_shortest_one_answers_as_shown(redis_url, folder):
    async with running_gateway(redis_url, handlers=["dice:Dice"]) as gateway, connected(gateway, "42") as client:
        asked, shown = (json.loads(blocks(PAGE, f"json {who}")[0].text) for who in ("client", "server"))
        reply = await client.send(asked["type"], message_id=asked["message_id"])
        assert (reply.type, reply.message_id, reply.data) == (shown["type"], shown["message_id"], shown["data"])


def test_everything_that_there_is_is_named():
    text = document(PAGE)
    cells = " ".join(row[0] for row in table_rows(PAGE))
    for kind in (Handler, Session):
        for name in vars(kind):
            assert name.startswith("_") or name in cells, name
    (codes,) = [row[1] for row in table_rows(PAGE) if row[0].startswith("raise Refuse")]
    assert all(str(code) in codes for code in REFUSALS)
    assert "limits.handler_timeout_s" in text
