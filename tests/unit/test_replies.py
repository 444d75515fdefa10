"""Replies: one for each command, in the order of the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from gateway.errors import CommandError
from gateway.replies import Outcome, Promise, Replies
from gateway.wire.v1 import Reply, ack


class Sent:
    """What was sent, and the replies that sent it."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[Outcome, str | None]] = []
        self.writes: list[int] = []
        self.replies = Replies(self.send, self.count)
        self.settled = 0

    @property
    def message_ids(self) -> list[str | None]:
        return [message_id for _, message_id in self.outcomes]

    def promise(self, message_id: str) -> Promise:
        promise = Promise()
        self.replies.promise(promise, message_id)
        return promise

    def send(self, outcomes: Sequence[tuple[Outcome, str | None]]) -> None:
        self.outcomes += outcomes
        self.writes.append(len(outcomes))

    def count(self) -> None:
        self.settled += 1


async def turn() -> None:
    """Let callbacks run."""
    await asyncio.sleep(0)


async def test_known_outcome_is_sent_at_once() -> None:
    sent = Sent()
    sent.replies.give(ack(), "1")
    assert sent.outcomes == [(ack(), "1")]


async def test_promised_outcome_is_sent_when_it_is_known() -> None:
    sent = Sent()
    promise = sent.promise("1")
    await turn()
    assert sent.outcomes == []
    promise.keep(ack(id="x"))
    await turn()
    assert sent.outcomes == [(ack(id="x"), "1")]


async def test_outcomes_wait_for_those_before_them() -> None:
    sent = Sent()
    first = sent.promise("1")
    sent.replies.give(ack(), "2")
    third = sent.promise("3")
    third.keep(ack())
    await turn()
    assert sent.message_ids == []
    first.keep(ack())
    await turn()
    assert sent.message_ids == ["1", "2", "3"]


async def test_what_is_settled_in_the_middle_waits_for_the_first_only() -> None:
    sent = Sent()
    first, second, third = (sent.promise(name) for name in "123")
    second.keep(ack())
    first.keep(ack())
    await turn()
    assert sent.message_ids == ["1", "2"]
    third.keep(ack())
    await turn()
    assert sent.message_ids == ["1", "2", "3"]


async def test_what_becomes_known_together_is_sent_together() -> None:
    sent = Sent()
    promises = [sent.promise(name) for name in "1234"]
    for promise in promises[:3]:
        promise.keep(ack())
    await turn()
    assert (sent.message_ids, sent.writes) == (["1", "2", "3"], [3])


async def test_unanswered_commands_are_counted() -> None:
    sent = Sent()
    promise = sent.promise("1")
    sent.replies.give(ack(), "2")
    assert len(sent.replies) == 2
    promise.keep(ack())
    await turn()
    assert len(sent.replies) == 0


async def test_it_is_told_when_a_kept_promise_has_let_something_be_sent() -> None:
    sent = Sent()
    first, second, third = (sent.promise(name) for name in "123")
    second.keep(ack())
    await turn()
    assert (sent.settled, sent.message_ids) == (0, [])
    first.keep(ack())
    await turn()
    assert (sent.settled, sent.message_ids) == (1, ["1", "2"])
    third.keep(ack())
    await turn()
    assert (sent.settled, sent.message_ids) == (2, ["1", "2", "3"])


async def test_reply_given_while_replies_are_sent_comes_last() -> None:
    outcomes: list[str | None] = []

    def send(known: Sequence[tuple[Outcome, str | None]]) -> None:
        for _, message_id in known:
            outcomes.append(message_id)
            if message_id == "1":
                replies.give(ack(), "of the first")

    replies = Replies(send, lambda: None)
    promise = Promise()
    replies.promise(promise, "1")
    replies.give(ack(), "2")
    promise.keep(ack())
    await turn()
    assert outcomes == ["1", "2", "of the first"]


async def test_refusal_is_passed_on() -> None:
    sent = Sent()
    refusal = CommandError(403, "no")
    sent.promise("1").fail(refusal)
    await turn()
    assert sent.outcomes == [(refusal, "1")]


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), KeyError("x")])
async def test_bug_is_a_503_that_says_nothing_and_is_logged_once(error: Exception) -> None:
    sent = Sent()
    with capture_logs() as logs:
        sent.promise("1").fail(error)
        await turn()
    [(outcome, _)] = sent.outcomes
    assert isinstance(outcome, CommandError)
    assert (outcome.code, outcome.message) == (503, "the command failed")
    assert [line["event"] for line in logs] == ["command_failed"]


async def test_cancelled_command_is_answered() -> None:
    sent = Sent()
    sent.promise("1").abandon()
    await turn()
    [(outcome, _)] = sent.outcomes
    assert isinstance(outcome, CommandError)
    assert (outcome.code, outcome.retry_after_ms) == (503, 1000)


# Promises


async def test_a_task_is_a_promise_of_what_it_returns_or_raises() -> None:
    async def returns(outcome: Outcome) -> Reply:
        await turn()
        if isinstance(outcome, CommandError):
            raise outcome
        return outcome

    for outcome in (ack(id="x"), CommandError(403, "no")):
        sent = Sent()
        sent.replies.promise(Promise.of(asyncio.ensure_future(returns(outcome))), "1")
        await turn()
        await turn()
        await turn()
        await turn()
        assert sent.outcomes == [(outcome, "1")]


async def test_a_cancelled_task_is_answered() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    promise = Promise.of(task)  # type: ignore[arg-type]
    task.cancel()
    with pytest.raises(CommandError, match="going away"):
        await promise.wait()


async def test_a_promise_is_kept_once() -> None:
    promise = Promise()
    promise.keep(ack(id="1"))
    promise.keep(ack(id="2"))
    promise.abandon()
    assert await promise.wait() == ack(id="1")


async def test_who_no_longer_waits_for_a_promise_does_not_disturb_who_keeps_it() -> None:
    promise = Promise()
    waiting = asyncio.ensure_future(promise.wait())
    await turn()
    waiting.cancel()
    await turn()
    promise.keep(ack())
    assert promise.outcome == ack()
