"""
The exposition: what Prometheus reads at `/metrics`.

Made when it is asked for, from the plain numbers that the rest of the process counts with, so that the hot path knows
nothing of it. Each metric has its line in `docs/operations.md`; a test compares.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.canary import Canary
from gateway.consumer import Consumer
from gateway.histogram import Histogram
from gateway.metrics import Metrics
from gateway.projector import Projector
from gateway.session import State

if TYPE_CHECKING:
    from gateway.services import Services

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST

_STATES: Final = (State.HANDSHAKE, State.WAITING, State.ENTERING, State.ACTIVE, State.CLOSING)

# What `Metrics` counts: field → metric, its label if it has one, and what it says.
COUNTED: Final[Mapping[str, tuple[str, str | None, str]]] = {
    "events": ("events", None, "Entries read from the log."),
    "poison": ("poison", None, "Entries that could not be delivered."),
    "connections_opened": ("connections_opened", None, "Connections that got as far as a session."),
    "closed": ("connections_closed", "code", "Connections that ended, by close code."),
    "commands": ("commands", "type", "Commands answered, by type; `error` are those refused."),
    "auth_failures": ("auth_failures", "reason", "Refused credentials, by reason."),
    "handshakes_refused": (
        "handshakes_refused",
        "reason",
        "Connections turned away before their token was looked at, by reason.",
    ),
    "replaced": ("replaced", None, "Connections closed because their user opened newer ones."),
    "replays": ("replays", None, "Clients that resumed from memory."),
    "backfills": ("backfills", None, "Clients that resumed with a read from Redis."),
    "resyncs": ("resyncs", "reason", "Clients that were told of a gap, by reason."),
    "stalled": ("stalled", None, "Sockets aborted because they took nothing."),
    "slow": ("slow_sockets", None, "How often a socket took less than there was for it."),
    "aborted": ("aborted", "reason", "Sockets cut off without a goodbye, by reason."),
    "rate_limited": ("rate_limited", "what", "What came faster than it may, and was refused."),
    "redis_errors": ("redis_errors", "kind", "Failed reads and publishes, by kind."),
    "http_requests": ("http_requests", "status", "Requests to the HTTP API, by the status of their answer."),
    "http_published": ("publishes", None, "Events that the HTTP API accepted."),
    "notifications": ("notifications", None, "Notifications written into inboxes."),
    "handler_failures": ("handler_failures", None, "Calls of plug-in handlers that failed or took too long."),
    "accepted": ("publishes_by_event", "event", "The same, by event name."),
}


@dataclass(frozen=True, slots=True)
class Sources:
    """
    Where a process with sockets counts, beside its `Metrics`.

    Attributes:
        connections_limit: Beyond how many sockets handshakes are refused.
    """

    services: Services
    consumers: Sequence[Consumer]
    projectors: Sequence[Projector]
    canary: Canary
    connections_limit: int


class Exposition:
    """
    Everything that one process counts, as Prometheus' text.

    Args:
        unready: Returns what keeps the process from being ready; nothing when it is.
        sources: None where there are no sockets.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        version: str,
        instance: str,
        unready: Callable[[], list[str]],
        sources: Sources | None = None,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(_Counts(metrics, version, instance, unready))
        if sources is not None:
            self._registry.register(_Gateway(sources))

    def text(self) -> bytes:
        """Return all metrics as they stand."""
        return generate_latest(self._registry)


