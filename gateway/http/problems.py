"""
Problems: every answer that is not a success, as problem JSON (RFC 9457).

The type is always `about:blank`: the status says what kind of problem it is, `detail` what to change. A detail holds
nothing internal; what the peer sent is not sent back.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"

_MOST_ERRORS: Final = 100
_DETAILS: Final = {404: "there is nothing at this path", 405: "this path has no such method"}


class Problem(HTTPException):
    """
    An answer that is not a success.

    Args:
        facts: Members besides those of RFC 9457, section 3.1.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **facts: Any) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.facts = facts

    def members(self) -> dict[str, Any]:
        """Return the problem as a JSON object."""
        phrase = HTTPStatus(self.status_code).phrase
        return {
            "type": "about:blank",
            "title": phrase,
            "status": self.status_code,
            "detail": self.detail,
            **{name: value for name, value in self.facts.items() if value is not None},
        }

    def response(self) -> Response:
        """Return the problem as an answer."""
        return Response(orjson.dumps(self.members()), self.status_code, self.headers, MEDIA_TYPE)


def later(detail: str, retry_after_s: int, **facts: Any) -> Problem:
    """Return the problem of a service that cannot do it now."""
    return Problem(503, detail, headers={"Retry-After": str(retry_after_s)}, **facts)


def invalid(errors: list[Any]) -> Problem:
    """Return the problem of a request whose fields do not hold, given what pydantic says of them."""
    fields = [{"field": _field(error["loc"]), "problem": _text(error)} for error in errors[:_MOST_ERRORS]]
    first = f"{fields[0]['field']}: {fields[0]['problem']}"
    return Problem(422, first + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""), errors=fields)


def _field(location: tuple[int | str, ...]) -> str:
    names = [str(part) for part in location if not isinstance(part, str) or part.isidentifier() or "-" in part]
    return ".".join(names)[:200]


def _text(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")[:500]


def add_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_bug)


async def _on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    if isinstance(error, Problem):
        return error.response()
    detail = _DETAILS.get(error.status_code, error.detail)
    return Problem(error.status_code, detail, headers=error.headers).response()


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    return invalid(list(error.errors())).response()


async def _on_bug(_request: Request, _error: Exception) -> Response:
    """Starlette raises the error again; the gate logs it."""
    return Problem(500, "an error of the gateway's own; its log says more").response()
