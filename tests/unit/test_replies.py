"""Replies: one for each command, in the order of the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from gateway.errors import CommandError
from gateway.replies import Outcome, Replies
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

    def promise(self, message_id: str) -> asyncio.Future[Reply]:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.replies.promise(future, message_id)
        return future

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
    future = sent.promise("1")
    await turn()
    assert sent.outcomes == []
    future.set_result(ack(id="x"))
    await turn()
    assert sent.outcomes == [(ack(id="x"), "1")]


async def test_outcomes_wait_for_those_before_them() -> None:
    sent = Sent()
    first = sent.promise("1")
    sent.replies.give(ack(), "2")
    third = sent.promise("3")
    third.set_result(ack())
    await turn()
    assert sent.message_ids == []
    first.set_result(ack())
    await turn()
    assert sent.message_ids == ["1", "2", "3"]


async def test_what_is_settled_in_the_middle_waits_for_the_first_only() -> None:
    sent = Sent()
    first, second, third = (sent.promise(name) for name in "123")
    second.set_result(ack())
    first.set_result(ack())
    await turn()
    assert sent.message_ids == ["1", "2"]
    third.set_result(ack())
    await turn()
    assert sent.message_ids == ["1", "2", "3"]


async def test_what_becomes_known_together_is_sent_together() -> None:
    sent = Sent()
    futures = [sent.promise(name) for name in "1234"]
    for future in futures[:3]:
        future.set_result(ack())
    await turn()
    assert (sent.message_ids, sent.writes) == (["1", "2", "3"], [3])


async def test_unanswered_commands_are_counted() -> None:
    sent = Sent()
    future = sent.promise("1")
    sent.replies.give(ack(), "2")
    assert len(sent.replies) == 2
    future.set_result(ack())
    await turn()
    assert len(sent.replies) == 0


async def test_then_is_called_once_per_promise_after_its_reply() -> None:
    sent = Sent()
    first, second = sent.promise("1"), sent.promise("2")
    second.set_result(ack())
    await turn()
    assert (sent.settled, sent.message_ids) == (1, [])
    first.set_result(ack())
    await turn()
    assert (sent.settled, sent.message_ids) == (2, ["1", "2"])


async def test_reply_given_while_replies_are_sent_comes_last() -> None:
    outcomes: list[str | None] = []

    def send(known: Sequence[tuple[Outcome, str | None]]) -> None:
        for _, message_id in known:
            outcomes.append(message_id)
            if message_id == "1":
                replies.give(ack(), "of the first")

    replies = Replies(send, lambda: None)
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    replies.promise(future, "1")
    replies.give(ack(), "2")
    future.set_result(ack())
    await turn()
    assert outcomes == ["1", "2", "of the first"]


async def test_refusal_is_passed_on() -> None:
    sent = Sent()
    refusal = CommandError(403, "no")
    sent.promise("1").set_exception(refusal)
    await turn()
    assert sent.outcomes == [(refusal, "1")]


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), KeyError("x")])
async def test_bug_is_a_503_that_says_nothing_and_is_logged_once(error: Exception) -> None:
    sent = Sent()
    with capture_logs() as logs:
        sent.promise("1").set_exception(error)
        await turn()
    [(outcome, _)] = sent.outcomes
    assert isinstance(outcome, CommandError)
    assert (outcome.code, outcome.message) == (503, "the command failed")
    assert [line["event"] for line in logs] == ["command_failed"]


async def test_cancelled_command_is_answered() -> None:
    sent = Sent()
    sent.promise("1").cancel()
    await turn()
    [(outcome, _)] = sent.outcomes
    assert isinstance(outcome, CommandError)
    assert (outcome.code, outcome.retry_after_ms) == (503, 1000)
