"""The JavaScript client's own path, and pages of other origins (CORS)."""

from __future__ import annotations

import tomllib

import pytest

from gateway.http.javascript_routes import FOLDER
from tests.integration.http.conftest import bearer, calling
from tests.integration.http.test_credentials import ALL, MESSAGE
from tests.support.gateway import running_gateway

PAGE = "https://app.example.com"
SOURCE = (FOLDER / "tidegate.js").read_text()


@pytest.mark.parametrize(
    ("path", "media_type"), [("/tidegate.js", "text/javascript"), ("/tidegate.d.ts", "text/plain")]
)
async def test_the_client_is_served_to_everybody(anybody, path, media_type):
    answer = await anybody.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"].startswith("public, max-age=")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == (FOLDER / path[1:]).read_text()


async def test_it_is_compressed_for_those_who_take_that(anybody):
    compressed = await anybody.get("/tidegate.js", headers={"Accept-Encoding": "gzip"})
    plain = await anybody.get("/tidegate.js", headers={"Accept-Encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert compressed.text == plain.text == SOURCE
    assert compressed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("given", ["{}", "W/{}", '"other", {}', "*"])
async def test_who_has_it_already_is_told_so(anybody, given):
    etag = (await anybody.get("/tidegate.js")).headers["etag"]
    again = await anybody.get("/tidegate.js", headers={"If-None-Match": given.format(etag)})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag


async def test_another_etag_brings_it_anew(anybody):
    assert (await anybody.get("/tidegate.js", headers={"If-None-Match": '"old"'})).status_code == 200


async def test_head_says_how_large_it_is(anybody):
    answer = await anybody.head("/tidegate.js", headers={"Accept-Encoding": "identity"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(SOURCE.encode())


async def test_its_path_takes_nothing(anybody):
    assert (await anybody.post("/tidegate.js", content=b"x")).status_code == 405


async def test_it_can_be_turned_off(redis_url):
    async with running_gateway(redis_url, http__client=False) as gateway, calling(gateway.http_url) as anybody:
        assert (await anybody.get("/tidegate.js")).status_code == 401


def test_the_wheel_will_have_it():
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())
    packed = {
        path for glob in project["tool"]["setuptools"]["package-data"]["gateway"] for path in FOLDER.parent.glob(glob)
    }
    assert {FOLDER / "tidegate.js", FOLDER / "tidegate.d.ts"} <= packed


# Pages of other origins.


async def preflight(client, origin, method="POST", headers="authorization,content-type"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await client.options(ALL, headers=asked)


async def test_a_page_of_a_listed_origin_may_call_the_api(redis_url):
    async with running_gateway(redis_url, http__origins=[PAGE]) as gateway, calling(gateway.http_url) as page:
        asked = await preflight(page, PAGE)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert "POST" in asked.headers["access-control-allow-methods"]
        allowed = asked.headers["access-control-allow-headers"].lower()
        assert {"authorization", "content-type"} <= set(allowed.split(", "))
        pushed = await page.post(ALL, json=MESSAGE, headers={"Origin": PAGE, **bearer()})
        assert pushed.status_code == 202
        assert pushed.headers["access-control-allow-origin"] == PAGE
        assert "origin" in pushed.headers["vary"].lower()


async def test_a_refusal_can_be_read_by_the_page(redis_url):
    async with running_gateway(redis_url, http__origins=[PAGE]) as gateway, calling(gateway.http_url) as page:
        refused = await page.post(ALL, json=MESSAGE, headers={"Origin": PAGE})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", "http://app.example.com"])
async def test_pages_of_other_origins_may_not(redis_url, origin):
    async with running_gateway(redis_url, http__origins=[PAGE]) as gateway, calling(gateway.http_url) as page:
        asked = await preflight(page, origin)
        assert asked.status_code == 400
        assert "access-control-allow-origin" not in asked.headers
        pushed = await page.post(ALL, json=MESSAGE, headers={"Origin": origin, **bearer()})
        assert "access-control-allow-origin" not in pushed.headers


async def test_by_default_no_page_of_another_origin_may(anybody, service):
    asked = await preflight(anybody, PAGE)
    assert asked.status_code == 401
    pushed = await service.post(ALL, json=MESSAGE, headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in pushed.headers


async def test_a_star_lets_every_page(redis_url):
    async with running_gateway(redis_url, http__origins=["*"]) as gateway, calling(gateway.http_url) as page:
        assert (await preflight(page, PAGE)).headers["access-control-allow-origin"] == "*"
        # No cookies and no client certificates: `*` and credentials of the browser's own exclude each other.
        assert "access-control-allow-credentials" not in (await preflight(page, PAGE)).headers
