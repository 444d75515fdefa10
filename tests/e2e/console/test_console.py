"""The console in a real Chromium: two people, two instances, and everything that the page can do."""

from __future__ import annotations

from gateway.http.console_forms import forms
from tests.support.gateway import make_token

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


async def test_two_people_make_the_whole_round(ada, bob, gateway, other):
    await ada.log_in("ada", groups="chat-1")
    await bob.log_in("bob")
    assert await ada.text("#status-text") == "Online as ada"

    # Bob joins, Ada writes, Bob sees it.
    assert "join_group was answered" in await bob.command("join_group", group_id="chat-1")
    said = await ada.command("send_message", group_id="chat-1", content='"Good morning"')
    assert "send_message was answered" in said
    await bob.until_frame("new_message", "Good morning")
    assert "new_message" not in await ada.frames()  # she has the ack

    # Ada publishes to Bob alone, and to a topic that he subscribes to.
    await ada.view("publish")
    await ada.put("#publish-to", "user:bob")
    await ada.put("#publish-data", '{"order": 8}')
    await ada.page.click("#publish-form button.main-button")
    await ada.says("#publish-result", "In the log as")
    await bob.until_frame("order.shipped", '{"order":8}')
    assert "order.shipped" not in await ada.frames()
    assert "subscribe was answered" in await bob.command("subscribe", topic="prices")
    await ada.put("#publish-to", "topic:prices")
    await ada.put("#publish-event", "price")
    await ada.page.click("#publish-form button.main-button")
    await bob.until_frame("price")

    # She notifies him: a badge, an inbox, and it is read.
    await ada.put("#notify-user", "bob")
    await ada.put("#notify-title", "Lunch?")
    await ada.page.click("#notify-form button.main-button")
    await ada.says("#notify-result", "Sent to bob")
    await bob.says("#unread", "1")
    await bob.view("inbox")
    await bob.says("#inbox-list", "Lunch?")
    await bob.page.click("#inbox-list .unread button")
    await bob.page.wait_for("document.querySelector('#unread').hidden")
    await bob.page.wait_for("document.querySelectorAll('#inbox-list .read').length === 1")

    # Both are there, each on an instance of their own.
    await ada.view("people")
    await ada.says("#connections", "bob")
    instances = await ada.value("[...document.querySelectorAll('#connections code')].map((node) => node.textContent)")
    assert sorted(instances) == ["gw-a", "gw-b"]
    await ada.says("#online-count", "2")
    await ada.put("#presence-group", "chat-1")
    await ada.page.click("#presence-form button")
    await ada.says("#presence-users", "bob")
    await ada.view("cluster")
    await ada.page.wait_for("document.querySelectorAll('.instance').length === 2")
    await ada.page.wait_for("document.querySelectorAll('.instance .line[d]').length >= 4")
    await ada.all_is_well()
    await bob.all_is_well()


async def test_every_command_has_a_form_that_the_gateway_understands(ada):
    await ada.log_in("ada")
    for command in forms():
        if command["type"] == "auth":
            continue  # below
        fields = command["fields"]
        given = {field["name"]: "x" for field in fields if field["needed"] and not field["example"]}
        said = await ada.command(command["type"], **given)
        form = await ada.value("[...document.querySelectorAll('#command-fields [name]')].map((node) => node.name)")
        assert form == [field["name"] for field in fields]
        assert command["type"] in said
        assert " 404 " not in said or command["type"] in ("mark_read", "recall_message")
    await ada.all_is_well()


async def test_a_new_token_is_not_shown(ada):
    await ada.log_in("ada")
    token = make_token("ada", scope="push")
    assert "auth was answered" in await ada.command("auth", token=token)
    await ada.until_frame("auth")
    await ada.view("live")
    await ada.unfold()
    shown = await ada.value("document.body.innerText")
    assert token not in shown
    assert "•••" in shown


async def test_what_comes_is_text_and_nothing_else(ada, tide):
    await ada.log_in("ada")
    await tide.publish(HOSTILE[:200], {"text": HOSTILE, HOSTILE: [HOSTILE]}, to="user:ada")
    await tide.notify("ada", title=HOSTILE, content=HOSTILE, link="/x", type="t")
    await ada.until_frame("notification")
    await ada.unfold()
    await ada.view("inbox")
    await ada.says("#inbox-list", HOSTILE)
    assert await ada.value("document.querySelectorAll('main img, .live img, main script, .live script').length") == 0
    assert await ada.value("window.hacked === undefined")
    await ada.all_is_well()


