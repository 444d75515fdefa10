"""Somebody who uses the console in a browser, by what is on the page."""

from __future__ import annotations

import json
from typing import Any, Self

from tests.support.chromium import Page, Visit


class Desk:
    """
    A console in a tab.

    Attributes:
        page: The tab.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self._origin = origin

    @classmethod
    async def at(cls, visit: Visit, origin: str) -> Self:
        """Open the console."""
        page = await visit.open(f"{origin}/console")
        await page.wait_for("document.body.dataset.ready")
        return cls(page, origin)

    async def log_in(self, user: str, *, groups: str = "", scope: str = "push") -> None:
        """Have a token made, and connect."""
        await self.page.fill("#mint-user", user)
        if groups:
            await self.page.fill("#mint-groups", groups)
        await self.page.evaluate(f"document.querySelector('#mint-scope').value = {json.dumps(scope)}")
        await self.page.click("#mint-form button")
        await self.until_status("online")

    async def until_status(self, state: str) -> None:
        """Wait for the connection to be so."""
        await self.page.wait_for(f"document.querySelector('#status').dataset.state === '{state}'")

    async def view(self, name: str) -> None:
        """Go to a view."""
        await self.page.click(f".rail a[href='#{name}']")
        await self.page.wait_for(f"document.body.dataset.view === '{name}'")

    async def put(self, selector: str, text: str) -> None:
        """Let a field have a value, as if typed."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.page.wait_for(f"{found} !== null")
        typed = "node.dispatchEvent(new Event('input', { bubbles: true }))"
        left = "node.dispatchEvent(new Event('change', { bubbles: true }))"
        await self.page.evaluate(
            f"(() => {{ const node = {found}; node.value = {json.dumps(text)}; {typed}; {left} }})()"
        )

    async def command(self, kind: str, **fields: str) -> str:
        """Send a command by its form; return what the page says of its outcome."""
        await self.view("send")
        await self.put("#command", kind)
        for name, value in fields.items():
            await self.put(f"#field-{name}", value)
        await self.page.evaluate("document.querySelector('#command-result').replaceChildren()")
        await self.page.click("#command-send")
        return str(await self.page.wait_for("document.querySelector('#command-result')?.textContent"))

    async def frames(self) -> list[str]:
        """The types of the frames on the list, oldest first."""
        types: list[str] = await self.page.evaluate(
            "[...document.querySelectorAll('.frame .type')].map((node) => node.textContent).reverse()"
        )
        return types

    async def until_frame(self, kind: str, containing: str = "") -> None:
        """Wait until a frame of a type is on the list."""
        await self.page.wait_for(
            "[...document.querySelectorAll('.frame summary')].some((node) => "
            f"node.querySelector('.type').textContent === {json.dumps(kind)} "
            f"&& node.textContent.includes({json.dumps(containing)}))"
        )

    async def unfold(self) -> None:
        """Open every frame on the list."""
        opened = "(node.querySelector('details').open = true) && node.querySelector('pre') !== null"
        await self.page.wait_for(  # some may come meanwhile
            f"[...document.querySelectorAll('.frame')].map((node) => {opened}).every(Boolean)"
        )

    async def text(self, selector: str) -> str:
        """What an element says."""
        return str(await self.page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    async def says(self, selector: str, text: str) -> None:
        """Wait until an element says something."""
        found = f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"
        await self.page.wait_for(f"({found}).includes({json.dumps(text)})")

    async def all_is_well(self) -> None:
        """Check that no script has failed, nothing was blocked, and nobody else was asked for anything."""
        assert self.page.errors == []
        strangers = [url for url in self.page.requests if not url.startswith((self._origin, "data:", "about:"))]
        assert strangers == []

    async def value(self, expression: str) -> Any:
        """Evaluate on the page."""
        return await self.page.evaluate(expression)
