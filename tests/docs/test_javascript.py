"""docs/javascript.md: its program is run in a page, its tables are compared with the client's types."""

from __future__ import annotations

import re

import pytest

from publisher import Publisher
from tests.docs.markdown import blocks, document, table_rows
from tests.support.chromium import Chromium
from tests.support.clients import connected
from tests.support.gateway import running_gateway
from tests.support.javascript import CLIENT, NodeEngine, npm_packages, run_tool
from tests.support.pages import Pages
from tests.support.waiting import wait_until

PAGE = "docs/javascript.md"
TYPES = CLIENT.with_suffix(".d.ts").read_text()

PRELUDE = """
globalThis.shown = []
globalThis.show = (...what) => shown.push(what)
globalThis.reload = (addresses) => shown.push(['reload', addresses])
"""


@pytest.fixture
async def gateway(redis_url):
    async with running_gateway(redis_url, listen__origins=["*"]) as running:
        yield running


@pytest.fixture(scope="module")
def chromium():
    with Chromium() as browser:
        yield browser


def program(gateway, info, *infos):
    """Return the page's blocks as one program that talks to this gateway."""
    text = "".join(block.text for block in blocks(PAGE, info, *infos))
    return re.sub(r"^import .*\n", "", text, flags=re.MULTILINE).replace("ws://127.0.0.1:8889/ws", gateway.url)


async def test_the_program_runs_in_a_page(gateway, redis_url, chromium):
    text = program(gateway, "js")
    begin, end = text.split("addEventListener('pagehide'")
    client = f"{gateway.http_url}/tidegate.js"
    with Pages() as pages:
        pages.put("/", "<!doctype html>")
        pages.put("/tidegate.js", f"export * from '{client}'")
        module = (
            f"import {{ Tidegate }} from '/tidegate.js'\n{PRELUDE}\n"
            f"const fetchMyToken = async () => '{gateway.token('42')}'\n"
            f"{begin}\nglobalThis.ready = true\nawait new Promise((resolve) => (globalThis.goOn = resolve))\n"
            f"addEventListener('pagehide'{end}\nglobalThis.done = tide.status\n"
        )
        pages.put("/program.js", module)
        async with chromium.visit() as visit, Publisher(redis_url) as tide:
            page = await visit.open(pages.url + "/")
            await page.evaluate("(import('/program.js').catch((error) => console.error(error)), 1)")
            await page.wait_for("globalThis.ready")
            await tide.publish("order.shipped", {"order": 7}, to="user:42")
            async with connected(gateway, "7", claims={"groups": ["chat-1"]}) as grace:
                await grace.send("send_message", {"group_id": "chat-1", "content": "Hi!"})
                await page.wait_for("shown.length >= 5")
            shown = await page.evaluate("shown")
            await page.evaluate("(goOn(), 1)")
            assert await page.wait_for("globalThis.done") == "closed"
            assert page.errors == []
    assert shown[0][0] == "online"
    assert shown[1][0] == "order 7 is on its way"
    assert shown[2] == ["order.shipped", {"order": 7}]
    assert ["7", "Hi!", "chat-1"] in shown


async def test_the_client_for_node_runs(gateway):
    async with NodeEngine(npm_packages()) as node:
        text = program(gateway, "js node")
        await node.evaluate(f"(() => {{ const fetchMyToken = () => 'x'\n{text}\nreturn client.status }})()")
        assert node.errors == []


def test_the_html_imports_what_the_gateway_serves():
    (example,) = blocks(PAGE, "html")
    assert "import { Tidegate } from 'http://127.0.0.1:8890/tidegate.js'" in example.text


async def test_the_snippet_of_the_readme_receives(gateway, redis_url, chromium):
    (example,) = blocks("README.md", "html")
    text = example.text.replace("ws://127.0.0.1:8889/ws", gateway.url)
    text = text.replace("http://127.0.0.1:8890", gateway.http_url)
    typed = f"<!doctype html><body><script>window.prompt = () => '{gateway.token('42')}'</script>"
    with Pages() as pages:
        async with chromium.visit() as visit, Publisher(redis_url) as tide:
            page = await visit.open(pages.put("/", typed + text))
            await wait_until(lambda: gateway.services.hub.count("default", "user:42"))
            await tide.publish("order.shipped", {"order": 7}, to="user:42")
            await page.wait_for("document.body.textContent.includes('order 7 is on its way')")


def test_the_types_of_an_application_are_known(tmp_path):
    packages = npm_packages()
    (example,) = blocks(PAGE, "ts")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "tidegate").symlink_to(CLIENT.parent)
    use = "new Tidegate('wss://x', { getToken: () => 't' }).on('order.shipped', ({ order }) => order.toFixed())"
    (tmp_path / "app.ts").write_text(f"import {{ Tidegate }} from 'tidegate'\n{example.text}\n{use}\n")
    options = ("--noEmit", "--strict", "--skipDefaultLibCheck", "--target", "es2022", "--module", "nodenext")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    run_tool(packages, "tsc", *options, "app.ts", cwd=tmp_path)


def members_of(name):
    """Return the names that an interface or a class of the types has."""
    body = re.search(rf"export (?:interface|class) {name} [^{{]*{{\n(.*?)\n}}", TYPES, re.DOTALL)
    assert body is not None
    return set(re.findall(r"^  (?:readonly )?(\w+)[?(:<]", body[1], re.MULTILINE)) - {"constructor"}


def test_the_table_of_options_is_complete():
    rows = table_rows(PAGE)
    start = next(number for number, row in enumerate(rows) if row[0] == "option")
    assert {name for row in rows[start + 1 :] for name in row[0].split(", ")} == members_of("Options")


def test_every_member_is_on_the_page():
    text = document(PAGE)
    assert [name for name in sorted(members_of("Tidegate")) if not re.search(rf"[.`]{name}\b", text)] == []
    assert [name for name in members_of("Notifications") if f"notifications.{name}" not in text] == []


def test_the_statuses_are_those_of_the_types():
    declared = re.search(r"type Status = (.*)", TYPES)
    assert declared is not None
    statuses = re.findall(r"'(\w+)'", declared[1])
    assert [row[0] for row in table_rows(PAGE) if row[0] in statuses] == statuses
