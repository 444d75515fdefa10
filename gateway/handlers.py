"""
What plug-in handlers are written with; the one module of the gateway that an application imports.

    from gateway.handlers import Handler, Message, Refuse, Session

    class ChatHandler(Handler):
        commands = ("vote",)

        async def on_message(self, session: Session, message: Message) -> dict[str, Any] | None:
            ...

docs/handlers.md is its guide; `plugins` runs what is written with it. It knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from typing import Unpack

    from publisher.event import EventOptions

REFUSALS: Final = frozenset({400, 401, 403, 404, 409, 413, 429, 503})
"""The codes that a refused command can be answered with."""


class Refuse(Exception):
    """
    Raised by a handler: no.

    From `on_connect` it closes the connection with 4403 and the reason, before `welcome`. From `on_message` it is the
    `error` reply to the command, which is not carried out.

    Args:
        reason: For the client. Of a close frame, the first 123 bytes.
        code: Of the `error` reply: one of `REFUSALS`.
    """

    def __init__(self, reason: str = "refused", *, code: int = 403) -> None:
        if code not in REFUSALS:
            raise ValueError(f"code is {code!r:.20}: use one of {', '.join(map(str, sorted(REFUSALS)))}")
        super().__init__(reason)
        self.reason = reason
        self.code = code


class SessionClosed(Exception):
    """The client has gone: nothing can be sent any more. A handler need not catch it."""


@dataclass(frozen=True, slots=True)
class Message:
    """
    One command of a client.

    Attributes:
        type: Its name.
        data: Its arguments; an empty dict where the client gave none. They are as the client sent them: check them.
        message_id: The client's name for it, or None.
    """

    type: str
    data: Any
    message_id: str | None


class Session(Protocol):
    """
    One connection, as a handler sees it. The same object in every call for that connection.

    Attributes:
        client_id: Names the connection: what is published to `client:<client_id>` reaches it.
        user_id, tenant, name, scopes: What the token says.
        remote: The peer's address.
        connected_at: ms since 1970.
        groups, tags, topics: What it is in at the moment, in order.
        state: The handlers' own, to remember things from call to call; nobody else looks at it.
    """

    @property
    def client_id(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def remote(self) -> str: ...
    @property
    def connected_at(self) -> int: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def state(self) -> dict[str, Any]: ...

    async def send(self, type: str, data: Any = None) -> None:
        """
        Send this client a frame, which is neither stored nor replayed. From `on_connect`: right after `welcome`.

        Waits while the client takes nothing.

        Raises:
            SessionClosed: It has gone.
            ValueError: The type is the gateway's own, or the data cannot be written as JSON or is too large.
        """

    async def join(self, address: str) -> None:
        """
        Let the connection receive what is sent to a group, tag or topic. The policy is not asked: you decide.

        From `on_connect` on, a client that resumes gets what the address has had meanwhile.

        Raises:
            SessionClosed: The client has gone.
            Refuse: It has as many addresses as it may.
            ValueError: It is not `group:…`, `tag:…` or `topic:…`.
        """

    async def leave(self, address: str) -> None:
        """Let the connection receive that no longer. Raises what `join` raises."""

    async def publish(self, event: str, data: Any, *, to: str | Iterable[str], **options: Unpack[EventOptions]) -> str:
        """
        Publish an event in the session's tenant, and return its id. See `publisher.Publisher.publish`.

        Raises:
            PublishError: See there. Where the handler does not catch it, the client is answered 503 if Redis is the
                reason, else 500.
        """

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection, with 1000 or one of 4000 to 4999. Raises ValueError where it is another."""


class Handler:
    """
    What a handler may define; it need not inherit from this. One object of it serves all connections of a process.

    Attributes:
        commands: The types of commands that it adds.
        watches: Types of the gateway's own commands, and of other handlers', that `on_message` is to see; all where
            None. `auth` and `ping` are never shown.
    """

    commands: Collection[str] = ()
    watches: Collection[str] | None = None

    async def on_connect(self, session: Session) -> None:
        """Do something once a client is authenticated and before it is welcome. Raise `Refuse` to send it away."""

    async def on_message(self, session: Session, message: Message) -> Mapping[str, Any] | None:
        """
        Look at a command before anybody else does.

        Returns:
            None: it goes on to the next handler, and in the end to the gateway. Facts: they are the reply's, and
            nobody else sees the command. Raise `Refuse` to answer with an `error`.
        """

    async def on_close(self, session: Session, code: int) -> None:
        """Do something after the connection has ended; `code` says how (1006: without a goodbye)."""