async def test_frames_can_be_filtered_paused_and_cleared(ada, tide):
    await ada.log_in("ada")
    for number in range(3):
        await tide.publish("one", {"n": number}, to="user:ada")
    await tide.publish("two", {"needle": True}, to="user:ada")
    await ada.until_frame("two")
    await ada.put("#live-filter", "NEEDLE")
    assert await ada.frames() == ["two"]
    await ada.put("#live-filter", "")
    await ada.put("#live-kind", "push")
    assert await ada.frames() == ["one", "one", "one", "two"]
    await ada.page.click("#live-pause")
    await tide.publish("three", {}, to="user:ada")
    await ada.says("#live-count", "1 waiting")
    assert "three" not in await ada.frames()
    await ada.page.click("#live-pause")
    await ada.until_frame("three")
    await ada.page.click("#live-clear")
    assert await ada.frames() == []
    await ada.says("#live-empty", "All quiet")


async def test_the_list_is_bounded(ada, tide):
    await ada.log_in("ada")
    await tide.publish_many([{"event": "many", "data": n, "to": "user:ada"} for n in range(700)])
    await tide.publish("last", None, to="user:ada")
    await ada.until_frame("last")
    assert len(await ada.frames()) == 500


async def test_one_can_disconnect_and_connect_again(ada, tide):
    await ada.log_in("ada")
    await ada.page.click("#switch")
    await ada.until_status("closed")
    assert await ada.text("#switch") == "Connect"
    assert "Not connected" in await ada.command("echo")
    await ada.page.click("#switch")
    await ada.until_status("online")
    assert "echo was answered" in await ada.command("echo", data='{"a": 1}')


async def test_a_plug_in_command_can_be_sent_too(ada):
    await ada.log_in("ada")
    said = await ada.command("", type="no_such_command", data="[1]")
    assert "404" in said


async def test_wrong_json_is_said_where_it_stands(ada):
    await ada.log_in("ada")
    said = await ada.command("echo", data="{wrong")
    assert "data is not JSON" in said
    assert await ada.value("document.querySelector('#field-data').getAttribute('aria-invalid')") == "true"


async def test_without_the_scope_it_says_what_is_missing(ada):
    await ada.log_in("ada", scope="")
    await ada.view("publish")
    await ada.says("#publish .notice", "lacks the scope push")
    await ada.page.click("#publish-form button.main-button")
    await ada.says("#publish-result", "Give a service credential under Session")
    await ada.view("session")
    await ada.put("#credential", make_token("svc", scope="push"))
    await ada.page.click("#credential-form button")
    await ada.view("publish")
    await ada.page.click("#publish-form button.main-button")
    await ada.says("#publish-result", "In the log as")


async def test_a_token_of_ones_own_logs_in_and_a_bad_one_is_named(ada):
    await ada.page.evaluate("document.querySelector('#token-details').open = true")
    await ada.put("#token", "not-a-token")
    await ada.page.click("#token-form button")
    await ada.says("#token-error", "three parts")
    await ada.put("#token", make_token("ada", secret="another-secret-that-nobody-here-has-0123456789"))
    await ada.page.click("#token-form button")
    await ada.until_status("stopped")
    await ada.page.click("#logout")
    assert await ada.value("document.querySelector('#token').value") == ""
    await ada.put("#token", make_token("ada"))
    await ada.page.click("#token-form button")
    await ada.until_status("online")


async def test_logging_out_leaves_nothing_behind(ada, tide):
    await ada.log_in("ada")
    await tide.publish("secret", {"s": 1}, to="user:ada")
    await ada.until_frame("secret")
    await ada.page.click("#logout")
    assert await ada.frames() == []
    assert await ada.value("document.querySelector('#app').hidden")
    stored = await ada.value("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
    assert stored == ["{}", "{}", ""]


async def test_the_colours_follow_the_system_and_the_switch(ada, gateway):
    ground = "getComputedStyle(document.body).backgroundColor"
    await ada.page.emulate(dark=False)
    light = await ada.value(ground)
    await ada.page.emulate(dark=True)
    dark = await ada.value(ground)
    assert light != dark
    await ada.page.click("#theme")
    assert await ada.value(ground) == light
    await ada.page.go(f"{gateway.http_url}/console")
    await ada.page.wait_for("document.body.dataset.ready")
    assert await ada.value(ground) == light


async def test_it_fits_a_phone(ada):
    await ada.page.emulate(width=390, height=844, mobile=True)
    await ada.log_in("ada")
    covered = "document.elementFromPoint(innerWidth / 2, innerHeight - 10).closest('.rail') !== null"
    for view in ("live", "send", "publish", "inbox", "people", "cluster", "session"):
        await ada.view(view)
        assert await ada.value("document.documentElement.scrollWidth") <= 390, view
        assert await ada.value(covered), view  # the views are in reach of a thumb


async def test_every_control_has_a_name(ada):
    await ada.log_in("ada")
    nameless = await ada.value(
        """[...document.querySelectorAll('button, input, select, textarea, a')]
             .filter((node) => !(node.labels?.length || node.textContent.trim() || node.getAttribute('aria-label')))
             .map((node) => node.outerHTML)"""
    )
    assert nameless == []
