"""
A real headless Chromium for tests, driven by its own protocol (CDP) over a WebSocket.

    with Chromium() as chromium:                        # one process, for a whole session of tests
        async with chromium.visit() as visit:           # an empty profile of its own
            page = await visit.open("http://127.0.0.1:8000/")
            await page.wait_for("document.querySelector('#name')")
            await page.fill("#name", "Ada")
            await page.click("button")
            assert await page.evaluate("document.title") == "Hello"
            assert page.errors == []

Pages of one visit share cookies, storage, locks and channels, as tabs do.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.support.javascript import ScriptError, wait_for_truth
from tests.support.waiting import wait_until_sync

_TIMEOUT_S = 60.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0"),
)
_PROGRAMS = ("chromium", "chromium-browser")


class Chromium:
    """One browser process."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tg-chromium-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint = ""

    @contextlib.asynccontextmanager
    async def visit(self) -> AsyncIterator[Visit]:
        """Have a profile of one's own for as long as the context lasts."""
        options: dict[str, Any] = {"max_size": None, "proxy": None, "ping_interval": None, "open_timeout": _TIMEOUT_S}
        async with connect(self._endpoint, **options) as socket:
            link = _Link(socket)
            try:
                created = await link.call("Target.createBrowserContext", {"disposeOnDetach": True})
                yield Visit(link, created["browserContextId"])
            finally:
                await link.close()

    def __enter__(self) -> Self:
        program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
        if program is None:
            pytest.skip("needs chromium")
        command = [program, *_FLAGS, f"--user-data-dir={self._folder / 'profile'}", "about:blank"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._endpoint = wait_until_sync(self._listening, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listening(self) -> str | None:
        assert self._process is not None
        log = (self._folder / "log").read_text(errors="replace")
        assert self._process.poll() is None, f"chromium has ended: {log[-2000:]}"
        for line in log.splitlines():
            if line.startswith("DevTools listening on "):
                return line.removeprefix("DevTools listening on ").strip()
        return None


class Visit:
    """A profile in which pages are opened."""

    def __init__(self, link: _Link, context_id: str) -> None:
        self._link = link
        self._context_id = context_id

    async def open(self, url: str = "about:blank") -> Page:
        """Open a tab, and wait until its page is loaded. The tabs before it are in the background then."""
        options = {"url": "about:blank", "browserContextId": self._context_id}
        target = (await self._link.call("Target.createTarget", options))["targetId"]
        attached = await self._link.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = Page(self._link, target, attached["sessionId"])
        for domain in ("Page", "Runtime", "Network"):
            await page.call(f"{domain}.enable")
        await page.call("Page.setLifecycleEventsEnabled", {"enabled": True})
        if url != "about:blank":
            await page.go(url)
        return page


class Page:
    """
    One tab.

    Attributes:
        errors: Exceptions that nobody caught, and what was written to `console.error`.
        requests: The URLs that it asked for.
    """

    def __init__(self, link: _Link, target_id: str, session_id: str) -> None:
        self._link = link
        self._target_id = target_id
        self._session_id = session_id
        self._loaded: set[str] = set()  # the loads that are done, that of the empty page before the first among them
        self.errors: list[str] = []
        self.requests: list[str] = []
        link.pages[session_id] = self

    async def call(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a command of the protocol; return its result."""
        return await self._link.call(method, parameters, self._session_id)

    async def go(self, url: str) -> None:
        """Load another page in the tab, or the same one again."""
        answer = await self.call("Page.navigate", {"url": url})
        assert "errorText" not in answer, f"{url}: {answer['errorText']}"
        await self._link.until(lambda: answer["loaderId"] in self._loaded)

    async def evaluate(self, expression: str) -> Any:
        """
        Evaluate an expression, await it if it is a promise, and return its value.

        Raises:
            ScriptError: It has thrown, or its promise was rejected.
        """
        options = {"expression": f"({expression})", "awaitPromise": True, "returnByValue": True, "userGesture": True}
        answer = await self.call("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise ScriptError(_said(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def wait_for(self, expression: str, timeout: float = 30.0) -> Any:
        """Return what an expression gives as soon as that is truthy."""
        return await wait_for_truth(self, expression, timeout)

    async def click(self, selector: str) -> None:
        """Wait for an element and click it."""
        await self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, text: str) -> None:
        """Wait for a field and write into it, as somebody who types does."""
        await self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select?.()")
        await self.call("Input.insertText", {"text": text})

    async def screenshot(self, path: Path) -> None:
        """Save what the tab shows, as PNG."""
        answer = await self.call("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(answer["data"]))

    async def emulate(self, *, dark: bool = False, width: int = 1280, height: int = 800, mobile: bool = False) -> None:
        """Choose the colour scheme and the size of the window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        await self.call("Emulation.setDeviceMetricsOverride", metrics)

    async def offline(self, offline: bool) -> None:
        """Take the network away from the tab, or give it back. (WebSockets that are open stay so.)"""
        conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self.call("Network.emulateNetworkConditions", conditions)

    async def close(self) -> None:
        """Close the tab."""
        await self._link.call("Target.closeTarget", {"targetId": self._target_id})

    def hear(self, method: str, parameters: dict[str, Any]) -> None:
        """Take an event of the protocol."""
        if method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self._loaded.add(parameters["loaderId"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(_said(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            said = [str(each.get("value", each.get("description"))) for each in parameters["args"]]
            self.errors.append(" ".join(said))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


class _Link:
    """The WebSocket to the browser: calls and their answers, and events to the pages that they concern."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._arrival = asyncio.Condition()
        self._reader = asyncio.create_task(self._read(), name="chromium")
        self.pages: dict[str, Page] = {}

    async def call(
        self, method: str, parameters: dict[str, Any] | None = None, session_id: str | None = None
    ) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": session_id} if session_id is not None else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters or {}, **session}))
        async with asyncio.timeout(_TIMEOUT_S):
            return await answer

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(_TIMEOUT_S), self._arrival:
            await self._arrival.wait_for(condition)

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self._socket:
                await self._take(json.loads(text))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ScriptError("the browser has gone"))
                answer.exception()

    async def _take(self, said: dict[str, Any]) -> None:
        if "id" not in said:
            page = self.pages.get(said.get("sessionId", ""))
            if page is not None:
                page.hear(said["method"], said["params"])
                async with self._arrival:
                    self._arrival.notify_all()
            return
        answer = self._waiting.pop(said["id"])
        if answer.done():
            return
        if "error" in said:
            answer.set_exception(ScriptError(str(said["error"])))
        else:
            answer.set_result(said["result"])


def _said(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return str(exception.get("description") or exception.get("value") or details.get("text"))
