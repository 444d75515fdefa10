"""Every route of the API, as the application has them: none but health answers without a credential."""

from __future__ import annotations

import re

import pytest

from gateway.http.api import _ROUTERS, make_api
from gateway.http.metrics_routes import behind_gate
from tests.integration.http.conftest import bearer, calling
from tests.support.gateway import running_gateway

# What answers to everybody. Whoever adds a path says here under which setting.
OPEN_ALWAYS = {"/health"}
OPEN_WITH_DOCS = {"/docs", "/docs/page.css", "/docs/page.js", "/openapi.json"}
OPEN_WITH_CLIENT = {"/tidegate.js", "/tidegate.d.ts"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "PROPFIND", "CONNECT-ME")


def paths(*, docs: bool) -> set[str]:
    """Return the path of every route there is, with its parameters filled in."""
    routes = [route for router in _ROUTERS for route in router.routes]
    routes += make_api(None, docs=docs, client=True, version="0", metrics=behind_gate).routes  # type: ignore[arg-type, attr-defined]
    found = {str(route.path) for route in routes if getattr(route, "path", None)}  # type: ignore[attr-defined]
    return {re.sub(r"\{[^}]+\}", "x", path) for path in found}


def test_there_are_routes() -> None:
    assert {"/health", "/ready", "/stats", "/message/push/all", "/api/v1/access"} <= paths(docs=False)


@pytest.mark.parametrize("public", [False, True])
async def test_no_route_but_health_answers_without_a_credential(redis_url: str, public: bool) -> None:
    opened = OPEN_ALWAYS | (OPEN_WITH_DOCS | OPEN_WITH_CLIENT if public else set())
    settings = {"http__docs": public, "http__client": public}
    async with running_gateway(redis_url, **settings) as gateway, calling(gateway.http_url) as anybody:
        for path in sorted(paths(docs=True) | {"/", "/nowhere", "/metrics", "/console", "/tidegate.js", "//health"}):
            for method in METHODS:
                status = (await anybody.request(method, path)).status_code
                if path in opened:
                    assert status == 200 if method == "GET" else status in {200, 405}, (method, path)
                else:
                    assert status == 401, (method, path)


LOOK_ALIKES = ["/health/", "/HEALTH", "/health%2f..%2fstats", "/health/../stats", "/health;/stats", "/health%00"]


@pytest.mark.parametrize("path", LOOK_ALIKES)
async def test_what_only_looks_like_health_needs_a_credential(redis_url: str, path: str) -> None:
    async with running_gateway(redis_url) as gateway, calling(gateway.http_url) as anybody:
        assert (await anybody.request("GET", path)).status_code in {400, 401}


async def test_a_token_without_any_scope_reaches_no_service_route(redis_url: str) -> None:
    async with running_gateway(redis_url) as gateway, calling(gateway.http_url, **bearer(scope="")) as nobody:
        for path in ("/ready", "/stats", "/api/v1/access"):
            assert (await nobody.get(path)).status_code == 403, path
