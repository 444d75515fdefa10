"""The API: the ASGI application, put together from its routes, its documentation and its gate."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from gateway.http import (
    access_routes,
    batch_routes,
    client_routes,
    console_routes,
    docs_routes,
    group_routes,
    history_routes,
    javascript_routes,
    notification_routes,
    operation_routes,
    presence_routes,
    push_routes,
    receipt_routes,
    user_routes,
)
from gateway.http.answers import ProblemJson
from gateway.http.console_routes import Console
from gateway.http.context import Context
from gateway.http.problems import add_handlers

_ROUTERS: Final[tuple[APIRouter, ...]] = (
    push_routes.router,
    batch_routes.router,
    push_routes.system,
    notification_routes.router,
    client_routes.router,
    user_routes.router,
    group_routes.router,
    history_routes.router,
    receipt_routes.router,
    access_routes.router,
    presence_routes.router,
    operation_routes.router,
)

_DESCRIPTION: Final = """
Push events to browsers and apps. An event is in the log once its `id` is answered; every gateway instance then delivers
it to the sockets that it is for.

Every request but `GET /health` needs a credential: a JWT with the scope `push` as `Authorization: Bearer …`, or an API
key as `X-API-Key: …`. It decides about the tenant. A user's own JWT reaches that user's notifications, and nothing
else. With an `Idempotency-Key` a push can be repeated without harm.

What fails is answered with problem JSON (RFC 9457).
"""


def make_api(
    context: Context,
    *,
    docs: bool,
    client: bool,
    version: str,
    metrics: APIRouter | None = None,
    console: Console | None = None,
) -> ASGIApp:
    """
    Return the API, without its gate.

    Args:
        metrics: The route of the metrics, if there is to be one.
        console: What the console is told, if there is to be one.
    """
    app = FastAPI(
        title="Tidegate",
        version=version,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        swagger_ui_oauth2_redirect_url=None,
        strict_content_type=False,
        redirect_slashes=False,
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    app.state.context = context
    add_handlers(app)
    for router in (*_ROUTERS, *([metrics] if metrics is not None else [])):
        app.include_router(router)
    if client:
        javascript_routes.add_client(app)
    if console is not None:
        console_routes.add_console(app, console)
    if docs:
        docs_routes.add_docs(app, describe(app))
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    if "ProblemJson" not in schemas:
        schemas["ProblemJson"] = ProblemJson.model_json_schema()
        _use_problems(document)
    return document


def _use_problems(document: dict[str, Any]) -> None:
    """FastAPI describes its own validation errors where a route says nothing of 422."""
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                if status == "422" and schema.get("$ref", "").endswith("HTTPValidationError"):
                    reference = {"$ref": "#/components/schemas/ProblemJson"}
                    response["content"] = {"application/problem+json": {"schema": reference}}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
