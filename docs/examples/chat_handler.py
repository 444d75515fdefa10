"""
A handler for a chat: a lobby for everybody, a list of banned users, words that are not for here, and polls.

    handlers: ["chat_handler:ChatHandler"]
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from gateway.handlers import Handler, Message, Refuse, Session

BANNED = {"mallory"}
RUDE = {"drat"}


class ChatHandler(Handler):
    """One object serves all connections of a gateway."""

    commands = ("vote",)  # what it adds
    watches = ("send_message",)  # what it wants to see of the gateway's own commands; without this line: all

    def __init__(self) -> None:
        self.votes: Counter[str] = Counter()

    async def on_connect(self, session: Session) -> None:
        """Keep the banned out, and greet the others."""
        if session.user_id in BANNED:
            raise Refuse("you are banned")  # closes with 4403
        await session.join("group:lobby")
        await session.send("motd", {"text": f"Hello {session.name or session.user_id}!"})  # comes after `welcome`

    async def on_message(self, session: Session, message: Message) -> dict[str, Any] | None:
        """Count votes, and stop rude messages."""
        if message.type == "vote":
            return await self._vote(session, message)
        text = message.data.get("content") if isinstance(message.data, dict) else None
        if isinstance(text, str) and RUDE.intersection(text.lower().split()):
            raise Refuse("mind your language", code=403)  # the reply is `error`, and nothing is sent
        return None  # the gateway goes on with it

    async def _vote(self, session: Session, message: Message) -> dict[str, Any]:
        choice = message.data.get("choice") if isinstance(message.data, dict) else None
        if choice not in ("yes", "no"):
            raise Refuse("choice: use yes or no", code=400)
        if session.state.get("voted"):
            raise Refuse("you have voted", code=409)
        session.state["voted"] = True
        self.votes[choice] += 1
        await session.publish("votes", dict(self.votes), to="group:lobby")  # on all instances
        return {"choice": choice}  # the reply: {"success": true, "choice": "yes"}

    async def on_close(self, session: Session, code: int) -> None:
        """Tell the lobby."""
        await session.publish("left", {"user_id": session.user_id, "code": code}, to="group:lobby", expires_in=10)
