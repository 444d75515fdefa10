"""
`gateway connect`: a small client for a terminal or a pipe.

Shows what comes, sends what is typed, and stays connected as every client should: it comes back with its cursor, joins
again what it had joined, takes its time as `going_away` asks, and gives up where the close code says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from gateway.close_codes import FINAL
from gateway.errors import ConfigError
from gateway.settings import Settings
from gateway.terminal.addresses import websocket_url
from gateway.terminal.joined import REPLY_TIMEOUT_S, Joined
from gateway.terminal.quantities import duration
from gateway.terminal.screen import JsonScreen, ReadableScreen, Screen
from gateway.terminal.shortcuts import HELP, Frame, Misunderstood, understand
from gateway.terminal.token import TokenOptions, make_token
from gateway.terminal.typed_lines import TypedLines
from gateway.terminal.verdict import named
from gateway.wire import v1

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_OPEN_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 1.0
_MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
_REMEMBERED_IDS: Final = 10_000
_ABNORMAL: Final = 1006
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


def connect(
    settings: Settings,
    options: TokenOptions,
    *,
    url: str | None,
    token: str | None,
    cursor: str | None,
    as_json: bool,
) -> int:
    """
    Be a client until the end of what is typed, Ctrl-C, or a close code that is final; return the exit status.

    Args:
        url: The gateway's endpoint; the configured one where None.
        token: Used as it is; where None, tokens are made as `options` say, and renewed.
        cursor: Where to resume.

    Raises:
        ConfigError: No token can be made, or the URL is none.
    """

    def fresh_token() -> str:
        return token if token is not None else make_token(settings, options)

    fresh_token()  # what is wrong with it is better said before connecting
    client = Client(
        url or websocket_url(settings),
        fresh_token,
        JsonScreen() if as_json else ReadableScreen(),
        renews=token is None,
        cursor=cursor,
    )
    return asyncio.run(client.run())


class Client:
    """
    One user's connection, over however many sockets it takes.

    Args:
        fresh_token: Returns the token to send.
        renews: Each token is a new one, so a connection can be kept beyond its first.
    """

    def __init__(
        self, url: str, fresh_token: Callable[[], str], screen: Screen, *, renews: bool, cursor: str | None
    ) -> None:
        self._url = url
        self._fresh_token = fresh_token
        self._screen = screen
        self._renews = renews
        self._cursor = cursor
        self._seen: deque[str] = deque(maxlen=_REMEMBERED_IDS)
        self._seen_ids: set[str] = set()
        self._socket: ClientConnection | None = None
        self._joined = Joined(screen)
        self._welcomed = asyncio.Event()
        self._ready = asyncio.Event()  # welcomed, and where it was: what is typed can be sent
        self._rejoining: asyncio.Task[None] | None = None
        self._unanswered: set[str] = set()
        self._answered = asyncio.Event()
        self._answered.set()
        self._failures = 0
        self._reconnect_in_s: float | None = None

    async def run(self) -> int:
        """Run until one of the two ends: what is typed, or the connection for good."""
        typed = TypedLines()
        tasks = [asyncio.create_task(self._stay_connected()), asyncio.create_task(self._obey(typed))]
        if typed.interactive:
            self._screen.note("type /help for what can be sent; Ctrl-D ends")
        typed.start()
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return max(task.result() for task in done)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # The connection.

    async def _stay_connected(self) -> int:
        """Connect again and again; return 1 when there is no point any more."""
        while True:
            try:
                await self._connected()
            except ConnectionClosed as closed:
                if self._ended_for_good(closed):
                    return 1
            except BrokenPipeError:  # nobody reads what we print
                raise
            except InvalidURI:
                raise ConfigError("--url", f"{self._url!r:.200} is not a WebSocket address") from None
            except InvalidStatus as refused:
                if self._refused_for_good(refused):
                    return 1
            except (OSError, TimeoutError, InvalidMessage) as error:
                self._screen.note(f"no connection to {self._url}: {_reason(error)}", "red")
            except InvalidHandshake as error:
                self._screen.note(f"{self._url} is no gateway: {error}", "red")
                return 1
            finally:
                self._socket = None
                self._welcomed.clear()
                self._ready.clear()
                if self._rejoining is not None:
                    self._rejoining.cancel()
                self._joined.lost(self._cursor)
                self._unanswered.clear()  # what was sent on that socket will not be answered on another
                self._answered.set()
            await self._pause()

    async def _connected(self) -> None:
        """
        Hold one connection.

        Raises:
            ConnectionClosed: It has ended.
        """
        async with open_socket(
            self._url,
            subprotocols=[Subprotocol(v1.SUBPROTOCOL)],
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_size=_MAX_FRAME_BYTES,
            proxy=None if urlsplit(self._url).hostname in _LOOPBACK else True,
        ) as socket:
            self._socket = socket
            try:
                await self._authenticate(socket)
                while True:
                    await self._take(socket, await socket.recv())
            except asyncio.CancelledError:
                await socket.close()  # with 1000: `async with` would call it an internal error
                raise

    async def _authenticate(self, socket: ClientConnection) -> None:
        """Send the token in a frame: a URL would be in somebody's log."""
        resuming = self._cursor is not None and not self._welcomed.is_set()
        data = {"token": self._fresh_token(), **({"cursor": self._cursor} if resuming else {})}
        await socket.send(Frame("auth", secrets.token_hex(6), data).encode())

    def _ended_for_good(self, closed: ConnectionClosed) -> bool:
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (_ABNORMAL, "")
        text = f"closed with {named(code)}" + (f": {reason}" if reason else "")
        final = code in FINAL
        self._screen.note(f"{text}; not connecting again" if final else text, "red" if final else "yellow")
        return final

    def _refused_for_good(self, refused: InvalidStatus) -> bool:
        response = refused.response
        final = response.status_code < 500 and response.status_code != 429
        with contextlib.suppress(KeyError, ValueError):
            self._reconnect_in_s = float(response.headers["Retry-After"])
        text = f"{self._url} answered {response.status_code} {response.reason_phrase}"
        self._screen.note(f"{text}; not connecting again" if final else text, "red")
        return final

    async def _pause(self) -> None:
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        pause_s = self._reconnect_in_s if self._reconnect_in_s is not None else random.uniform(0.5, 1.0) * longest
        self._failures += 1
        self._reconnect_in_s = None
        where = f", resuming after {self._cursor}" if self._cursor is not None else ""
        self._screen.note(f"connecting again in {duration(pause_s)}{where}")
        await asyncio.sleep(pause_s)

    # Frames that come.

    async def _take(self, socket: ClientConnection, message: str | bytes) -> None:
        text = message if isinstance(message, str) else message.decode(errors="replace")
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            self._screen.note("the gateway sent what is not a frame", "red")
            return
        if self._is_repeated(frame):
            return
        if not self._joined.answered(frame):
            self._screen.received(text, frame)
        elif frame["type"] == v1.ACK:
            self._cursor = self._joined.since or self._cursor  # what the join has missed follows: it is not had yet
        self._note_reply(frame)
        await self._react(socket, frame)

    def _is_repeated(self, frame: dict[str, Any]) -> bool:
        """Tell whether a push was seen before: a resume may repeat some where there are several partitions."""
        event_id = frame.get("id")
        if not isinstance(event_id, str):
            return False
        if event_id in self._seen_ids:
            return True
        if len(self._seen) == _REMEMBERED_IDS:
            self._seen_ids.discard(self._seen[0])
        self._seen.append(event_id)
        self._seen_ids.add(event_id)
        self._cursor = event_id
        return False

    def _note_reply(self, frame: dict[str, Any]) -> None:
        self._unanswered.discard(str(frame.get("message_id")))
        if not self._unanswered:
            self._answered.set()

    async def _react(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        """Do what a frame of the gateway's own asks for."""
        kind, data = frame.get("type"), frame.get("data")
        facts = data if isinstance(data, dict) else {}
        if kind in {v1.WELCOME, v1.PONG, v1.RESYNC} and isinstance(facts.get("cursor"), str):
            self._cursor = facts["cursor"]
        if kind == v1.WELCOME:
            self._failures = 0
            self._welcomed.set()
            self._rejoining = asyncio.create_task(self._rejoin(socket), name="rejoin")
        elif kind == v1.GOING_AWAY and isinstance(facts.get("reconnect_in_ms"), int):
            self._reconnect_in_s = facts["reconnect_in_ms"] / 1000
        elif kind == v1.TOKEN_EXPIRING and self._renews:
            self._screen.note("sending a new token")
            await self._authenticate(socket)

    async def _rejoin(self, socket: ClientConnection) -> None:
        """Come back to where it was, before anything typed is sent: that may need what was joined."""
        with contextlib.suppress(ConnectionClosed):
            await self._joined.join_again(socket.send)
            self._ready.set()

    # What is typed.

    async def _obey(self, typed: TypedLines) -> int:
        async for line in typed.lines():
            if line in {"/quit", "/exit", "/q"}:
                break
            if line in {"/help", "/?"}:
                for text in HELP.splitlines():
                    self._screen.note(text, "cyan")
            elif line:
                await self._send(line)
        with contextlib.suppress(TimeoutError):  # a script may end with /quit, and wants the answers before
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await self._answered.wait()
        return 0

    async def _send(self, line: str) -> None:
        try:
            frame = understand(line)
        except Misunderstood as error:
            self._screen.note(str(error), "red")
            return
        while (socket := self._socket) is None or not self._ready.is_set():  # it may be gone again by now
            await self._ready.wait()
        self._joined.asked(frame)
        self._unanswered.add(frame.message_id)
        self._answered.clear()
        try:
            await socket.send(frame.encode())
        except ConnectionClosed:
            self._unanswered.discard(frame.message_id)
            self._joined.unsent(frame)
            self._screen.note(f"not sent, the connection is gone: {frame.type}", "red")
        else:
            self._screen.sent(frame)


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error)
