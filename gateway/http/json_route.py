"""The route whose bodies are JSON, read by `json_body`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gateway.http.bodies import VERBATIM
from gateway.http.json_body import parse
from gateway.http.problems import Problem

_LISTS: Final = frozenset({"events"})


class JsonRequest(Request):
    """A request whose body is read once, and keeps its payloads as they are."""

    async def json(self) -> Any:
        """
        Return the body's value; see `json_body`.

        Raises:
            Problem: 400.
        """
        try:
            return parse(await self.body(), verbatim=VERBATIM, lists=_LISTS)
        except ValueError as error:
            raise Problem(400, f"the body is not JSON: {error}"[:300]) from None


class JsonRoute(APIRoute):
    """FastAPI's way to replace the request: https://fastapi.tiangolo.com/how-to/custom-request-and-route/"""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            _check_media_type(request.headers.get("content-type"))
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


def _check_media_type(stated: str | None) -> None:
    kind = (stated or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem(415, "send JSON, and say so: `Content-Type: application/json`")
