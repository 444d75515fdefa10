"""README.md: what it tells a newcomer to type does what it says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from publisher import Cursor
from tests.docs.markdown import ROOT, blocks, document
from tests.support.gateway import SECRET
from tests.support.terminal import Piped
from tests.support.waiting import wait_until

PAGE = "README.md"
PAGES = sorted(str(path.relative_to(ROOT)) for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))


@pytest.fixture
def environ(gateway, redis_url):
    """The environment of the reader's second shell: a gateway in dev mode notes these in its folder."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "TIDEGATE_"))}
    return {
        **others,
        "PYTHONPATH": str(ROOT),
        "GATEWAY_REDIS__URL": redis_url,
        "GATEWAY_AUTH__SECRET": SECRET,
        "GATEWAY_LISTEN__HOST": "127.0.0.1",
        "GATEWAY_LISTEN__PORT": str(gateway.port),
    }


def shell_lines(start):
    """Return the README's shell lines that begin so, as this machine can run them."""
    lines = [line for block in blocks(PAGE, "sh") for line in block.text.splitlines()]
    return [line.replace(".venv/bin/python", sys.executable) for line in lines if line.startswith(start)]


@contextlib.asynccontextmanager
async def started(command, environ, folder):
    """Run a shell line, with a standard input that stays open."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"exec {command}", env=environ, cwd=folder, stdin=pipe, stdout=pipe
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def line_with(process, text):
    async with asyncio.timeout(60):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, f"it ended without {text!r}"
    return line


async def publish(environ, folder):
    (line,) = shell_lines(".venv/bin/python -m publisher")
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", line, env=environ, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().strip()


async def test_an_event_published_in_one_shell_appears_in_the_other(environ, tmp_path):
    (connect,) = shell_lines(".venv/bin/python -m gateway connect")
    async with started(connect, environ, tmp_path) as client:
        await line_with(client, "")  # it has said that it is connected
        await publish(environ, tmp_path)
        assert "7" in await line_with(client, "order.shipped")


async def test_programs_read_the_frames_as_json(environ, tmp_path):
    (connect,) = shell_lines(".venv/bin/python -m gateway connect")
    async with started(f"{connect} --json", environ, tmp_path) as client:
        assert json.loads(await line_with(client, "welcome"))["data"]["user_id"] == "42"
        event_id = await publish(environ, tmp_path)
        frame = json.loads(await line_with(client, "order.shipped"))
    assert Cursor.parse(event_id)
    assert (frame["id"], frame["data"]) == (event_id, {"order": 7})


async def test_the_python_snippet_publishes(environ, tmp_path):
    (snippet,) = blocks(PAGE, "python")
    (connect,) = shell_lines(".venv/bin/python -m gateway connect")
    async with started(f"{connect} --json --group ops --tag vip", environ, tmp_path) as client:
        await line_with(client, "welcome")
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", snippet.text, env=environ, cwd=tmp_path)
        assert await process.wait() == 0
        assert json.loads(await line_with(client, "order.shipped"))["data"] == {"order": 7}
        assert json.loads(await line_with(client, "notice"))["data"] == {"text": "Lunch!"}


async def test_the_javascript_snippet_receives(gateway, environ, node, tmp_path):
    (snippet,) = blocks(PAGE, "js")
    script = tmp_path / "page.mjs"
    text = snippet.text.replace("ws://127.0.0.1:8889/ws", gateway.url)
    script.write_text(f"const token = '{gateway.token('42')}'\n{text}")
    async with started(shlex.join([*node, str(script)]), environ, tmp_path) as page:
        await line_with(page, "welcome")
        await publish(environ, tmp_path)
        await line_with(page, "order.shipped")


def test_the_make_targets_that_the_documents_name_exist():
    targets = set(re.findall(r"^(\w+):", document("Makefile"), re.MULTILINE))
    named = {name for page in (PAGE, "CONTRIBUTING.md") for name in re.findall(r"(?:^|`)make (\w+)", document(page))}
    assert {"run", "test"} <= named <= targets


def test_the_gateway_commands_that_the_readme_names_exist():
    named = set(re.findall(r"(?:^|`)gateway (\w+)", document(PAGE), re.MULTILINE))
    assert "serve" in named
    for name in named:
        subprocess.run([sys.executable, "-m", "gateway", name, "--help"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_to_files_lead_somewhere(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document(page))
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_place_for_the_benchmark_is_marked():
    text = document(PAGE)
    assert text.count("<!-- bench:start -->") == text.count("<!-- bench:end -->") == 1


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_of_a_kind_that_is_checked(page):
    """A new kind of block needs a test of its own, or would rot."""
    known = {"sh", "console", "js", "yaml", "python", "python sentinel", "python cluster"}
    known |= {"html", "js node", "ts"}
    known |= {"json", "json client", "json server", "json http 401"}
    fences = re.findall(r"^```(.*)$", document(page), re.MULTILINE)[::2]
    drawings = {""}
    assert set(fences) <= known | drawings


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_something_to_run_has_a_test_that_names_it(page):
    if not blocks(page, "sh", "js", "python"):
        return
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if f'"{page}"' in path.read_text()]
    assert tests, "nothing runs what this page shows"


def test_every_page_is_in_the_index_of_the_documents():
    index = document("docs/README.md")
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


@pytest.fixture
def installed(tmp_path, environ, redis_url):
    """What the reader has after `pip install`: a command `gateway`, and a configuration in the folder."""
    command = tmp_path / "bin" / "gateway"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gateway "$@"\n')
    command.chmod(0o755)
    (tmp_path / "gateway.yaml").write_text(
        f"redis: {{url: {redis_url}}}\nauth: {{secret: {SECRET}}}\n"
        "listen: {host: 127.0.0.1, port: 0}\nhttp: {port: 0}\nshutdown: {drain_s: 0}\n"
    )
    others = {name: value for name, value in environ.items() if not name.startswith("GATEWAY_")}
    return {**others, "PATH": f"{command.parent}:{environ['PATH']}"}


async def test_the_configuration_that_the_readme_asks_for_is_checked_and_served(installed, tmp_path):
    (check,) = shell_lines("gateway check")
    done = await asyncio.create_subprocess_exec("bash", "-c", check, env=installed, cwd=tmp_path)
    assert await done.wait() == 0
    (serve,) = shell_lines("gateway serve")
    workers = int(serve.rpartition(" ")[2])
    async with Piped(["bash", "-c", f"exec {serve}"], cwd=tmp_path, environ=installed) as gateway:
        await wait_until(lambda: gateway.err.count('"listening"') == workers, 60)
        gateway.terminate()
        assert await gateway.ended(30) == 0
