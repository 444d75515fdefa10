"""
The one sentence of `gateway explain`: what the instances' answers mean together. Pure.

An answer is what `gateway.explain` gives: `{"instance", "in_memory", "connections": [{"client", "opened_at", "remote",
"lagging", "addresses", "verdict", "sent"}], "departed": [{"client", "opened_at", "closed_at", "code", "resumed"}],
"forgot_until"}`: connections that closed before `forgot_until` may be missing. Instances of an older version do not say
`resumed` and `forgot_until`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.close_codes import CloseCode
from gateway.terminal.described import Described
from gateway.terminal.quantities import duration, plural
from publisher.event import KIND_EPHEMERAL

Answer = Mapping[str, Any]
Fact = Mapping[str, Any]

_ABNORMAL: Final = 1006
_JOINED: Final = ("group:", "topic:", "tag:")  # the addresses that a command can give, with `since`


@dataclass(frozen=True, slots=True)
class Question:
    """
    What is asked.

    Attributes:
        live: The instances that should answer.
        started_after: Those of them that have started after the event, and know of no connection before.
        stopped: Those that have read the event, and are no more.
    """

    event: Described
    user_id: str
    tenant: str
    live: Collection[str]
    started_after: Collection[str] = ()
    stopped: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What came of the event for the user.

    Attributes:
        delivered: None where nobody can tell.
        sentence: For people.
    """

    delivered: bool | None
    sentence: str


def judge(question: Question, answers: Sequence[Answer]) -> Verdict:
    """Return what the answers say together."""
    sent = [
        f"client {connection['client']} on instance {answer['instance']}"
        for answer in answers
        for connection in answer["connections"]
        if connection["sent"]
    ]
    if sent:
        return Verdict(True, f"user {question.user_id} got it: sent to {', and '.join(sent)}")
    reason = _impossible(question)
    if reason is not None:
        return Verdict(False, f"user {question.user_id} did not get it: {reason}")
    delivered, reason = _unsent(question, answers)
    if delivered is None:
        return Verdict(None, f"nobody can tell whether user {question.user_id} got it: {reason}")
    return Verdict(delivered, f"user {question.user_id} did not get it: {reason}")


def _impossible(question: Question) -> str | None:
    """Return why nobody like this user can have got it, if that is so."""
    event = question.event
    if event.poison is not None:
        return f"it is poison, which no gateway delivers: {event.poison}"
    if event.is_control:
        return f"it is an order to the gateways ({event.event}), which no client sees"
    if event.tenant != question.tenant:
        return f"the event is of tenant {event.tenant}, the user of {question.tenant}"
    own = f"user:{question.user_id}"
    if own in event.exclude:
        return f"it excludes {own}"
    if own not in event.to and all(address.startswith("user:") for address in event.to):
        return f"it is addressed to {', '.join(event.to[:5])}{', …' if len(event.to) > 5 else ''}"
    return None


def _unsent(question: Question, answers: Sequence[Answer]) -> tuple[bool | None, str]:
    """Return False with why it was not sent, or None with why that is not known."""
    if not question.live:
        return None, "no gateway runs that could be asked"
    was_connected = _departed(question.event, answers)
    if was_connected is not None:
        return None, was_connected
    if silent := set(question.live) - {answer["instance"] for answer in answers}:
        return None, f"{plural(len(silent), 'instance')} did not answer ({', '.join(sorted(silent))})"
    connections = [connection for answer in answers for connection in answer["connections"]]
    at_that_time = [connection for connection in connections if connection["opened_at"] <= question.event.ms]
    for connection in at_that_time or connections:
        if at_that_time or not connection["verdict"].startswith("too early"):
            delivered = None if connection["verdict"].startswith("unknown") else False
            return delivered, f"{connection['verdict']} (client {connection['client']})"
    unknown = _unknown(question, answers)
    if unknown is not None:
        return None, unknown
    return False, f"no connection at that time; {_neighbours(question, answers, connections)}{_why_not_later(question)}"


