"""Notifications, presence and history through tidegate.js: with a gateway that has them."""

from __future__ import annotations

import secrets
from importlib.util import find_spec

import pytest

from publisher import Publisher

pytestmark = pytest.mark.skipif(
    not hasattr(Publisher, "notify"), reason="this version of the gateway keeps no notifications"
)


@pytest.fixture
def user():
    """Somebody whose inbox is empty."""
    return f"reader-{secrets.token_hex(4)}"


async def test_notifications_are_counted_listed_and_marked(scene, gateway, tide, user):
    await scene.begin(gateway.url, gateway.token(user), api=gateway.http_url)
    await scene.do("(globalThis.counts = [], tide.on('unread_count', (data) => counts.push(data.unread_count)), 1)")
    first = await tide.notify(user, title="Shipped", content="Order 7", level="info")
    second = await tide.notify(user, title="Shipped", content="Order 8", level="info")
    await scene.until("tide.notifications.unread === 2")
    assert [each["id"] for each in await scene.events("notification")] == [first, second]
    listed = await scene.do("tide.notifications.list({ page_size: 1, unread_only: true })")
    assert [each["id"] for each in listed["items"]] == [second]
    assert (await scene.do(f"tide.notifications.markRead('{first}')"))["unread_count"] == 1
    await scene.until("tide.notifications.unread === 1")
    assert (await scene.do("tide.notifications.markRead('all')"))["unread_count"] == 0
    await scene.until("counts.at(-1) === 0")


@pytest.mark.skipif(find_spec("gateway.profiles") is None, reason="this version's welcome does not say what is unread")
async def test_a_new_client_knows_how_many_are_unread(scene, gateway, tide, user):
    await tide.notify(user, title="While you were away", content="…", level="info")
    await scene.begin(gateway.url, gateway.token(user), api=gateway.http_url)
    await scene.until("tide.notifications.unread === 1")


async def test_a_list_with_a_token_that_has_ended_is_asked_for_again_with_another(scene, gateway, tide, user):
    await tide.notify(user, title="Hello", content="…", level="info")
    tokens = [gateway.token(user, ttl_s=-600), gateway.token(user)]
    await scene.do(
        "(globalThis.tokens = 0, globalThis.tide = new Tidegate("
        f"'{gateway.url}', {{ WebSocket, api: '{gateway.http_url}', "
        f"getToken: () => {tokens!r}[Math.min(tokens++, 1)] }}), 1)"
    )
    await scene.until("tide.notifications.list().then(({ total }) => total === 1)")  # it is written after `notify`
