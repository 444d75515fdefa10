"""
The rows about delivery: events in, frames out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from tests.bench import events
from tests.bench.figures import TIMES_A, TIMES_B, digits, rate, time_us
from tests.bench.row import Check, Laboratory, Result, Row, at_least, at_most, median
from tests.bench.station import Sample, Station
from tests.bench.tokens import make_tokens

GROUPS = 200
GROUP_SIZE = 50
SLOW_PACE = 100
FAST_PACE = 5_000
SKIPPED_EVENTS = 60_000

Pairs = Sequence[tuple[Sample, Sample]]


def broadcast_saturated(lab: Laboratory) -> Result:
    """Everybody gets every event of a backlog."""
    with lab.stations() as stations:
        pairs = _saturated(lab, stations, make_tokens(lab.sockets), events.to_everybody, lab.sockets)
    return _delivery_result(pairs, [_rate_check(pairs, 20)])


def user_saturated(lab: Laboratory) -> Result:
    """Each event of a backlog is for one user."""
    with lab.stations() as stations:
        pairs = _saturated(lab, stations, make_tokens(lab.sockets), events.to_users(lab.sockets), 1)
    cost = at_most("CPU per event", (ours.cpu_us / theirs.cpu_us for ours, theirs in pairs), 1 / 6, TIMES_A)
    return _delivery_result(pairs, [cost, _rate_check(pairs, 4)])


def groups_saturated(lab: Laboratory) -> Result:
    """Each event of a backlog is for one group; every client is in as many groups as it takes."""
    memberships = GROUPS * GROUP_SIZE // lab.sockets
    stride = GROUPS // memberships

    def groups(client: int) -> list[str]:
        return [f"g{(client + stride * k) % GROUPS}" for k in range(memberships)]

    with lab.stations() as stations:
        tokens = make_tokens(lab.sockets, groups)
        pairs = _saturated(lab, stations, tokens, events.to_groups(GROUPS), GROUP_SIZE)
    return _delivery_result(pairs, [_rate_check(pairs, 8)])


def broadcast_paced(lab: Laboratory) -> Result:
    """Everybody gets an event now and then: nothing can be joined, and latency counts."""
    with lab.subject_and_limit() as (subject, limit):
        tokens = make_tokens(lab.sockets)
        for station in (subject, limit):
            station.connect(tokens)
        subject.pace(events.to_everybody, per_second=SLOW_PACE, seconds=lab.seconds / 4, fan_out=lab.sockets)
        pairs = lab.alternate(
            lambda: subject.pace(events.to_everybody, per_second=SLOW_PACE, seconds=lab.seconds, fan_out=lab.sockets),
            lambda: limit.pace_limit(per_second=SLOW_PACE, seconds=lab.seconds, fan_out=lab.sockets),
        )
    checks = [
        at_most("CPU per delivery", (ours.cpu_us / limit.cpu_us for ours, limit in pairs), 1.7, TIMES_B),
        at_most("p99", (ours.p99_us / limit.p99_us for ours, limit in pairs), 2.0, TIMES_B),
    ]
    ours, theirs = zip(*pairs, strict=True)
    return _result(pairs, checks, _paced_figures(ours), _paced_figures(theirs))


def user_paced(lab: Laboratory) -> Result:
    """Events for single users at a pace that is no strain."""
    with lab.subject_alone() as subject:
        subject.connect(make_tokens(lab.sockets))
        audience = events.to_users(lab.sockets)
        subject.pace(audience, per_second=FAST_PACE, seconds=lab.seconds / 4, fan_out=1)
        rounds = lab.alternate(lambda: subject.pace(audience, per_second=FAST_PACE, seconds=lab.seconds, fan_out=1))
    (ours,) = zip(*rounds, strict=True)
    check = at_most("p99", (sample.p99_us / 1e3 for sample in ours), 1.0, "ms")
    return _result(rounds, [check], _paced_figures(ours))


def skipping(lab: Laboratory) -> Result:
    """Nobody here wants the events: how cheaply are they read and passed over?"""
    closing = events.xadd(events.to_user(0), 0)
    with lab.stations() as stations:
        for station in stations:
            station.connect(make_tokens(lab.sockets))

        def skip(station: Station, count: int = SKIPPED_EVENTS) -> Sample:
            return station.burst(lambda k: b'["user:absent-%d"]' % k, count, fan_out=0, closing=closing)

        subject, hub = stations
        for station in stations:
            skip(station, SKIPPED_EVENTS // 10)
        pairs = lab.alternate(lambda: skip(subject), lambda: skip(hub, SKIPPED_EVENTS // 6))
    per_cpu_second = [[sample.events / sample.usage.cpu_s for sample in side] for side in zip(*pairs, strict=True)]
    ours, theirs = ([f"{rate(median(values))} of CPU"] for values in per_cpu_second)
    check = at_least("events per CPU second", (value / 1e3 for value in per_cpu_second[0]), 300, "k")
    return _result(pairs, [check], ours, theirs)


ROWS = (
    Row("broadcast", "broadcast, saturated", broadcast_saturated),
    Row("broadcast-paced", f"broadcast at {SLOW_PACE} events/s", broadcast_paced),
    Row("user", "one user per event, saturated", user_saturated),
    Row("user-paced", f"one user per event at {FAST_PACE:,}/s", user_paced),
    Row("groups", f"{GROUPS} groups of {GROUP_SIZE}, saturated", groups_saturated),
    Row("skip", "no interested socket", skipping),
)


def _saturated(
    lab: Laboratory,
    stations: tuple[Station, Station],
    tokens: Sequence[str],
    audience: events.Audience,
    fan_out: int,
) -> Pairs:
    for station in stations:
        station.connect(tokens)
        station.saturate(audience, fan_out=fan_out, seconds=lab.seconds)
    subject, hub = stations
    return lab.alternate(
        lambda: subject.saturate(audience, fan_out=fan_out, seconds=lab.seconds),
        lambda: hub.saturate(audience, fan_out=fan_out, seconds=lab.seconds),
    )


def _rate_check(pairs: Pairs, bound: float) -> Check:
    return at_least("deliveries/s", (ours.rate / theirs.rate for ours, theirs in pairs), bound, TIMES_A)


def _delivery_result(pairs: Pairs, checks: Sequence[Check]) -> Result:
    ours, theirs = zip(*pairs, strict=True)
    return _result(pairs, checks, _saturated_figures(ours), _saturated_figures(theirs))


def _saturated_figures(samples: Sequence[Sample]) -> list[str]:
    return [rate(median(s.rate for s in samples)), _cost(samples)]


def _cost(samples: Sequence[Sample]) -> str:
    return f"{digits(median(s.cpu_us for s in samples))} µs per delivery"


def _paced_figures(samples: Sequence[Sample]) -> list[str]:
    p50, p99 = (median(getattr(s, name) for s in samples) for name in ("p50_us", "p99_us"))
    return [_cost(samples), f"p50 {time_us(p50)}, p99 {time_us(p99)}"]


def _result(
    rounds: Sequence[tuple[Sample, ...]],
    checks: Sequence[Check],
    subject: Sequence[str],
    baseline: Sequence[str] = ("-",),
) -> Result:
    ours = [samples[0] for samples in rounds]
    waited = median(s.usage.waited_s / (s.usage.waited_s + s.usage.cpu_s) for s in ours)
    return Result(
        checks,
        subject,
        baseline,
        samples={"rounds": [[asdict(sample) for sample in samples] for samples in rounds]},
        waited_share=waited,
    )
