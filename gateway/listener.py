"""The listening socket, whose options those that it accepts inherit, which costs nothing per connection."""

from __future__ import annotations

import os
import socket
from typing import Final

_NOTSENT_LOWAT_BYTES: Final = 128 * 1024


def listening_socket(host: str, port: int, *, reuse_port: bool, user_timeout_s: float) -> socket.socket:
    """
    Return a bound socket.

    TCP_USER_TIMEOUT ends a connection whose peer acknowledges nothing; TCP_NOTSENT_LOWAT keeps the kernel from
    hiding how far behind a slow peer is (both tcp(7)).
    """
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family[0], socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(user_timeout_s * 1000))
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOTSENT_LOWAT_BYTES)
        listener.setblocking(False)
        listener.bind(family[4])
    except BaseException:
        listener.close()
        raise
    return listener


def file_problem() -> str | None:
    """
    Return why no file can be opened, or None.

    Nobody else says so: where accept(2) fails with EMFILE, libuv takes connections and closes them in silence.
    """
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror
    return None