class _Counts(Collector):
    """What every process has."""

    def __init__(self, metrics: Metrics, version: str, instance: str, unready: Callable[[], list[str]]) -> None:
        self._metrics = metrics
        self._unready = unready
        self._build = {"version": version, "instance": instance}

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        build = GaugeMetricFamily("tidegate_build_info", "Version and instance; always 1.", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build
        yield _gauge("ready", "1 while `/ready` says yes.", {"": int(not self._unready())})
        for field, (name, label, text) in COUNTED.items():
            value = getattr(self._metrics, field)
            yield _counter(name, text, value if label is not None else {"": value}, label)


class _Gateway(Collector):
    """What a process with sockets has."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._services = sources.services

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield from self._connections()
        yield from self._deliveries()
        yield from self._log()
        yield from self._reading()
        yield from self._loop()

    def _connections(self) -> Iterator[Metric]:
        connections = self._services.connections
        states = Counter(connection.state for connection in connections)
        by_state = {state.value: states[state] for state in _STATES}
        yield _gauge("connections", "Sockets, by the state of their session.", by_state, "state")
        limit = self._sources.connections_limit
        yield _gauge("connections_limit", "Sockets beyond which handshakes are refused.", {"": limit})
        lagging = sum(connection.lagging for connection in connections if connection.state is State.ACTIVE)
        yield _gauge("connections_lagging", "Sessions that are slow or still resuming.", {"": lagging})

    def _deliveries(self) -> Iterator[Metric]:
        outcomes = self._services.log.outcomes
        delivered = self._services.fanout.delivered + outcomes.caught_up
        yield _counter("deliveries", "Frames of events written to sockets.", {"": delivered})
        yield _counter("deliveries_by_event", "The same, by event name.", outcomes.delivered.named(), "event")
        yield _counter("deliveries_late", "Those of them that caught up.", {"": outcomes.caught_up})
        yield _counter("bytes_written", "Bytes of frames handed to sockets.", {"": outcomes.bytes_written})
        yield _counter("dropped", "Events that a socket went without, by reason.", outcomes.dropped, "reason")
        yield _counter("acked", "Acknowledgements of events with a receipt.", {"": outcomes.acked})
        yield _gauge("receipts", "Events whose receipt is still counted.", {"": len(outcomes.receipts)})
        yield _gauge("receipts_unreported", "Receipts with news for Redis.", {"": outcomes.receipts.waiting})

    def _log(self) -> Iterator[Metric]:
        log = self._services.log
        age_s = max(0.0, time.time() - log.entry(log.base).position[0] / 1000) if len(log) else 0.0
        yield _gauge("log_entries", "Entries in memory.", {"": len(log)})
        yield _gauge("log_bytes", "Memory that they take, roughly.", {"": log.size_bytes})
        yield _gauge("log_oldest_age_seconds", "Age of the oldest entry in memory.", {"": age_s})

    def _reading(self) -> Iterator[Metric]:
        now = time.monotonic()
        healths = [consumer.health for consumer in self._sources.consumers]
        lags = {str(number): health.lag for number, health in enumerate(healths)}
        ages = {str(number): max(0.0, now - health.progress_at) for number, health in enumerate(healths)}
        up = all(health.problem is None for health in healths)
        yield _gauge("consumer_lag_entries", "Entries not read yet at the last look.", lags, "partition")
        behind = {str(number): health.lag_s for number, health in enumerate(healths)}
        ahead = {str(number): health.ids_ahead_s for number, health in enumerate(healths)}
        yield _gauge("consumer_lag_seconds", "Age of the oldest of them.", behind, "partition")
        yield _gauge("log_ids_ahead_seconds", "How far the newest id is ahead of our clock.", ahead, "partition")
        yield _gauge("consumer_last_read_age_seconds", "Time since the last read that worked.", ages, "partition")
        yield _gauge("redis_up", "1 while every partition can be read.", {"": int(up)})

    def _loop(self) -> Iterator[Metric]:
        fan_outs = {str(number): one.fan_out for number, one in enumerate(self._sources.consumers)}
        yield _histogram("fan_out_seconds", "Time to deliver what one read of the log brought.", fan_outs, "partition")
        trips = {"": self._sources.canary.round_trips}
        yield _histogram("canary_seconds", "Time from publishing a canary to reading it.", trips)
        backlog = {str(number): one.backlog for number, one in enumerate(self._sources.projectors)}
        yield _gauge("inbox_backlog", "Notifications that wait to be written into inboxes.", backlog, "partition")


def _histogram(name: str, text: str, values: Mapping[str, Histogram], label: str | None = None) -> Metric:
    family = HistogramMetricFamily(f"tidegate_{name}", text, labels=_labels(label))
    for value, histogram in values.items():
        family.add_metric([] if label is None else [value], [*histogram.buckets()], histogram.total)
    return family


def _counter(name: str, text: str, values: Mapping[Any, float], label: str | None = None) -> Metric:
    return _filled(CounterMetricFamily(f"tidegate_{name}", text, labels=_labels(label)), values, label)


def _gauge(name: str, text: str, values: Mapping[Any, float], label: str | None = None) -> Metric:
    return _filled(GaugeMetricFamily(f"tidegate_{name}", text, labels=_labels(label)), values, label)


def _labels(label: str | None) -> list[str]:
    return [] if label is None else [label]


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[Any, float], label: str | None
) -> CounterMetricFamily | GaugeMetricFamily:
    for value, count in values.items():
        family.add_metric([] if label is None else [_label(value)], count)
    return family


def _label(value: object) -> str:
    """Return a label's value; a close code is an enum that is a number."""
    return str(int(value)) if isinstance(value, int) else str(value)
