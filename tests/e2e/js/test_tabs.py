"""One connection for the tabs of an origin: who has it, what all of them see, and what happens when that one goes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.e2e.js.scene import Scene
from tests.support.chromium import Chromium, Page
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.pages import Pages
from tests.support.waiting import wait_until

OpenTab = Callable[..., Awaitable["Tab"]]


class Tab(Scene):
    """A tab with a client that shares its connection."""

    engine: Page


@pytest.fixture
def user() -> str:
    """Whose tabs they are: somebody new, so that the gateway's log tells their connections from others."""
    return f"user-{secrets.token_hex(4)}"


@pytest.fixture
async def tab(chromium: Chromium, pages: Pages, gateway: GatewayProcess, user: str) -> AsyncIterator[OpenTab]:
    """Open tabs of one browser."""
    async with chromium.visit() as visit:

        async def open_tab(to: GatewayProcess, who: str = user, share: bool | str = True) -> Tab:
            opened: Tab = await Tab.on_page(await visit.open(pages.url + "/"), gateway)
            await opened.begin(to.url, to.token(who), share=share)
            return opened

        yield open_tab


def opened_connections(gateway: GatewayProcess, user: str) -> int:
    """Count the connections that a user has ever had."""
    return sum(opened["user"] == user for opened in gateway.log_events("connection_opened"))


async def test_tabs_share_one_connection_and_all_have_all_events(tab, gateway, tide, user):
    tabs = [await tab(gateway) for _ in range(3)]
    for n in range(20):
        await tide.publish("e", n, to=f"user:{user}")
    for each in tabs:
        await each.until("events.length === 20")
        assert await each.events("e") == list(range(20))
    assert opened_connections(gateway, user) == 1


async def test_without_share_each_tab_has_its_own(tab, gateway, user):
    for _ in range(2):
        await tab(gateway, share=False)
    await wait_until(lambda: opened_connections(gateway, user) == 2)


async def test_a_tab_that_only_listens_sends_through_the_other(tab, gateway, user):
    leader, follower = await tab(gateway), await tab(gateway)
    async with connected(gateway, "7", claims={"groups": ["chat"]}) as grace:
        await follower.do("tide.join('chat')")
        ack = await follower.do("tide.send('chat', 'from the second tab')")
        assert (await grace.next("new_message")).id == ack["id"]
        await leader.until("events.length === 1")  # it comes from the other tab, and the next from the gateway
        await grace.send("send_message", {"group_id": "chat", "content": "back"})
        await follower.until("events.length === 1")
        await leader.until("events.length === 2")
    # The tab that wrote it does not see it come back; the other does, as it would on a connection of its own.
    assert [data["content"] for data in await follower.events("new_message")] == ["back"]
    assert [data["content"] for data in await leader.events("new_message")] == ["from the second tab", "back"]
    assert opened_connections(gateway, user) == 1


async def test_a_refusal_reaches_the_tab_that_asked_only(tab, gateway):
    leader, follower = await tab(gateway), await tab(gateway)
    await follower.later("refused", "tide.send('nowhere', 'x')")
    assert await follower.outcome("refused") == {"error": 403}
    assert await leader.said("error") == []


@pytest.mark.parametrize("way", ["client closed", "tab closed"])
async def test_the_next_tab_takes_over_and_nothing_is_lost(tab, gateway, tide, user, way):
    leader, follower, third = await tab(gateway), await tab(gateway), await tab(gateway)
    await follower.do("tide.join('chat')")
    await tide.publish("e", 0, to=[f"user:{user}"])
    await third.until("events.length === 1")
    if way == "tab closed":
        await leader.engine.close()
    else:
        await leader.do("(tide.close(), 1)")
    places = [f"user:{user}", "group:chat"]
    await tide.publish_many([{"event": "e", "data": n, "to": places[n % 2]} for n in range(1, 101)])
    for each in (follower, third):
        await each.until("events.length >= 101")
        assert sorted(await each.events("e")) == list(range(101))
    await wait_until(lambda: opened_connections(gateway, user) == 2)


async def test_what_was_not_answered_is_sent_again_by_the_next(tab, mortal, own_redis):
    leader, follower = await tab(mortal), await tab(mortal)
    own_redis.pause()
    await follower.later("sent", "tide.sendTo('7', 'once')")
    await leader.engine.close()
    own_redis.resume()
    assert (await follower.outcome("sent"))["value"]["id"]


async def test_a_group_is_left_when_its_last_tab_leaves_it(tab, gateway):
    leader, follower = await tab(gateway), await tab(gateway)
    await leader.do("tide.join('chat')")
    await follower.do("tide.join('chat')")
    assert await leader.do("tide.leave('chat')") == {"success": True}
    assert await groups_of(follower) == ["chat"]
    await follower.do("tide.leave('chat')")
    assert await groups_of(follower) == []


async def test_a_group_is_left_when_its_last_tab_is_closed(tab, gateway):
    leader, follower = await tab(gateway), await tab(gateway)
    await follower.do("tide.join('chat')")
    assert await groups_of(leader) == ["chat"]
    await follower.engine.close()

    async def left() -> bool:
        return await groups_of(leader) == []

    await wait_until(left)


async def groups_of(tab: Tab) -> list[str]:
    """The groups that a tab's connection is in."""
    groups: list[str] = await tab.do("tide.command('get_client_info').then((info) => info.groups)")
    return groups


async def test_a_stop_reaches_all_tabs_and_any_can_start_again(tab, gateway, tide, user):
    leader, follower = await tab(gateway), await tab(gateway)
    await tide.kick(user)
    for each in (leader, follower):
        await each.until("tide.status === 'stopped'")
    await follower.do("(tide.connect(), 1)")
    for each in (leader, follower):
        await each.until("tide.status === 'online'")


async def test_a_tab_that_comes_to_a_stopped_connection_starts_it(tab, gateway, tide, user):
    leader = await tab(gateway)
    await tide.kick(user)
    await leader.until("tide.status === 'stopped'")
    await tab(gateway)
    await leader.until("tide.status === 'online'")


async def test_tabs_of_different_users_can_be_kept_apart(tab, gateway):
    ada, grace = await tab(gateway, "42", share="42"), await tab(gateway, "7", share="7")
    assert [await each.do("tide.welcome.user_id") for each in (ada, grace)] == ["42", "7"]


async def test_the_connection_survives_the_gateway_for_all_tabs(tab, mortal, own_tide):
    leader, follower = await tab(mortal), await tab(mortal)
    await follower.do("tide.subscribe('news')")
    mortal.kill()
    await follower.until("tide.status !== 'online'")
    await own_tide.publish_many([{"event": "e", "data": n, "to": "topic:news"} for n in range(50)])
    await mortal.start()
    for each in (leader, follower):
        await each.until("events.length >= 50")
        assert await each.events("e") == list(range(50))
