"""
Links: run an exchange on a connection of a redis-py client (asyncio).

Works below `execute_command` and `pipeline`: they retry by rules of their own, and do not tell a connection
that could not be had from one that broke with commands on it. That is the difference between "nothing was
stored" and "nobody knows". Every wait ends at the exchange's deadline.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from publisher.delivery import Exchange
from publisher.failure import ASYNCIO_ERRORS, Failure, failure_of, has_closed, is_demotion

_MAX_REDIRECTIONS = 3


class Link(Protocol):
    """A way to Redis."""

    async def run(self, exchange: Exchange) -> None:
        """Carry the exchange to its end, or tell it that there is none. Raises nothing of redis-py."""


class PoolLink:
    """The way to one server, or to the master that a Sentinel names: a connection of the client's pool."""

    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool

    async def run(self, exchange: Exchange) -> None:
        """See `Link`."""
        try:
            async with asyncio.timeout_at(exchange.deadline):
                connection = await self._pool.get_connection()
        except ASYNCIO_ERRORS as error:
            exchange.not_sent(error)
            return
        try:
            await _converse(connection, exchange)
        finally:
            await self._pool.release(connection)


class ClusterLink:
    """The way to a cluster: a connection to the node that has the exchange's partition."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster: Any = cluster
        self._map_is_stale = False

    async def run(self, exchange: Exchange) -> None:
        """See `Link`."""
        for _ in range(_MAX_REDIRECTIONS):
            try:
                async with asyncio.timeout_at(exchange.deadline):
                    node, connection = await self._connect(exchange.slot_key)
            except ASYNCIO_ERRORS as error:
                self._map_is_stale = True
                exchange.not_sent(error)
                return
            try:
                broken = await _converse(connection, exchange)
            finally:
                node.release(connection)
            redirected = exchange.redirect()
            self._map_is_stale = broken or redirected
            if not redirected:
                return

    async def _connect(self, key: bytes) -> tuple[Any, Any]:
        if self._map_is_stale:
            # The cluster client follows MOVED, and looks for a failed node's replacement, and so corrects its
            # map.
            await self._cluster.execute_command("EVAL", "return 1", 1, key)
            self._map_is_stale = False
        await self._cluster.initialize()
        node = self._cluster.get_node_from_key(key)
        connection = node.acquire_connection()
        try:
            await connection.connect()
        except BaseException:
            node.release(connection)
            raise
        return node, connection


async def _converse(connection: Any, exchange: Exchange) -> bool:
    """Run the exchange on a connection; tell whether that had to be left."""
    try:
        async with asyncio.timeout_at(exchange.deadline):
            while exchange.unsent:
                wires = exchange.commands()
                await connection.send_packed_command([b"".join(wires)])
                demoted = False
                reader = _reader(connection)
                for _ in wires:
                    reply = reader.gets(False) if reader is not None and reader.has_data() else NOT_ENOUGH_DATA
                    if reply is NOT_ENOUGH_DATA:
                        reply = await _next_reply(connection)
                    if isinstance(reply, RedisError):
                        demoted |= _fail(exchange, reply)
                    else:
                        exchange.answered(reply)
                if demoted:
                    await connection.disconnect(nowait=True)
                    return True
    except ASYNCIO_ERRORS as error:
        await connection.disconnect(nowait=True)
        exchange.lost(error)
        return True
    except BaseException:
        # Cancelled: a reply that arrives later must not be taken for the next command's.
        await connection.disconnect(nowait=True)
        raise
    return False


async def _next_reply(connection: Any) -> Any:
    """Wait for a reply; an error that Redis answers is returned as well."""
    try:
        # redis-py would close the connection on LOADING and NOAUTH, and with it the answers that follow.
        return await connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except RedisError as error:
        return error


def _fail(exchange: Exchange, error: RedisError) -> bool:
    """Take an error for a reply; tell whether the server said that it is a replica. Raises it where all are lost."""
    if failure_of(error) is Failure.LOST:
        raise error
    exchange.failed(error)
    if has_closed(error):
        raise error
    return is_demotion(error)


def _reader(connection: Any) -> Any:
    """
    Return the parser of a connection, for replies that have come with an earlier one.

    The replies of a pipeline come together, and redis-py would spend more on waiting for each, which is there, than
    the rest of a publish costs. None without hiredis, and under RESP3, where something else may be among them.
    """
    return getattr(connection._parser, "_reader", None) if int(connection.protocol) == 2 else None


def open_link(redis: str | Redis | RedisCluster, connect_timeout_s: float) -> tuple[Link, Redis | None]:
    """
    Return the way to what the caller named, and the client that was made for it, to be closed with the
    publisher.

    Raises:
        TypeError: It is neither a URL nor an asyncio client.
        ValueError: The URL is not one of Redis.
    """
    if isinstance(redis, str):
        client = Redis.from_url(
            redis,
            protocol=2,
            # Retries and deadlines are decided in one place, `delivery`; redis-py 8 brings its own by
            # default.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=connect_timeout_s,
        )
        return PoolLink(client), client
    if isinstance(redis, RedisCluster):
        return ClusterLink(redis), None
    if isinstance(redis, Redis):
        return PoolLink(redis), None
    raise TypeError(
        f"{type(redis).__name__} is not a URL and not a client of redis.asyncio: "
        "the blocking clients go with publisher.sync.Publisher"
    )
