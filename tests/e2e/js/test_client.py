"""tidegate.js in Node and in Chromium: the same tests, against gateways: processes, where they are killed."""

from __future__ import annotations

from tests.e2e.js.conftest import OPEN
from tests.e2e.js.scene import url_of
from tests.support.clients import connected, settled
from tests.support.gateway import GatewayProcess
from tests.support.waiting import wait_until

USER = "user:42"


async def test_events_come_to_those_who_listen_until_they_do_not(scene, gateway, tide):
    await scene.begin(gateway.url, gateway.token("42"))
    await scene.do(
        "(globalThis.off = tide.on('order', (data, frame) => events.push(['heard', [data, frame.type]])), 1)"
    )
    await tide.publish("order", {"n": 1}, to=USER)
    await scene.until("events.length === 2")
    await scene.do("(off(), 1)")
    await tide.publish("order", {"n": 2}, to=USER)
    await scene.until("events.length === 3")
    assert await scene.do("events") == [["heard", [{"n": 1}, "order"]], ["order", {"n": 1}], ["order", {"n": 2}]]


async def test_the_token_is_in_no_url(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42"))
    if hasattr(scene.engine, "requests"):
        assert not any("eyJ" in url for url in scene.engine.requests)
    assert "eyJ" not in gateway.log


async def test_a_message_is_acknowledged_and_reaches_the_others_but_not_the_sender(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42", name="Ada"))
    async with connected(gateway, "7", claims={"groups": ["chat"]}) as grace:
        assert (await scene.do("tide.join('chat')"))["success"] is True
        ack = await scene.do("tide.send('chat', { text: 'é😀' }, { type: 'rich' })")
        message = await grace.next("new_message")
        assert (message.id, message.message_id) == (ack["id"], ack["message_id"])
        assert message.data["content"] == {"text": "é😀"}
        assert (message.data["msg_type"], message.data["from_name"]) == ("rich", "Ada")
        await scene.do("tide.sendTo('7', 'hi')")
        assert (await grace.next("new_message")).data["to"] == "7"
        await grace.send("send_message", {"group_id": "chat", "content": "hello back"})
        await scene.until("events.length >= 1")
        assert [data["content"] for data in await scene.events("new_message")] == ["hello back"]


async def test_groups_topics_and_tags_are_joined_and_left(scene, gateway, tide):
    await scene.begin(gateway.url, gateway.token("42"))
    for join, address in (("join", "group:a"), ("subscribe", "topic:b"), ("addTag", "tag:c")):
        await scene.do(f"tide.{join}('{address[-1]}')")
        await tide.publish("in", address, to=address)
    await scene.until("events.length === 3")
    for leave, address in (("leave", "group:a"), ("unsubscribe", "topic:b"), ("removeTag", "tag:c")):
        await scene.do(f"tide.{leave}('{address[-1]}')")
        await tide.publish("in", "too late", to=address)
    await tide.publish("last", None, to=USER)
    await scene.until("events.length >= 4")
    assert [data for _, data in await scene.do("events")] == ["group:a", "topic:b", "tag:c", None]


async def test_a_refused_command_rejects_its_promise_and_says_so(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42"))
    await scene.later("refused", "tide.send('not joined', 'x')")
    assert await scene.outcome("refused") == {"error": 403}
    await scene.later("unknown", "tide.command('dance')")
    assert await scene.outcome("unknown") == {"error": 404}
    assert [error["code"] for error in await scene.said("error")] == [403, 404]


async def test_a_message_that_is_too_large_is_refused_here_and_the_connection_lives(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42"))
    await scene.do("tide.join('chat')")
    await scene.later("large", "tide.send('chat', 'é'.repeat(33_000))")
    assert await scene.outcome("large") == {"error": 413}
    assert (await scene.do("tide.send('chat', 'é'.repeat(30_000))"))["success"] is True
    assert await scene.statuses() == ["online"]


async def test_a_thousand_missed_events_come_once_each_and_in_order(scene, mortal, survivor, own_tide):
    await scene.begin(mortal.url, mortal.token("42"))
    await scene.do("tide.join('chat')")
    await own_tide.publish("e", -1, to=USER)
    await scene.until("events.length === 1")
    mortal.kill()
    await scene.until("tide.status !== 'online'")
    await own_tide.publish_many([{"event": "e", "data": n, "to": [USER, "group:chat"][n % 2]} for n in range(1_000)])
    await mortal.start()
    await scene.until("events.length >= 1001")
    await own_tide.publish("e", 1_000, to=[USER, "group:chat"])
    await scene.until("events.some(([, data]) => data === 1000)")
    came = await scene.events("e")
    assert sorted(came) == list(range(-1, 1_001))
    for parity in (0, 1):  # what was joined by command follows what the token has: each in order
        own = [n for n in came if n % 2 == parity and 0 <= n < 1_000]
        assert own == sorted(own)
    assert await scene.said("resync") == []


async def test_killed_again_and_again_nothing_is_lost(scene, mortal, own_tide):
    await scene.begin(mortal.url, mortal.token("42"))
    await scene.do("Promise.all([tide.join('a'), tide.subscribe('b'), tide.addTag('c')])")
    addresses = [USER, "group:a", "topic:b", "tag:c"]
    for round_ in range(4):
        mortal.kill()
        batch = [{"event": "e", "data": round_ * 40 + n, "to": addresses[n % 4]} for n in range(40)]
        await own_tide.publish_many(batch[:20])
        await mortal.start()
        if round_ % 2:  # on the way back
            await scene.until("tide.status === 'online'")
        await own_tide.publish_many(batch[20:])
    await scene.until("events.length >= 160")
    assert sorted(await scene.events("e")) == list(range(160))


async def test_what_is_sent_while_offline_is_stored_once_when_it_is_back(scene, mortal, survivor):
    await scene.begin(mortal.url, mortal.token("42"))
    await scene.do("tide.join('chat')")
    async with connected(survivor, "7", claims={"groups": ["chat"]}) as grace:
        mortal.kill()
        await scene.until("tide.status !== 'online'")
        for n in range(5):
            await scene.later(f"sent{n}", f"tide.send('chat', {n})")
        await mortal.start()
        acks = [(await scene.outcome(f"sent{n}"))["value"] for n in range(5)]
        assert len({ack["id"] for ack in acks}) == 5
        await grace.received(5)
        assert [data["content"] for _, data in grace.events] == list(range(5))
    assert await scene.events("new_message") == []


async def test_a_message_whose_ack_was_lost_is_sent_again_and_stored_once(scene, mortal, survivor, own_redis, own_tide):
    await scene.begin(mortal.url, mortal.token("42"))
    await scene.do("tide.join('chat')")
    async with connected(survivor, "7", claims={"groups": ["chat"]}) as grace:
        own_redis.pause()  # so the ack waits
        await scene.later("sent", "tide.send('chat', 'once')")
        await scene.do("new Promise((resolve) => setTimeout(resolve, 100))")
        mortal.kill()
        own_redis.resume()
        await mortal.start()
        ack = (await scene.outcome("sent"))["value"]
        message = await grace.next("new_message")
        assert message.id == ack["id"]
        await settled(own_tide, grace)
        assert [data["content"] for _, data in grace.events] == ["once"]
    assert await scene.events("new_message") == []


async def test_the_queue_is_bounded_and_close_refuses_what_waits(scene, gateway, proxy):
    await scene.begin(url_of(proxy), gateway.token("42"), queue=2)
    proxy.refuse()
    await scene.until("tide.status !== 'online'")
    for name in ("one", "two", "three"):
        await scene.later(name, f"tide.send('chat', '{name}')")
    assert await scene.outcome("three") == {"error": "overflow"}
    await scene.do("(tide.close(), 1)")
    assert await scene.outcome("one") == await scene.outcome("two") == {"error": "closed"}
    await scene.later("four", "tide.send('chat', 'four')")
    assert await scene.outcome("four") == {"error": "closed"}
    assert (await scene.statuses())[-1] == "closed"


async def test_a_command_without_an_answer_times_out(scene, gateway, proxy):
    await scene.begin(url_of(proxy), gateway.token("42"), timeoutMs=200)
    proxy.refuse()
    await scene.until("tide.status !== 'online'")
    await scene.later("sent", "tide.send('chat', 'x')")
    assert await scene.outcome("sent") == {"error": "timeout"}


async def test_more_commands_than_the_gateway_takes_at_once_all_arrive(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42"), queue=1_000)
    acks = await scene.do("Promise.all(Array.from({ length: 200 }, (_, n) => tide.sendTo('7', n)))")
    assert len({ack["id"] for ack in acks}) == 200
    assert await scene.statuses() == ["online"]


async def test_a_kick_stops_it_and_connect_starts_it_again(scene, gateway, tide):
    await scene.begin(gateway.url, gateway.token("42"))
    await scene.do("tide.join('chat')")
    await tide.kick("42", reason="bye")
    await scene.until("tide.status === 'stopped'")
    assert (await scene.said("status"))[-1] == {"status": "stopped", "code": 4403, "reason": "bye"}
    await scene.later("refused", "tide.join('other')")
    assert await scene.outcome("refused") == {"error": "stopped"}
    await scene.do("(tide.connect(), 1)")
    await scene.until("tide.status === 'online'")
    await tide.publish("e", "back in the group", to="group:chat")
    await scene.until("events.length")


async def test_a_refused_token_is_replaced_once_then_it_stops(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42", ttl_s=-600), gateway.token("42"))
    assert await scene.do("asked") == [False, True]
    await scene.do("(tide.close(), 1)")
    await scene.begin(gateway.url, "nonsense", online=False)
    await scene.until("tide.status === 'stopped'")
    assert (await scene.said("status"))[-1]["code"] == 4401
    assert await scene.do("asked") == [False, True]


async def test_who_has_no_token_is_not_connected(scene, gateway):
    await scene.begin(gateway.url, None, online=False)
    await scene.until("tide.status === 'stopped'")
    assert (await scene.said("status"))[-1] == {"status": "stopped", "code": 4401, "reason": "no token"}


async def test_an_expiring_token_is_refreshed_on_the_connection(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42", ttl_s=20), gateway.token("42", ttl_s=600))
    await scene.until("asked.length === 2")
    await wait_until(
        lambda: scene.do("tide.command('get_client_info').then((info) => info.expires_at > Date.now() + 60_000)")
    )
    assert await scene.do("asked") == [False, True]
    assert await scene.statuses() == ["online"]


async def test_a_restart_is_announced_and_obeyed(scene, mortal):
    await scene.begin(mortal.url, mortal.token("42"))
    await mortal.terminate()
    await scene.until("tide.status !== 'online'")
    offline = next(change for change in await scene.said("status") if change["status"] == "offline")
    assert offline["code"] == 1012
    await mortal.start()
    await scene.until("tide.status === 'online'")


async def test_a_cursor_that_is_gone_brings_a_resync(scene, gateway):
    await scene.begin(gateway.url, gateway.token("42"), cursor="1764930000000-0.0.9f3a1c2b")
    (resync,) = await scene.until("said.filter(([name]) => name === 'resync')")
    assert "user:42" in resync[1]["addresses"]
    assert await scene.do("tide.cursor") == resync[1]["cursor"]


async def test_a_new_client_goes_on_from_a_kept_cursor(scene, gateway, tide):
    await scene.begin(gateway.url, gateway.token("42"))
    await tide.publish("e", 1, to=USER)
    await scene.until("events.length")
    cursor = await scene.do("tide.cursor")
    await scene.do("(tide.close(), 1)")
    await tide.publish("e", 2, to=USER)
    await scene.begin(gateway.url, gateway.token("42"), cursor=cursor)
    await scene.until("events.length")
    assert await scene.events("e") == [2]


async def test_a_gateway_that_says_nothing_any_more_is_left(scene, own_redis):
    async with GatewayProcess(own_redis.url, heartbeat__ping_interval_s=0.5, **OPEN) as gateway:
        await scene.begin(gateway.url, gateway.token("42"))
        gateway.pause()
        await scene.until("tide.status !== 'online'")
        offline = next(change for change in await scene.said("status") if change["status"] == "offline")
        assert (offline["code"], offline["reason"]) == (1006, "no sign of life")
        gateway.resume()
        await scene.until("tide.status === 'online'")


async def test_a_quiet_client_keeps_its_position_fresh(scene, own_redis, own_tide):
    async with GatewayProcess(own_redis.url, heartbeat__ping_interval_s=0.2, **OPEN) as gateway:
        await scene.begin(gateway.url, gateway.token("42"))
        first = await scene.do("tide.cursor")
        await own_tide.publish("e", 1, to="user:7")
        await scene.until(f"tide.cursor !== '{first}'")
        assert await scene.do("events") == []


async def test_a_listener_that_throws_harms_no_other(scene, gateway, tide):
    await scene.begin(gateway.url, gateway.token("42"))
    await scene.do("(tide.on('e', () => { throw new Error('a bug') }), tide.on('e', () => events.push(['second'])), 1)")
    await tide.publish("e", 1, to=USER)
    await scene.until("events.length === 2")
    await wait_until(lambda: "a bug" in " ".join(scene.engine.errors))  # they come by another way
