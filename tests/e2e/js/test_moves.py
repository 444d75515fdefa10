"""tidegate.js behind an address that leads now to one instance, now to another, and over networks that break."""

from __future__ import annotations

from tests.e2e.js.conftest import OPEN
from tests.e2e.js.scene import url_of
from tests.support.clients import connected
from tests.support.gateway import GatewayProcess
from tests.support.waiting import wait_until

ADDRESSES = ["user:42", "group:a", "topic:b", "tag:c"]
QUICK = {"minWaitMs": 20, "maxWaitMs": 50}


async def test_killed_one_instance_the_client_goes_on_at_the_other(scene, proxy, mortal, survivor, own_tide):
    proxy.target_port = mortal.port
    await scene.begin(url_of(proxy), mortal.token("42"), **QUICK)
    await scene.do("Promise.all([tide.join('a'), tide.subscribe('b'), tide.addTag('c')])")
    await own_tide.publish_many([{"event": "e", "data": n, "to": ADDRESSES[n % 4]} for n in range(100)])
    await scene.until("events.length >= 50")
    mortal.kill()
    proxy.target_port = survivor.port
    async with connected(survivor, "7", claims={"groups": ["a"]}) as grace:
        await scene.later("sent", "tide.send('a', 'on the way')")
        await own_tide.publish_many([{"event": "e", "data": n, "to": ADDRESSES[n % 4]} for n in range(100, 1_100)])
        assert (await scene.outcome("sent"))["value"]["success"] is True
        assert (await grace.next("new_message")).data["content"] == "on the way"
    await scene.until("events.length >= 1100")
    assert sorted(await scene.events("e")) == list(range(1_100))
    assert await scene.said("resync") == []


async def test_wherever_the_connection_breaks_each_event_comes_once_and_in_its_order(scene, proxy, gateway, tide):
    await scene.begin(url_of(proxy), gateway.token("42"), **QUICK)
    await scene.do("Promise.all([tide.join('a'), tide.subscribe('b'), tide.addTag('c')])")
    published = 0
    for cut_after in range(120, 5_500, 135):
        proxy.cut()
        # Alone, without what was left over before, it makes more bytes than the last of the cuts waits for.
        batch = [{"event": "e", "data": n, "to": ADDRESSES[n % 4]} for n in range(published, published + 40)]
        proxy.cut_after(cut_after)  # in the welcome, in what is resumed, in the answers to joins, in their replays
        await tide.publish_many(batch)
        published += 40
        await wait_until(lambda: not proxy.cut_is_due, 30)
    await scene.until(f"events.length >= {published}")
    came = await scene.events("e")
    assert sorted(came) == list(range(published))
    for number in range(4):
        own = [n for n in came if n % 4 == number]
        assert own == sorted(own)
    assert await scene.said("resync") == []


async def test_a_network_that_swallows_everything_is_noticed(scene, proxy, own_redis, own_tide):
    async with GatewayProcess(own_redis.url, heartbeat__ping_interval_s=0.5, **OPEN) as lively:
        proxy.target_port = lively.port
        await scene.begin(url_of(proxy), lively.token("42"), **QUICK)
        proxy.silence()
        await own_tide.publish("e", 1, to="user:42")
        await scene.until("tide.status !== 'online'")
        proxy.restore()
        proxy.cut()  # what it tried meanwhile may have been swallowed too: that would take as long as a handshake may
        await scene.until("events.length")
        assert await scene.events("e") == [1]


async def test_when_the_network_returns_it_does_not_wait_any_longer(scene, proxy, gateway):
    await scene.begin(url_of(proxy), gateway.token("42"), minWaitMs=3_600_000, maxWaitMs=3_600_000)
    proxy.cut()
    await scene.until("tide.status === 'offline'")
    if hasattr(scene.engine, "offline"):
        await scene.do("(dispatchEvent(new Event('online')), 1)")
    else:
        await scene.do("(tide.wake(), 1)")
    await scene.until("tide.status === 'online'")


async def test_a_failing_get_token_is_an_outage_and_no_end(scene, gateway):
    token = gateway.token("42")
    await scene.do(
        "(globalThis.calls = 0, globalThis.tide = new Tidegate("
        f"'{gateway.url}', {{ WebSocket, minWaitMs: 20, maxWaitMs: 50, getToken: async () => {{ "
        f"if (++calls < 3) throw new Error('no network'); return '{token}' }} }}), 1)"
    )
    await scene.until("tide.status === 'online'")
    assert await scene.do("calls") == 3


async def test_a_lost_ack_brings_the_message_back_to_nobody(scene, proxy, gateway, tide):
    await scene.begin(url_of(proxy), gateway.token("42"), **QUICK)
    await scene.do("tide.join('a')")
    proxy.cut_after(0)
    await scene.do("tide.send('a', 'once')")
    await tide.publish("last", None, to="group:a")
    await scene.until("events.some(([type]) => type === 'last')")
    assert await scene.events("new_message") == []  # though the log takes it for that of another connection
    assert (await scene.statuses()).count("online") == 2
