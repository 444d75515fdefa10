"""
Plug-in handlers for tests, well-behaved and not.

What they are called with stands in `CALLS`, which a test clears; what they wait for is set by `release`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from gateway.handlers import Handler, Message, Refuse, Session

CALLS: list[tuple[Any, ...]] = []
GATES: dict[str, asyncio.Event] = {}


def gate(name: str) -> asyncio.Event:
    """Return the event that a handler waits for."""
    return GATES.setdefault(name, asyncio.Event())


class Everything(Handler):
    """Takes note of every call, and answers `vote`, `where`, `act` and `wait`."""

    commands = ("vote", "where", "act", "wait")

    async def on_connect(self, session: Session) -> None:
        CALLS.append(("connect", session.user_id, session.groups))
        if session.user_id == "banned":
            raise Refuse("you are banned")
        if session.user_id == "greeted":
            await session.join("group:greeted")
            await session.send("greeting", {"hello": session.name})
        if session.user_id == "waits":
            await gate("connect").wait()
        if session.user_id == "closed":
            await session.close(4000, "not today")

    async def on_message(self, session: Session, message: Message) -> dict[str, Any] | None:
        CALLS.append((message.type, session.user_id, message.data))
        if message.type == "wait":
            await gate(message.data["for"]).wait()
            return {"waited": message.data["for"]}
        if message.type == "where":
            return {"groups": session.groups, "tags": session.tags, "topics": session.topics, "state": session.state}
        if message.type == "act":
            return await self._act(session, **message.data)
        if message.type == "echo" and message.data == "forbidden":
            raise Refuse("not this word", code=409)
        return {"counted": message.data["choice"]} if message.type == "vote" else None

    async def _act(self, session: Session, do: str, **arguments: Any) -> dict[str, Any]:
        result = await getattr(session, do)(**arguments)
        return {"result": result}

    async def on_close(self, session: Session, code: int) -> None:
        CALLS.append(("close", session.user_id, code))


class Second(Handler):
    """Comes behind another one, and sees what that one leaves to it."""

    commands = ("second",)
    watches = ("echo", "vote")

    async def on_connect(self, session: Session) -> None:
        CALLS.append(("second connect", session.user_id))
        if session.user_id == "half":
            raise Refuse("the second says no")

    async def on_message(self, session: Session, message: Message) -> dict[str, Any] | None:
        CALLS.append((f"second {message.type}", session.user_id))
        return {"by": "second"} if message.data == "for the second" else None

    async def on_close(self, session: Session, code: int) -> None:
        CALLS.append(("second close", session.user_id, code))


class Wrong(Handler):
    """Does everything that a handler should not."""

    commands = ("raise", "hang", "stubborn", "unwritable", "number", "flood", "unavailable")

    async def on_connect(self, session: Session) -> None:
        if session.user_id == "hangs":
            await asyncio.Event().wait()
        if session.user_id == "raises":
            raise RuntimeError("a bug of the handler's")

    async def on_message(self, session: Session, message: Message) -> Any:
        return await getattr(self, f"_{message.type}", self._nothing)(session)

    async def _nothing(self, _session: Session) -> None:
        return None

    async def _raise(self, _session: Session) -> None:
        raise RuntimeError("a bug of the handler's")

    async def _hang(self, _session: Session) -> None:
        await asyncio.Event().wait()

    async def _stubborn(self, _session: Session) -> None:
        while not gate("stubborn").is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate("stubborn").wait()

    async def _unwritable(self, _session: Session) -> dict[str, Any]:
        return {"what": object()}

    async def _number(self, _session: Session) -> int:
        return 7

    async def _flood(self, session: Session) -> None:
        while True:
            await session.send("drop", "x" * 1_000)

    async def on_close(self, session: Session, code: int) -> None:
        CALLS.append(("close", session.user_id, code))
        if session.user_id == "slow":
            await asyncio.sleep(0)
            await gate("close").wait()
            CALLS.append(("closed", session.user_id))
        if session.user_id == "bad":
            raise RuntimeError("a bug of the handler's")


class Plain:
    """Inherits from nothing, and has no `on_message`."""

    async def on_connect(self, session: Session) -> None:
        session.state["seen"] = True


class Nothing(Handler):
    """Defines no hook."""


class Blocking(Handler):
    """Forgot `async`."""

    def on_message(self, session: Session, message: Message) -> None:  # type: ignore[override]
        return None


class Taken(Handler):
    """Adds a command that there is."""

    commands = ("echo",)

    async def on_message(self, session: Session, message: Message) -> None:
        return None


class Mute(Handler):
    """Has commands and does not answer them."""

    commands = ("vote",)

    async def on_connect(self, session: Session) -> None:
        return None


class Broken(Handler):
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no database")
