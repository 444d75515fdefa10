"""The description of commands: complete, and fit for a form."""

from __future__ import annotations

import pytest

from gateway.commands.described import DESCRIBED
from tests.support.gateway import running_gateway

_ELSEWHERE = {"ack", "get_online_status", "get_presence"}
"""Described ahead of their functions."""


async def test_every_command_is_described_and_nothing_else(redis_url):
    async with running_gateway(redis_url) as gateway:
        table = set(gateway.services.commands)
    described = {command.type for command in DESCRIBED}
    assert table <= described, f"say in gateway/commands/described.py what these do: {table - described}"
    assert described - table <= _ELSEWHERE


def test_no_command_is_described_twice():
    assert len({command.type for command in DESCRIBED}) == len(DESCRIBED)


@pytest.mark.parametrize("command", DESCRIBED, ids=lambda command: command.type)
def test_a_description_holds_together(command):
    names = [field.name for field in command.fields]
    assert len(set(names)) == len(names)
    assert set(command.one_of) <= set(names)
    assert command.about.endswith(".")
    assert not command.whole or len(names) == 1
