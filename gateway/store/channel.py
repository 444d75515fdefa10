"""
The channel: a connection of redis-py, taken over below its client.

For the one reader whose replies are large: they go from the socket straight into hiredis' parser, without the two
copies and the task switches of `asyncio.StreamReader`, which cost more than reading the log itself. Opening, TLS,
authentication and Sentinel stay redis-py's.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, Final

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

_BUFFER_BYTES: Final = 256 * 1024
_INCOMPLETE: Final = object()
_PACKED: Final = 16  # who reads on and on says the same each time


class Channel(asyncio.BufferedProtocol):
    """One command at a time, and its reply. After an error the connection has to be dropped."""

    def __init__(self, connection: Any) -> None:
        self._parser = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._reply: asyncio.Future[Any] | None = None
        self._lost: BaseException | None = None
        self._loop = asyncio.get_running_loop()

        @lru_cache(maxsize=_PACKED)
        def pack(*command: str | bytes | int) -> bytes:
            return b"".join(connection.pack_command(*command))

        self._pack = pack
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_protocol(self)

    async def call(self, *command: str | bytes | int, within_s: float) -> Any:
        """
        Send a command and return its reply.

        Raises:
            RedisError: What Redis answers, or that the connection is lost.
            TimeoutError: No reply in time.
        """
        if self._lost is not None:
            raise self._lost
        waiting = self._reply = self._loop.create_future()
        self._transport.write(self._pack(*command))
        timer = self._loop.call_later(within_s, _give_up, waiting)  # which costs less than asyncio.timeout
        try:
            reply = await waiting
        finally:
            timer.cancel()
        if isinstance(reply, BaseException):
            raise reply
        return reply

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the signature is asyncio's
        """See `asyncio.BufferedProtocol`."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._parser.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # any buffer will do
        try:
            reply = self._parser.gets(False)
        except InvalidResponse as error:
            reply = error
        if reply is not _INCOMPLETE and self._reply is not None and not self._reply.done():
            self._reply.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._lost = RedisConnectionError(f"the connection is lost: {error or 'closed by the server'}")
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(self._lost)


def _give_up(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError("no reply in time"))
