"""
The commands that clients send, one function each.

A command function takes the connection, the command's `message_id` and its `data`, and returns the one reply, or a
future of it where Redis has to be asked. What it refuses, it raises as `CommandError`. A function stands in the table
below or it does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.commands import chat, history, membership, presence, reading, recall, receipts, session
from gateway.services import CommandFunction, Services


def command_table(services: Services) -> Mapping[str, CommandFunction]:
    """Return every command with its function."""
    families: tuple[Callable[[Services], Mapping[str, CommandFunction]], ...] = (
        session.commands,
        membership.commands,
        chat.commands,
        recall.commands,
        history.commands,
        reading.commands,
        presence.commands,
        receipts.commands,
    )
    return {name: function for family in families for name, function in family(services).items()}
