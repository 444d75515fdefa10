"""`/docs` and `/openapi.json`: a page of our own, which needs no internet and runs no script but its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from fastapi import FastAPI, Response

DOCS_PATHS: Final = frozenset({"/docs", "/docs/page.css", "/docs/page.js", "/openapi.json"})

_FOLDER: Final = Path(__file__).with_name("static")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = {
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/page.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/page.js": ("docs.js", "text/javascript; charset=utf-8"),
}


def add_docs(app: FastAPI, openapi: Mapping[str, Any]) -> None:
    """Let `app` serve its documentation, made at the start because that takes a tenth of a second."""
    for path, (name, media_type) in _PAGE.items():
        app.add_api_route(path, _answer((_FOLDER / name).read_bytes(), media_type), include_in_schema=False)

    app.add_api_route("/openapi.json", _answer(orjson.dumps(openapi), "application/json"), include_in_schema=False)


def _answer(content: bytes, media_type: str) -> Callable[[], Any]:
    async def serve() -> Response:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return Response(content, media_type=media_type, headers=headers)

    return serve
