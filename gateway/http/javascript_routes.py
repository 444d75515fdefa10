"""
`/tidegate.js` and `/tidegate.d.ts`: the JavaScript client, for pages of every origin.

Public code and no data, so it takes no credential; a page of another origin may import it, which changes nothing about
who may connect.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response

FOLDER: Final = Path(__file__).parents[1] / "static"

_FILES: Final = {
    "/tidegate.js": ("tidegate.js", "text/javascript; charset=utf-8"),
    "/tidegate.d.ts": ("tidegate.d.ts", "text/plain; charset=utf-8"),
}
_MAX_AGE_S: Final = 300  # short: an upgraded gateway should not be talked to by yesterday's client for long

CLIENT_PATHS: Final = frozenset(_FILES)


def add_client(app: FastAPI) -> None:
    """Let `app` serve the client, compressed once at the start."""
    for path, (name, media_type) in _FILES.items():
        answer = _answer((FOLDER / name).read_bytes(), media_type)
        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)


def _answer(content: bytes, media_type: str) -> Callable[[Request], Any]:
    compressed = gzip.compress(content, mtime=0)
    digest = hashlib.sha256(content).hexdigest()[:32]
    etag, compressed_etag = f'"{digest}"', f'"{digest}-gzip"'  # two bodies need two (RFC 9110, section 8.8.3)
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Cache-Control": f"public, max-age={_MAX_AGE_S}",
        "Vary": "Accept-Encoding",
    }

    async def serve(request: Request) -> Response:
        may_be_compressed = "gzip" in request.headers.get("accept-encoding", "")
        stated = {**headers, "ETag": compressed_etag if may_be_compressed else etag}
        if _names(request.headers.get("if-none-match", ""), {etag, compressed_etag}):
            return Response(status_code=304, headers=stated)
        if may_be_compressed:
            return Response(compressed, headers={**stated, "Content-Encoding": "gzip"}, media_type=media_type)
        return Response(content, headers=stated, media_type=media_type)

    return serve


def _names(if_none_match: str, etags: set[str]) -> bool:
    """Tell whether `If-None-Match` has one of the tags, compared weakly (RFC 9110, section 13.1.2)."""
    stated = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return "*" in stated or bool(stated & etags)
