"""
The rows about clients: what a connection costs, how fast many come and come back, how fast they talk.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from tests.bench import events
from tests.bench.figures import TIMES, TIMES_A, digits, rate
from tests.bench.process import BenchError, rss_bytes
from tests.bench.receiver import Chat
from tests.bench.row import Check, Laboratory, Result, Row, at_least, at_most, median
from tests.bench.station import Station
from tests.bench.tokens import make_tokens

CONNECTS = 2_000
WARM_CONNECTS = 200
MISSED = 20
SHARED = 9  # of ten missed events; the tenth is the client's own
RESUME_AT_ONCE = 1_000
RESUME_TIMEOUT_S = 30.0
SURPLUS_WAIT_S = 0.3
CHATTERS = 200
CHAT_GROUP = 10
IN_FLIGHT = 4
STREAM_READS = ("xrange", "xrevrange", "xread")
REGULAR = ("xreadgroup", "info")


def idle_memory(lab: Laboratory) -> Result:
    """Resident memory per authenticated connection that does nothing."""
    with lab.stations() as (subject, hub):
        ours, theirs = (_bytes_per_connection(lab, station) for station in (subject, hub))
    check = at_most("RSS per connection", [ours / 1024], 10, "KiB")
    return Result(
        [check],
        [f"{digits(ours / 1024)} KiB each", f"{lab.many:,} connections"],
        [f"{digits(theirs / 1024)} KiB each"],
        samples={"bytes": {"subject": ours, "baseline": theirs}},
    )


def _bytes_per_connection(lab: Laboratory, station: Station) -> float:
    lab.progress(station.subject.name)
    # The first connections load code and fill pools; they are not counted.
    station.connect(make_tokens(WARM_CONNECTS))
    station.receiver.drop()
    station.settle()
    before = rss_bytes(station.subject.child.pid)
    station.connect(make_tokens(lab.many))
    return (rss_bytes(station.subject.child.pid) - before) / lab.many


def connects(lab: Laboratory) -> Result:
    """Connects a second, up to `welcome`, each with a token that was never seen before."""
    with lab.stations() as (subject, hub):
        for station in (subject, hub):
            _connects_per_second(station, WARM_CONNECTS)
        pairs = lab.alternate(
            lambda: _connects_per_second(subject, CONNECTS),
            lambda: _connects_per_second(hub, CONNECTS),
        )
    ours, theirs = zip(*pairs, strict=True)
    return Result(
        [at_least("connects/s", (our / their for our, their in pairs), 1.5, TIMES_A)],
        [rate(median(ours))],
        [rate(median(theirs))],
        samples={"per_second": pairs},
    )


def _connects_per_second(station: Station, count: int) -> float:
    receipt = station.connect(make_tokens(count))
    station.receiver.drop()
    station.settle()
    return count / receipt.connect_s


@dataclass(frozen=True, slots=True)
class Resume:
    """One reconnect storm: how long it took, what was wrong, and what it asked of Redis."""

    seconds: float
    frames: int
    wrong: int
    stream_reads: int
    other_commands: int


def resume(lab: Laboratory) -> Result:
    """All clients lose their connections, miss events, and come back with their cursors."""
    with lab.subject_alone() as station:
        station.connect(make_tokens(lab.many))
        station.receiver.expect(lab.many, "cursor")
        station.producer.burst(station.producer.prepare(events.to_everybody, 1))
        station.receiver.wait(RESUME_TIMEOUT_S)
        storms = [storm for (storm,) in lab.alternate(lambda: _storm(lab, station))]
    incomplete = sum(storm.wrong + abs(storm.frames - MISSED * lab.many) for storm in storms)
    checks = [
        at_most("wall time", (storm.seconds for storm in storms), 4.0, "s"),
        Check("lost, twice or out of order", incomplete, 0, False, ""),
        Check("stream reads", sum(storm.stream_reads for storm in storms), 0, False, ""),
    ]
    others = median(storm.other_commands for storm in storms)
    return Result(
        checks,
        [
            f"{digits(median(storm.seconds for storm in storms))} s",
            f"{lab.many:,} {TIMES} {MISSED} events",
            f"{others:.0f} other Redis commands",
        ],
        samples={"storms": [asdict(storm) for storm in storms]},
    )


def _storm(lab: Laboratory, station: Station) -> Resume:
    audiences = list(events.missed_by(lab.many, events=MISSED, shared=SHARED))
    station.receiver.drop()
    station.settle()
    station.producer.burst(station.producer.prepare(audiences.__getitem__, len(audiences)))
    station.settle()
    before = _command_counts(lab)
    receipt = station.receiver.resume(at_once=RESUME_AT_ONCE, missed=MISSED, shared=SHARED, timeout_s=RESUME_TIMEOUT_S)
    after = _command_counts(lab)
    time.sleep(SURPLUS_WAIT_S)  # for what might come twice
    final = station.receiver.report()
    asked = {name: count - before.get(name, 0) for name, count in after.items()}
    return Resume(
        receipt.connect_s,
        final.frames,
        final.wrong,
        # The look that the consumer takes now and then reads one entry, the oldest that it has not read.
        stream_reads=max(0, sum(asked.get(name, 0) for name in STREAM_READS) - asked.get("xinfo|stream", 0)),
        other_commands=sum(count for name, count in asked.items() if name not in (*STREAM_READS, *REGULAR)),
    )


def _command_counts(lab: Laboratory) -> dict[str, int]:
    with lab.redis() as client:
        stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): entry["calls"] for name, entry in stats.items()}


def chat(lab: Laboratory) -> Result:
    """Clients send to their groups as fast as they are answered."""
    with lab.stations(loop="uvloop") as (subject, hub):
        tokens = make_tokens(CHATTERS, lambda client: [f"chat-{client // CHAT_GROUP}"])
        for station in (subject, hub):
            station.connect(tokens)
            _chat(station, lab.seconds / 4)
        pairs = lab.alternate(lambda: _chat(subject, lab.seconds), lambda: _chat(hub, lab.seconds))
    ours, theirs = zip(*pairs, strict=True)
    acked = [our.acked_in_time / their.acked_in_time for our, their in pairs]
    done = [_done(our) / _done(their) for our, their in pairs]
    return Result(
        [at_least("acked/s", acked, 3, TIMES_A), at_least("acked and delivered/s", done, 3, TIMES_A)],
        _chat_figures(ours),
        _chat_figures(theirs),
        samples={"rounds": [[asdict(result) for result in pair] for pair in pairs]},
    )


def _chat(station: Station, seconds: float) -> Chat:
    station.settle()
    result = station.receiver.chat(seconds, in_flight=IN_FLIGHT, group_size=CHAT_GROUP)
    # The sender itself is left out.
    if result.refused or result.lost or result.delivered != result.acked * (CHAT_GROUP - 1):
        raise BenchError(f"the {station.subject.name} did not deliver every message: {result}")
    return result


def _done(result: Chat) -> float:
    """Return the messages that were acked and had reached their group in time: a hub can ack what it is late with."""
    return min(result.acked_in_time, result.delivered_in_time / (CHAT_GROUP - 1))


def _chat_figures(results: tuple[Chat, ...]) -> list[str]:
    acked, delivered = (
        rate(median(getattr(result, name) / result.seconds for result in results))
        for name in ("acked_in_time", "delivered_in_time")
    )
    return [f"{acked} acked", f"{delivered} delivered"]


ROWS = (
    Row("idle", "10,000 idle connections", idle_memory),
    Row("connect", "connect with a new JWT", connects),
    Row("resume", "10,000 drop and resume", resume),
    Row("chat", f"send_message to groups of {CHAT_GROUP}", chat),
)
