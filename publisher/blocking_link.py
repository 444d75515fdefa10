"""
Links: run an exchange on a connection of a redis-py client (blocking).

The twin of `link`, which gives the reasons. A blocking socket has no deadline but one timeout per operation,
so that is set anew, to the time left, before each.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from publisher.delivery import Exchange
from publisher.failure import REDIS_ERRORS, Failure, failure_of, has_closed, is_demotion

_MAX_REDIRECTIONS = 3


class Link:
    """
    A way to Redis. Raises nothing of redis-py.

    Args:
        pool_for: Finds the pool of the server that has a key; the flag asks it to look again.
        follows: Whether another server may be found when one says that it is not the right one.
    """

    def __init__(self, pool_for: Callable[[bytes, bool], Any], *, follows: bool) -> None:
        self._pool_for = pool_for
        self._follows = follows
        self._map_is_stale = False

    def run(self, exchange: Exchange) -> None:
        """Carry the exchange to its end, or tell it that there is none."""
        for _ in range(_MAX_REDIRECTIONS):
            try:
                pool = self._pool_for(exchange.slot_key, self._map_is_stale)
                connection = pool.get_connection()
            except REDIS_ERRORS as error:
                self._map_is_stale = True
                exchange.not_sent(error)
                return
            try:
                broken = _converse(connection, exchange)
            finally:
                pool.release(connection)
            if not self._follows:
                return
            redirected = exchange.redirect()
            self._map_is_stale = broken or redirected
            if not redirected:
                return


def _converse(connection: Any, exchange: Exchange) -> bool:
    """Run the exchange on a connection; tell whether that had to be left."""
    try:
        while exchange.unsent:
            _allow(connection, exchange)
            wires = exchange.commands()
            connection.send_packed_command([b"".join(wires)])
            demoted = False
            for _ in wires:
                _allow(connection, exchange)
                demoted |= _read_reply(connection, exchange)
            if demoted:
                connection.disconnect()
                return True
        _set_timeout(connection, connection.socket_timeout)
    except REDIS_ERRORS as error:
        connection.disconnect()
        exchange.lost(error)
        return True
    except BaseException:
        # KeyboardInterrupt: a reply that arrives later must not be taken for the next command's.
        connection.disconnect()
        raise
    return False


def _read_reply(connection: Any, exchange: Exchange) -> bool:
    """Read one reply; tell whether the server said that it is a replica."""
    try:
        reply = connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except RedisError as error:
        if failure_of(error) is Failure.LOST:
            raise
        exchange.failed(error)
        if has_closed(error):
            raise
        return is_demotion(error)
    exchange.answered(reply)
    return False


def _allow(connection: Any, exchange: Exchange) -> None:
    left = exchange.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    _set_timeout(connection, left)


def _set_timeout(connection: Any, timeout_s: float | None) -> None:
    socket = getattr(connection, "_sock", None)  # redis-py has no public way to do this on all its versions
    if socket is not None:
        socket.settimeout(timeout_s)


def open_link(redis: str | Redis | RedisCluster, connect_timeout_s: float) -> tuple[Link, Redis | None]:
    """
    Return the way to what the caller named, and the client that was made for it, to be closed with the
    publisher.

    Raises:
        TypeError: It is neither a URL nor a blocking client.
        ValueError: The URL is not one of Redis.
    """
    if isinstance(redis, str):
        client = Redis.from_url(
            redis,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=connect_timeout_s,
            socket_connect_timeout=connect_timeout_s,
        )
        return Link(lambda _key, _anew: client.connection_pool, follows=False), client
    if isinstance(redis, RedisCluster):
        return Link(lambda key, anew: _cluster_pool(redis, key, anew), follows=True), None
    if isinstance(redis, Redis):
        return Link(lambda _key, _anew: redis.connection_pool, follows=False), None
    raise TypeError(
        f"{type(redis).__name__} is not a URL and not a blocking client: "
        "those of redis.asyncio go with publisher.Publisher"
    )


def _cluster_pool(cluster: Any, key: bytes, anew: bool) -> Any:
    if anew:
        # The cluster client follows MOVED, and looks for a failed node's replacement, and so corrects its
        # map.
        cluster.execute_command("EVAL", "return 1", 1, key)
    node = cluster.get_node_from_key(key)
    return cluster.get_redis_connection(node).connection_pool
