"""Traces: from the publisher's span to the push, and to a span of the delivery, exported to a real collector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from gateway.tracing import SPAN
from publisher import Publisher, PublishError
from tests.support.clients import connected, settled
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
async def spans(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Any]]:
    """What a collector that listens for OTLP has been sent: resource and span each."""
    found: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        found.extend(
            (of.resource, span) for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans
        )
        return web.Response(body=b"", content_type="application/x-protobuf")

    application = web.Application()
    application.router.add_post("/v1/traces", take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield found
    await runner.cleanup()


def attributes(of: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in of.attributes}


async def test_a_trace_reaches_the_push_of_who_is_there_and_of_who_comes_back(
    gateway: RunningGateway, tide: Publisher
) -> None:
    async with connected(gateway, "1") as client:
        cursor = client.cursor
        await tide.publish("traced", 1, to="all", traceparent=TRACEPARENT)
        await tide.publish("plain", 2, to="all")
        await settled(tide, client)
        assert [(push.type, push.traceparent) for push in client.pushes] == [("traced", TRACEPARENT), ("plain", None)]
    async with connected(gateway, "1", cursor=cursor) as client:
        await client.received(2)
        assert [push.traceparent for push in client.pushes] == [TRACEPARENT, None]


async def test_the_current_span_is_the_trace(gateway: RunningGateway, tide: Publisher) -> None:
    tracer = TracerProvider().get_tracer("a service")
    async with connected(gateway, "1") as client:
        with tracer.start_as_current_span("ship") as span:
            await tide.publish("order.shipped", 1, to="user:1")
            await tide.notify("1", title="Shipped")
            await tide.publish("untraced", 3, to="user:1", traceparent="")
        await tide.publish("later", 2, to="user:1")
        await client.until(lambda: len(client.of_type("later")) == 1 and len(client.of_type("notification")) == 1)
    context = span.get_span_context()
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    traced = {push.type: push.traceparent for push in client.pushes if push.type != "unread_count"}
    assert traced == {"order.shipped": expected, "notification": expected, "untraced": None, "later": None}


async def test_a_request_to_the_http_api_carries_its_own(gateway: RunningGateway) -> None:
    headers = {"Authorization": f"Bearer {gateway.token('svc', scope='push')}"}
    body = {"event": "notice", "data": 1}
    http_client = httpx.AsyncClient(trust_env=False, headers=headers, timeout=30)
    async with connected(gateway, "1") as client, http_client as http:
        for stated in (TRACEPARENT, "nonsense"):
            url = f"{gateway.http_url}/message/push/all"
            answer = await http.post(url, json=body, headers={"traceparent": stated})
            assert answer.status_code == 202, answer.text
        await client.received(2)
        assert [push.traceparent for push in client.pushes] == [TRACEPARENT, None]


@pytest.mark.parametrize("bad", ["x", TRACEPARENT.upper(), f"00-{'0' * 32}-{PARENT}-01", TRACEPARENT + "\n", 7])
async def test_a_bad_traceparent_is_refused(tide: Publisher, bad: Any) -> None:
    with pytest.raises(PublishError, match="traceparent"):
        await tide.publish("e", 1, to="all", traceparent=bad)


async def test_a_delivery_is_a_span_where_somebody_receives_it(
    redis_url: str, tide: Publisher, spans: list[Any]
) -> None:
    async with (
        running_gateway(redis_url, tracing__enabled=True) as gateway,
        connected(gateway, "1") as client,
        connected(gateway, "2") as other,
    ):
        await tide.publish("nobody", 0, to="user:nobody", traceparent=TRACEPARENT)
        await tide.publish("plain", 1, to="all")
        await tide.publish("order.shipped", 2, to="all", traceparent=TRACEPARENT)
        await settled(tide, client, other)
        await wait_until(lambda: spans)
    ((resource, span),) = spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == (SPAN, TRACE, PARENT)
    assert 0 <= span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    said = attributes(span)
    assert (said["tidegate.event"], said["tidegate.sockets"]) == ("order.shipped", 2)
    assert said["tidegate.instance"] == gateway.instance_id
    assert attributes(resource)["service.name"] == "tidegate"


async def test_what_is_not_exported_yet_is_at_the_end(
    redis_url: str, tide: Publisher, spans: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "push")
    async with running_gateway(redis_url, tracing__enabled=True) as gateway, connected(gateway, "1") as client:
        await tide.publish("e", 1, to="user:1", traceparent=TRACEPARENT)
        await settled(tide, client)
    assert [attributes(resource)["service.name"] for resource, _ in spans] == ["push"]
