"""A scene: the client in Node or on a page, and what a test wants to know of it."""

from __future__ import annotations

import json
from typing import Any, Self

from tests.support.chromium import Page
from tests.support.gateway import GatewayProcess
from tests.support.javascript import NodeEngine
from tests.support.proxy import Proxy

HARNESS = """
globalThis.begin = (url, tokens, options = {}) => {
  globalThis.asked = []
  globalThis.tide = new Tidegate(url, {
    getToken: (why) => { asked.push(why.refresh); return tokens[Math.min(asked.length, tokens.length) - 1] },
    WebSocket, minWaitMs: 50, maxWaitMs: 500, ...options,
  })
  globalThis.events = []
  globalThis.said = []
  tide.on('*', (data, frame) => events.push([frame.type, data]))
  for (const name of ['status', 'resync', 'error']) {
    tide.on(name, (data) => said.push([name, data instanceof Error ? { code: data.code, text: data.message } : data]))
  }
  return true
}
globalThis.later = (name, promise) => {
  globalThis[name] = null
  promise.then((value) => { globalThis[name] = { value } }, (error) => { globalThis[name] = { error: error.code } })
  return true
}
"""


def url_of(proxy: Proxy) -> str:
    """Return the WebSocket endpoint behind a proxy."""
    return f"ws://127.0.0.1:{proxy.port}/ws"


class Scene:
    """One client, `tide`, in an engine."""

    def __init__(self, engine: NodeEngine | Page) -> None:
        self.engine = engine

    @classmethod
    async def in_node(cls, node: NodeEngine) -> Self:
        """Use a Node process."""
        await node.evaluate(f"(() => {{ {HARNESS} }})()")
        return cls(node)

    @classmethod
    async def on_page(cls, page: Page, gateway: GatewayProcess) -> Self:
        """Let a page import the client from a gateway."""
        url = json.dumps(f"{gateway.http_url}/tidegate.js")
        await page.evaluate(f"import({url}).then((module) => {{ Object.assign(globalThis, module) }})")
        await page.evaluate(f"(() => {{ {HARNESS} }})()")
        return cls(page)

    async def begin(self, url: str, *tokens: str | None, online: bool = True, **options: Any) -> None:
        """Make the client, and wait until it is online."""
        await self.do(f"begin({json.dumps(url)}, {json.dumps(tokens)}, {json.dumps(options)})")
        if online:
            await self.until("tide.status === 'online'")

    async def do(self, expression: str) -> Any:
        """Evaluate, and wait for the promise."""
        return await self.engine.evaluate(expression)

    async def later(self, name: str, expression: str) -> None:
        """Evaluate a promise without waiting for it: its outcome will be in the global `name`."""
        await self.do(f"later({json.dumps(name)}, {expression})")

    async def outcome(self, name: str) -> Any:
        """Wait for what `later` began."""
        return await self.until(name)

    async def until(self, expression: str) -> Any:
        """Wait until an expression gives something truthy; return it."""
        return await self.engine.wait_for(expression)

    async def events(self, kind: str) -> list[Any]:
        """The data of the events of one type so far, in order."""
        return [data for name, data in await self.do("events") if name == kind]

    async def said(self, name: str) -> list[Any]:
        """What came of `status`, `resync` or `error` so far."""
        return [data for what, data in await self.do("said") if what == name]

    async def statuses(self) -> list[str]:
        """The statuses so far."""
        return [change["status"] for change in await self.said("status")]
