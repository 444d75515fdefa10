"""An identity provider: a real HTTP server whose key set tests change, delay and spoil."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt


def document(**keys: Any) -> bytes:
    """Return the key set of the public halves of elliptic keys, by key id."""
    reader: Any = jwt.get_algorithm_by_name("ES256")
    members = [{**reader.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()]
    return json.dumps({"keys": members}).encode()


class Provider(ThreadingHTTPServer):
    """An identity provider on a free port; tests set what it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = 200
        self.body = document()
        self.headers: dict[str, str] = {}
        self.requests: list[str] = []
        self.gate = threading.Event()  # closed: requests wait
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/jwks"


class _Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.gate.wait(60)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@contextlib.contextmanager
def serving() -> Iterator[Provider]:
    """Run a provider for as long as the context lasts."""
    provider = Provider()
    thread = threading.Thread(target=provider.serve_forever, args=(0.01,), name="provider")
    thread.start()
    try:
        yield provider
    finally:
        provider.gate.set()
        provider.shutdown()
        thread.join()
        provider.server_close()
