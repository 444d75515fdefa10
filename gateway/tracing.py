"""
Tracing: a span for each traced event that somebody here receives, from its entry into the log to the sockets.

OpenTelemetry is imported only where the setting asks for it. What exports, and where to, is told by its own environment
variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME` …); a provider that somebody has set up before is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from gateway.entry import Entry
from gateway.errors import ConfigError

SPAN: Final = "tidegate deliver"

Traced = Callable[[Entry, int], None]
"""Notes that an entry with a `traceparent` was handed to so many sockets."""


class Tracing:
    """Makes spans."""

    def __init__(self, tracer: Any, instance_id: str, close: Callable[[], None]) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._kind = trace.SpanKind.CONSUMER
        self._extract = TraceContextTextMapPropagator().extract
        self._instance_id = instance_id
        self.close = close

    def delivered(self, entry: Entry, sockets: int) -> None:
        """See `Traced`. The span begins by the clock of Redis, which gave the id, and ends by ours."""
        assert entry.options is not None  # noqa: S101 - else it has no `traceparent`
        assert entry.options.trace is not None  # noqa: S101
        began_ns = entry.position[0] * 1_000_000
        span = self._tracer.start_span(
            SPAN,
            context=self._extract({"traceparent": entry.options.trace.decode()}),
            kind=self._kind,
            start_time=began_ns,
            attributes={
                "messaging.system": "tidegate",
                "messaging.operation.name": "deliver",
                "messaging.message.id": entry.message_id.decode(errors="replace"),
                "tidegate.event": entry.event.decode(errors="replace"),
                "tidegate.entry": entry.id.decode(),
                "tidegate.tenant": entry.tenant,
                "tidegate.instance": self._instance_id,
                "tidegate.sockets": sockets,
            },
        )
        span.end(max(began_ns, time.time_ns()))


def open_tracing(instance_id: str) -> Tracing:
    """
    Return what makes spans, and exports them by OTLP.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("tracing.enabled", "needs OpenTelemetry: pip install 'tidegate[gateway,otel]'") from None
    provider: Any = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return Tracing(provider.get_tracer("tidegate"), instance_id, lambda: None)
    # Its name is a default: the environment's wins.
    resource = Resource({"service.name": "tidegate", "service.instance.id": instance_id}).merge(_stated(Resource))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("tidegate"), instance_id, provider.shutdown)


def _stated(resource: Any) -> Any:
    """Return what the environment says of this process, without the name that OpenTelemetry makes up."""
    stated = dict(resource.create().attributes)
    if str(stated.get("service.name", "")).startswith("unknown_service"):
        del stated["service.name"]
    return resource(stated)
