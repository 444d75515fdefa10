"""The examples of docs/examples, in Chromium, with somebody on the other side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chromium import Chromium, Page
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def read(name: str, gateway: GatewayProcess) -> str:
    """Return an example that talks to this gateway instead of that of `make run`."""
    text = (EXAMPLES / name).read_text()
    return text.replace("ws://127.0.0.1:8889/ws", gateway.url).replace("http://127.0.0.1:8890", gateway.http_url)


@pytest.fixture
async def page(chromium: Chromium):
    """A tab."""
    async with chromium.visit() as visit:
        yield await visit.open()


async def shown(page: Page, text: str) -> None:
    """Wait until a line of the list says so, and is not pending."""
    await page.wait_for(
        f"[...document.querySelectorAll('li')].some((li) => li.textContent.trim() === {text!r} && !li.className)"
    )


async def test_plain_html(page, pages, gateway):
    async with connected(gateway, "7", claims={"groups": ["chat"]}) as grace:
        await page.go(pages.put("/plain.html", read("plain.html", gateway)))
        await page.fill("#login input", gateway.token("42"))
        await page.click("#login button")
        await page.wait_for("document.querySelector('#status').textContent === 'online'")
        await page.fill("#write input", "<b>Hello!</b>")
        await page.click("#write button")
        await shown(page, "me: <b>Hello!</b>")
        assert (await grace.next("new_message")).data["content"] == "<b>Hello!</b>"
        await grace.send("send_message", {"group_id": "chat", "content": "Hi!"})
        await shown(page, "7: Hi!")
    assert page.errors == []


async def test_the_vue_store(page, pages, gateway, packages):
    vue = packages / "node_modules" / "vue" / "dist" / "vue.esm-browser.prod.js"
    pages.put("/vue.esm-browser.prod.js", vue.read_bytes())
    pages.put("/vue/chat.js", read("vue/chat.js", gateway))
    async with connected(gateway, "7", claims={"groups": ["chat"]}) as grace:
        address = pages.put("/vue/index.html", read("vue/index.html", gateway))
        await page.go(f"{address}#token={gateway.token('42')}")
        await page.wait_for("document.querySelector('small').textContent === 'online'")
        await page.fill("form input", "Hello!")
        await page.click("form button")
        await shown(page, "me: Hello!")
        assert (await grace.next("new_message")).data["content"] == "Hello!"
        await grace.send("send_message", {"group_id": "chat", "content": "Hi!"})
        await shown(page, "7: Hi!")
    assert page.errors == []
