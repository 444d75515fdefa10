"""`/metrics`: for Prometheus, with a credential or without one, as the settings say."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from gateway.http.answers import AUTH_PROBLEMS
from gateway.http.callers import Pushing
from gateway.http.context import Context, InContext

METRICS_PATH: Final = "/metrics"

_TEXT: Final[dict[str, Any]] = {
    "summary": "Metrics for Prometheus",
    "response_class": Response,
    "responses": {200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}, **AUTH_PROBLEMS},
}

behind_gate = APIRouter(tags=["operation"])
in_the_open = APIRouter(tags=["operation"])


@behind_gate.get(METRICS_PATH, **_TEXT)
async def metrics(_caller: Pushing, context: InContext) -> Response:
    """Return what this process counts."""
    return _answer(context)


@in_the_open.get(METRICS_PATH, **_TEXT)
async def open_metrics(context: InContext) -> Response:
    """Return what this process counts, to everybody."""
    return _answer(context)


def _answer(context: Context) -> Response:
    text, media_type = context.metrics_text()
    return Response(text, headers={"Content-Type": media_type})
