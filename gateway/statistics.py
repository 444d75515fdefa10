"""
Statistics: what became of pushes, as `/stats` shows it, of one instance and of all.

An instance states its own in its lease, in few bytes; whoever is asked adds up what the leases say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.metrics import Metrics
from gateway.outcomes import OTHER, Outcomes

Statistics = Mapping[str, Any]

_COUNTS: Final = ("accepted", "delivered", "acked")
_OF_AN_EVENT: Final = ("accepted", "delivered", "dropped", "acked")
_STATED_NAMES: Final = 100  # in a lease, which is written every few seconds
_OTHER: Final = OTHER.decode()


def statistics(metrics: Metrics, outcomes: Outcomes | None = None, live: int = 0) -> Statistics:
    """
    Return the statistics of one instance.

    Args:
        outcomes: None where there are no sockets.
        live: How many frames the fan-out has written.
    """
    outcomes = outcomes or Outcomes()
    by_event: dict[str, Counter[str]] = {}
    for kind, counts in (
        ("accepted", metrics.accepted),
        ("delivered", outcomes.delivered.named()),
        ("dropped", outcomes.dropped_by_name.named()),
        ("acked", outcomes.acked_by_name.named()),
    ):
        for name, count in counts.items():
            by_event.setdefault(name, Counter())[kind] += count
    return {
        "accepted": metrics.http_published,
        "delivered": live + outcomes.caught_up,
        "acked": outcomes.acked,
        "dropped": dict(outcomes.dropped),
        "by_event": _shown(by_event, len(by_event)),
    }


def summed(several: Iterable[Statistics]) -> Statistics:
    """Return the statistics of several instances together."""
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    by_event: dict[str, Counter[str]] = {}
    for one in several:
        total.update({name: one[name] for name in _COUNTS})
        dropped.update(one["dropped"])
        for name, counts in one["by_event"].items():
            by_event.setdefault(name, Counter()).update(counts)
    return {
        **{name: total[name] for name in _COUNTS},
        "dropped": dict(dropped),
        "by_event": _shown(by_event, 2 * _STATED_NAMES),
    }


def _shown(by_event: Mapping[str, Counter[str]], most: int) -> dict[str, dict[str, int]]:
    """Return the counts of the busiest names, and those of the others together."""
    names = sorted(by_event, key=lambda name: (name == _OTHER, -by_event[name].total(), name))
    shown = {name: by_event[name] for name in names[:most]}
    rest = names[most:]
    if rest:
        shown[_OTHER] = sum((by_event[name] for name in rest), shown.get(_OTHER, Counter()))
    return {name: {kind: counts[kind] for kind in _OF_AN_EVENT} for name, counts in shown.items()}


def packed(stated: Statistics) -> str:
    """Return statistics as a lease has them: bounded in size."""
    by_event = {name: Counter(counts) for name, counts in stated["by_event"].items()}
    return orjson.dumps({**stated, "by_event": _shown(by_event, _STATED_NAMES)}).decode()


def unpacked(text: str | None) -> Statistics | None:
    """Return what a lease has; None where it has none, as those of older versions."""
    return orjson.loads(text) if text else None
