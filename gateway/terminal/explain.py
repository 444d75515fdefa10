"""
`gateway explain EVENT_ID --user 42`: why a user did or did not get an event.

Reads the event from the stream, asks all live instances by way of a control event, and sums up what they answer.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from redis.asyncio import Redis

from gateway.entry import EntryId, join_id
from gateway.errors import ConfigError, GatewayError
from gateway.questions import address_in, ask
from gateway.settings import Settings
from gateway.store import peek
from gateway.store.groups import positions
from gateway.store.leases import instances
from gateway.terminal.described import Described, describe
from gateway.terminal.quantities import ago, clock, duration, moment, size
from gateway.terminal.redis_tool import run_with_redis
from gateway.terminal.style import Style, printable, style_for, table
from gateway.terminal.verdict import Answer, Question, Verdict, ended, judge
from publisher import Publisher, PublishError, is_name, is_tenant
from publisher.cursor import Cursor
from publisher.event import EXPLAIN

_WAIT_S: Final = 5.0  # as long as an instance tries to answer
_STREAM_ID: Final = re.compile(r"(\d{1,16})-(\d{1,20})", re.ASCII)


class Unexplained(GatewayError):
    """There is nothing to explain: no such event, or no way to ask."""


def explain(settings: Settings, event_id: str, *, user_id: str, tenant: str | None, as_json: bool) -> int:
    """
    Print what became of an event for a user; return 0 if it was delivered, else 1.

    Args:
        event_id: As a publisher returned it, or the id of the stream entry.
        tenant: The user's; the event's where None.

    Raises:
        ConfigError: The id is none, or Redis cannot be reached.
        Unexplained: See there.
    """
    entry_id, partitions, epoch = _where(event_id, settings.log.partitions)
    if not is_name(user_id):
        raise ConfigError("--user", f"{user_id!r:.40} is not a user id")
    if tenant is not None and not is_tenant(tenant):
        raise ConfigError("--tenant", f"{tenant!r:.40} is not a tenant")

    async def run(redis: Redis) -> int:
        event = await _find(redis, entry_id, partitions, epoch)
        question = await _question(redis, event, entry_id, user_id=user_id, tenant=tenant or event.tenant)
        given = await _ask(redis, settings, question) if question.live else []
        verdict = judge(question, given)
        if as_json:
            print(orjson.dumps(_as_json(question, given, verdict), option=orjson.OPT_INDENT_2).decode())
        else:
            print("\n".join(_lines(question, given, verdict, style_for(sys.stdout))))
        return 0 if verdict.delivered else 1

    return run_with_redis(settings, run)


def _where(event_id: str, partitions: int) -> tuple[EntryId, Collection[int], str | None]:
    """Return an event's stream id, the partitions it may be in, and its log's epoch where that is known."""
    if match := _STREAM_ID.fullmatch(event_id):
        return (int(match[1]), int(match[2])), range(partitions), None
    try:
        cursor = Cursor.parse(event_id)
    except ValueError:
        raise ConfigError(
            "EVENT_ID", f"{event_id!r:.80} is none: use what the publisher returned, or a stream entry's id"
        ) from None
    if cursor.partition >= partitions:
        raise ConfigError("EVENT_ID", f"names partition {cursor.partition}, and log.partitions is {partitions}")
    return (cursor.ms, cursor.n), (cursor.partition,), cursor.epoch


async def _find(redis: Redis, entry_id: EntryId, partitions: Collection[int], epoch: str | None) -> Described:
    """
    Return the event.

    Raises:
        Unexplained: It is gone, never was, or cannot be told from others.
    """
    found = []
    for partition in partitions:
        current = await peek.epoch_of(redis, partition)
        if epoch is not None and current != epoch:
            raise Unexplained(
                f"the event is of another log (epoch {epoch}) than there is now (epoch {current or 'none'}): "
                "that log was lost, or this is not its Redis"
            )
        fields = await peek.find_entry(redis, partition, entry_id)
        if fields is not None:
            found.append(describe(Cursor(*entry_id, partition, current), fields))
    if not found:
        raise Unexplained(await _missing(redis, entry_id, partitions))
    if len(found) > 1:
        raise Unexplained(f"several partitions have that id, so name the one: {', '.join(e.id for e in found)}")
    return found[0]


async def _question(redis: Redis, event: Described, entry_id: EntryId, *, user_id: str, tenant: str) -> Question:
    """Return what is to be asked of whom: poison, which may have no tenant to ask about, of nobody."""
    if event.poison is not None:
        return Question(event, user_id, tenant, ())
    live = await instances(redis)
    readers = await positions(redis, event.partition)
    return Question(
        event,
        user_id,
        tenant,
        sorted(live),
        started_after=[name for name, facts in live.items() if _started_at(facts) > event.ms],
        stopped=[name for name, read in readers.items() if name not in live and read >= entry_id],
    )


def _started_at(facts: Mapping[str, str]) -> int:
    stated = facts.get("started_at", "")
    return int(stated) if stated.isdigit() else 0


async def _missing(redis: Redis, entry_id: EntryId, partitions: Collection[int]) -> str:
    """Return why an entry is not there."""
    found = [await peek.bounds(redis, partition) for partition in partitions]
    now_ms = await peek.server_time_ms(redis)
    firsts = [bounds.first for bounds in found if bounds.first is not None]
    name = join_id(entry_id).decode()
    if not firsts:
        return f"event {name} is gone: the log is empty"
    since = f"the log reaches back to {moment(min(firsts)[0])}, {ago(min(firsts)[0], now_ms)}"
    if entry_id < min(firsts):
        return f"event {name} is gone: {since}"
    return f"there is no event {name}: {since}"


async def _ask(redis: Redis, settings: Settings, question: Question) -> list[Answer]:
    """Ask the live instances; return what they have answered when all have, or when it is enough."""
    event = question.event
    entry = event.id.partition(".")[0]
    data = {"entry": entry, "partition": event.partition, "user": question.user_id}
    address = address_in(event.partition, settings.log.partitions)
    publisher = Publisher(redis, partitions=settings.log.partitions, maxlen=settings.log.maxlen)
    try:
        answers = await ask(
            *(redis, publisher, EXPLAIN, data),
            tenant=question.tenant,
            of=question.live,
            to=address,
            within_s=_WAIT_S,
        )
    except PublishError as error:
        raise Unexplained(f"the instances cannot be asked: {error}") from None
    finally:
        await publisher.aclose()
    return [answers.given[instance] for instance in sorted(answers.given)]


def _as_json(question: Question, given: Sequence[Answer], verdict: Verdict) -> dict[str, Any]:
    return {
        "delivered": verdict.delivered,
        "verdict": verdict.sentence,
        "user": question.user_id,
        "tenant": question.tenant,
        "event": question.event.as_json(),
        "instances": given,
        "silent": _silent(question, given),
        "started_after": question.started_after,
        "stopped": question.stopped,
    }


def _silent(question: Question, given: Sequence[Answer]) -> list[str]:
    return sorted(set(question.live) - {answer["instance"] for answer in given})


def _lines(question: Question, given: Sequence[Answer], verdict: Verdict, style: Style) -> Iterator[str]:
    mark, colour = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}[verdict.delivered]
    yield style(f"{mark} {printable(verdict.sentence)}", "bold", colour)
    yield ""
    yield from (f"  {text}" for text in table([*_facts(question.event, style)]))
    if given or question.live:
        yield ""
        rows = [row for answer in given for row in _answer_rows(answer, question, style)]
        rows += [
            (style(name, "bold"), "did not answer", f"within {duration(_WAIT_S)}") for name in _silent(question, given)
        ]
        yield from (f"  {text}" for text in table(rows))


def _facts(event: Described, style: Style) -> Iterator[tuple[str, str]]:
    now_ms = int(time.time() * 1000)
    stored = f"{moment(event.ms)}, {ago(event.ms, now_ms)}"
    yield style("event", "dim"), f"{style(printable(event.event), 'cyan')}  {event.id}"
    yield style("stored", "dim"), f"{stored}; {size(len(event.data))} of data"
    yield style("tenant", "dim"), printable(event.tenant)
    yield style("to", "dim"), printable(", ".join(event.to))
    if event.exclude:
        yield style("except", "dim"), printable(", ".join(event.exclude))
    if event.expires_at is not None:
        over = "expired" if event.expires_at <= now_ms else "still valid"
        yield style("expires", "dim"), f"after {duration(max(0, event.expires_at - event.ms) / 1000)}: {over}"
    if event.priority != "normal":
        yield style("priority", "dim"), printable(event.priority)
    if event.collapse is not None:
        yield style("collapse", "dim"), printable(event.collapse)


def _answer_rows(answer: Answer, question: Question, style: Style) -> Iterator[tuple[str, str, str]]:
    name = style(printable(str(answer["instance"])), "bold")
    for connection in answer["connections"]:
        since = f"client {connection['client']}, {connection['remote']}, since {clock(connection['opened_at'])}"
        yield name, since, style(printable(connection["verdict"]), "green" if connection["sent"] else "yellow")
    for gone in answer["departed"]:
        was = f"client {gone['client']}, {clock(gone['opened_at'])} to {clock(gone['closed_at'])}"
        note = "; it had resumed" if gone.get("resumed") else ""
        note += (
            "; it was open when the event came" if gone["opened_at"] <= question.event.ms <= gone["closed_at"] else ""
        )
        yield name, was, f"{ended(gone['code'])}{note}"
    if not answer["connections"] and not answer["departed"]:
        yield name, "no connection", f"of user {question.user_id}, now or lately"
