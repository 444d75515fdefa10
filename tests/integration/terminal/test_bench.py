"""`gateway bench`: what it measures, says and leaves behind."""

from __future__ import annotations

import json

import pytest

from tests.support.clients import connected, settled
from tests.support.terminal import CTRL_C
from tests.support.waiting import wait_until

SMALL = ("--clients", "20", "--rate", "50", "--seconds", "0.4")


async def measured(shell, *arguments):
    done = await shell.gateway("bench", *SMALL[:2], *arguments, "--json", timeout_s=60)
    assert done.status == 0, done.err
    assert done.err == ""  # no progress for pipes
    return json.loads(done.out)


async def test_everything_that_is_sent_to_all_arrives(shell):
    found = await measured(shell, *SMALL[2:])
    assert (found["clients"], found["events"]) == (20, 20)
    assert found["deliveries"] == found["expected"] == 400
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["lost_connections"] == 0
    assert found["same_machine"] is True


async def test_an_event_for_each_arrives_once(shell):
    found = await measured(shell, *SMALL[2:], "--each")
    assert found["deliveries"] == found["expected"] == found["events"] == 20


async def test_saturated_it_claims_no_latency(shell):
    found = await measured(shell, "--saturate", "--seconds", "0.3")
    assert found["deliveries"] == found["expected"] == found["events"] * 20
    assert found["events"] > 0
    assert found["p50_ms"] is None


async def test_large_events_are_events_too(shell):
    found = await measured(shell, "--rate", "10", "--seconds", "0.3", "--bytes", "70000")
    assert found["deliveries"] == found["expected"] > 0


async def test_people_get_a_table_and_the_truth_about_the_machine(shell):
    done = await shell.gateway("bench", *SMALL)
    assert done.status == 0, done.err
    rows = [line.split()[:2] for line in done.out.splitlines()[4:7]]
    assert rows == [["connects", "20"], ["events", "20"], ["deliveries", "400"]]
    assert "All of it ran on this machine" in done.out


async def test_nobody_else_gets_its_events(shell, gateway, tide):
    async with connected(gateway, "42") as client:
        await measured(shell, *SMALL[2:])
        await settled(tide, client)
        assert client.pushes == []


async def test_its_clients_go_with_a_goodbye(shell, gateway):
    await measured(shell, *SMALL[2:])
    await wait_until(lambda: not gateway.services.connections)
    assert set(gateway.services.metrics.closed) == {1000}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "ws://127.0.0.1:1/ws"), "cannot connect"),
        (("--url", "nonsense"), "is not a WebSocket address"),
        (("--clients", "0"), "use 1 to"),
        (("--rate", "-1"), "use a number above 0"),
        (("--rate", "1", "--saturate"), "not allowed with"),
    ],
)
async def test_what_cannot_be_is_said_in_one_line(shell, arguments, said):
    done = await shell.gateway("bench", *arguments)
    assert done.status in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err


async def test_a_gateway_with_another_secret_is_said(shell):
    done = await shell.gateway("bench", *SMALL, GATEWAY_AUTH__SECRET="x" * 40)
    assert done.status == 1
    assert "401" in done.err


async def test_a_terminal_sees_the_progress_and_ctrl_c_ends_it(shell, gateway):
    async with shell.terminal("bench", "--clients", "5", "--seconds", "60") as terminal:
        await terminal.shows("publishing")
        terminal.press(CTRL_C)
        assert await terminal.ended() == 130
        assert "Traceback" not in terminal.shown
    await wait_until(lambda: not gateway.services.connections)
