"""
What a client has joined by commands, so that it can join it again on its next connection.

A join lasts as long as its connection, and what it had missed comes only to who asks with `since`
(docs/protocol.md, "Groups, tags and topics after a reconnect"). Knows no socket: it is given a way to send.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.terminal.screen import Screen
from gateway.terminal.shortcuts import Frame
from gateway.terminal.style import printable
from gateway.wire import v1

REPLY_TIMEOUT_S: Final = 10.0  # longer than the gateway itself waits for Redis
_MOST_TRIES: Final = 5
_RETRY_S: Final = 1.0
_TEMPORARY: Final = frozenset({429, 500, 503})

_JOINS: Final = {"join_group": "group_id", "subscribe": "topic", "add_tag": "tag"}
_LEAVES: Final = {"leave_group": "join_group", "unsubscribe": "subscribe", "remove_tag": "add_tag"}

Key = tuple[str, str]
Send = Callable[[str], Awaitable[None]]


class Joined:
    """
    The joins that were acknowledged and not taken back.

    Attributes:
        since: From where on what was joined is due on the next connection; None while nothing is.
    """

    def __init__(self, screen: Screen) -> None:
        self.since: str | None = None
        self._screen = screen
        self._frames: dict[Key, Frame] = {}
        self._asked: dict[str, Frame] = {}
        self._again: dict[str, asyncio.Future[Mapping[str, Any]]] = {}

    def asked(self, frame: Frame) -> None:
        """Note what is about to be sent."""
        if _key(frame) is not None:
            self._asked[frame.message_id] = frame

    def unsent(self, frame: Frame) -> None:
        """Note that it was not sent after all."""
        self._asked.pop(frame.message_id, None)

    def answered(self, frame: Mapping[str, Any]) -> bool:
        """Note a frame that may be a reply; tell whether it is one to what was joined again."""
        if "id" in frame or frame.get("type") not in {v1.ACK, v1.ERROR}:
            return False
        message_id = str(frame.get("message_id"))
        asked = self._asked.pop(message_id, None)
        if asked is not None and frame["type"] == v1.ACK:
            self._obey(asked)
        waiting = self._again.pop(message_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)
        return waiting is not None

    def lost(self, cursor: str | None) -> None:
        """
        Note that the connection has ended, with the cursor that the next one resumes with.

        An earlier one stays in force until everything is joined again: what came meanwhile came without the rest.
        """
        for frame in self._asked.values():
            if frame.type in _LEAVES:  # whether it was obeyed, nobody knows; that it was wanted is certain
                self._obey(frame)
        self._asked.clear()
        self._again.clear()
        self.since = (self.since or cursor) if self._frames else None

    async def join_again(self, send: Send) -> None:
        """
        Join on a new connection what was joined on the last, one after the other.

        Raises:
            ConnectionClosed: By `send`.
        """
        joined = [key for key in list(self._frames) if await self._join_again(key, send)]
        if joined:
            self._screen.note(f"joined again: {', '.join(map(_shown, joined))}")
        if len(joined) == len(self._frames):
            self.since = None

    async def _join_again(self, key: Key, send: Send) -> bool:
        """Join one; tell whether that was acknowledged. What is refused for good is forgotten."""
        problem = "no answer"
        for _ in range(_MOST_TRIES):
            frame = self._frame(key)
            self._again[frame.message_id] = reply = asyncio.get_running_loop().create_future()
            await send(frame.encode())
            try:
                async with asyncio.timeout(REPLY_TIMEOUT_S):
                    answer = await reply
            except TimeoutError:
                break
            if answer["type"] == v1.ACK:
                return True
            data = answer.get("data")
            facts = data if isinstance(data, dict) else {}
            problem = f"{facts.get('code')} {facts.get('message')}"
            if facts.get("code") not in _TEMPORARY:
                del self._frames[key]
                break
            await asyncio.sleep(_pause_s(facts))
        self._screen.note(f"not joined again: {_shown(key)}: {printable(problem)}", "red")
        return False

    def _frame(self, key: Key) -> Frame:
        """Return the command, under an id of its own: the gateway drops a message that comes under one it knows."""
        frame = self._frames[key]
        since = {"since": self.since} if self.since is not None else {}
        return replace(frame, message_id=secrets.token_hex(6), data={**frame.data, **since})

    def _obey(self, frame: Frame) -> None:
        key = _key(frame)
        if key is None:
            return
        if frame.type in _LEAVES:
            self._frames.pop(key, None)
        else:
            data = {name: value for name, value in frame.data.items() if name != "since"}
            self._frames[key] = replace(frame, data=data)


def _key(frame: Frame) -> Key | None:
    """Return what a frame joins or leaves, as the command that joins it and the name; None where it does neither."""
    command = _LEAVES.get(frame.type, frame.type)
    name = frame.data.get(_JOINS[command]) if command in _JOINS and isinstance(frame.data, dict) else None
    return (command, name) if isinstance(name, str) else None


def _pause_s(facts: Mapping[str, Any]) -> float:
    asked_ms = facts.get("retry_after_ms")
    return asked_ms / 1000 if isinstance(asked_ms, int) else _RETRY_S


def _shown(key: Key) -> str:
    command, name = key
    return f"{_JOINS[command].removesuffix('_id')} {printable(name)}"
