"""Traces: the section `tracing`."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Section


class Tracing(Section):
    """What is told of events that belong to a trace."""

    enabled: bool = Field(
        False, description="Export a span for the delivery of each traced event, by OTLP. Needs `tidegate[otel]`."
    )
