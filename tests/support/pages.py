"""
A web server for tests' own pages: an application's, of another origin than the gateway's.

    with Pages() as pages:
        pages.put("/", "<!doctype html><title>Hello</title>")
        await visit.open(pages.url + "/")
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json"}


class Pages:
    """Serves what it is given, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        contents = self._contents

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                content = contents.get(path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", _TYPES.get(Path(path).suffix, "text/html") + "; charset=utf-8")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, content: str | bytes) -> str:
        """Serve `content` at `path` from now on; return the URL."""
        self._contents[path] = content.encode() if isinstance(content, str) else content
        return self.url + path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