def _why_not_later(question: Question) -> str:
    """Return why who comes back does not get it either, where that lies with the event."""
    event = question.event
    if event.kind == KIND_EPHEMERAL.decode():
        return "; it is ephemeral: for who was there only"
    if event.expires_at is not None:
        return f"; it was over {duration(max(0, event.expires_at - event.ms) / 1000)} after it was stored"
    return ""


def _departed(event: Described, answers: Sequence[Answer]) -> str | None:
    """Return how a connection ended that may have had the event, being open when it came or having resumed later."""
    late = None
    for answer in answers:
        for gone in answer["departed"]:
            who = f"client {gone['client']} on {answer['instance']}"
            if gone["opened_at"] <= event.ms <= gone["closed_at"]:
                after = duration((gone["closed_at"] - event.ms) / 1000)
                how = f"{who}: {ended(gone['code'])}, {after} later"
                return f"it was connected at that time, but that connection has ended ({how})"
            if gone.get("resumed", True) and _had_later(event, gone):
                late = (
                    f"a connection that opened {_opened(event, gone)} after it may have resumed from before it, "
                    f"and has ended ({who}: {ended(gone['code'])})"
                )
    return late


def _had_later(event: Described, gone: Fact) -> bool:
    """Tell whether a connection opened after an event, and while that could still be had from the log."""
    valid = event.expires_at is None or gone["opened_at"] < event.expires_at
    return bool(gone["opened_at"] > event.ms and event.kind != KIND_EPHEMERAL.decode() and valid)


def _opened(event: Described, gone: Fact) -> str:
    return duration((gone["opened_at"] - event.ms) / 1000)


def _unknown(question: Question, answers: Sequence[Answer]) -> str | None:
    """Return why there may have been a connection that no answer shows; None where there was none."""
    event = question.event
    if question.started_after:
        names = ", ".join(sorted(question.started_after))
        return f"{_instances(question.started_after)} {names} started only after the event"
    if question.stopped:
        return f"{_instances(question.stopped)} {', '.join(sorted(question.stopped))} had read it, and stopped since"
    for answer in answers:
        if answer.get("forgot_until", 0) >= event.ms:
            return f"instance {answer['instance']} no longer knows all the connections that have closed since"
    return _joined_later(event, answers)


def _joined_later(event: Described, answers: Sequence[Answer]) -> str | None:
    """Return which connection may have been given the event by a join with `since`, and has ended."""
    if not any(address.startswith(_JOINED) for address in event.to):
        return None
    for answer in answers:
        for gone in answer["departed"]:
            if _had_later(event, gone):
                who = f"client {gone['client']} on {answer['instance']}: {ended(gone['code'])}"
                return f"a connection that opened {_opened(event, gone)} after it may have joined with `since` ({who})"
    return None


def _instances(named: Collection[str]) -> str:
    return "instance" if len(named) == 1 else "the instances"


def _neighbours(question: Question, answers: Sequence[Answer], connections: Sequence[Fact]) -> str:
    """Return when the user was there, before or after an event."""
    at = question.event.ms
    before = [gone for answer in answers for gone in answer["departed"] if gone["closed_at"] < at]
    if before:
        last = max(before, key=lambda gone: gone["closed_at"])
        return f"the last one closed {duration((at - last['closed_at']) / 1000)} before with {named(last['code'])}"
    if connections:
        first = min(connection["opened_at"] for connection in connections)
        return f"the next one opened {duration((first - at) / 1000)} after, without a cursor from before the event"
    return "the live instances know of none before it"


def ended(code: int) -> str:
    """Return how a connection ended."""
    return f"closed with {named(code)}"


def named(code: int) -> str:
    """Return a close code with its name."""
    if code == _ABNORMAL:
        return f"{code} (no goodbye)"
    try:
        return f"{code} ({CloseCode(code).name.lower().replace('_', ' ')})"
    except ValueError:
        return str(code)
