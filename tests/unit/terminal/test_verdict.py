"""What the instances' answers mean together."""

from __future__ import annotations

import pytest

from gateway.terminal.described import describe
from gateway.terminal.verdict import Question, judge, named
from publisher.cursor import Cursor

AT = 1_000_000


def question(live=("a",), tenant="default", **fields):
    stated = {b"t": b"default", b"to": b'["user:42"]', b"e": b"e", b"d": b"1"}
    stated |= {name.encode(): value for name, value in fields.items()}
    return Question(describe(Cursor(AT, 0, 0, "x"), stated), "42", tenant, live)


def connection(verdict, *, sent=False, opened_at=AT - 10, client="c"):
    return {"client": client, "opened_at": opened_at, "verdict": verdict, "sent": sent, "remote": "", "lagging": False}


def gone(opened_at, closed_at, code=1000):
    return {"client": "c", "opened_at": opened_at, "closed_at": closed_at, "code": code}


def answer(*connections, instance="a", departed=()):
    return {"instance": instance, "in_memory": True, "connections": connections, "departed": departed}


def test_one_connection_that_got_it_is_enough():
    excluded = connection("excluded by client:d", client="d")
    verdict = judge(question(), [answer(excluded, connection("sent, by way of user:42", sent=True))])
    assert verdict.delivered
    assert verdict.sentence == "user 42 got it: sent to client c on instance a"


def test_a_slow_socket_has_not_got_it_yet():
    verdict = judge(question(), [answer(connection("not yet: the socket is slow"))])
    assert verdict.delivered is False
    assert "not yet: the socket is slow (client c)" in verdict.sentence


def test_what_memory_has_lost_nobody_can_tell():
    verdict = judge(question(), [answer(connection("unknown: the event is no longer in memory"))])
    assert verdict.delivered is None


def test_a_connection_that_was_there_and_left_is_no_proof():
    verdict = judge(question(), [answer(departed=[gone(AT - 5_000, AT + 3_000, 4408)])])
    assert verdict.delivered is None
    assert "client c on a: closed with 4408 (timeout), 3 s later" in verdict.sentence


def test_an_answer_that_is_missing_leaves_it_open():
    verdict = judge(question(live=("a", "b", "c")), [answer()])
    assert verdict.delivered is None
    assert "2 instances did not answer (b, c)" in verdict.sentence


def test_but_not_where_another_got_it():
    assert judge(question(live=("a", "b")), [answer(connection("sent", sent=True))]).delivered


def test_the_last_connection_before_is_named():
    departed = [gone(AT - 900_000, AT - 600_000, 1001), gone(AT - 500_000, AT - 120_000, 4408)]
    verdict = judge(question(), [answer(departed=departed)])
    assert verdict.delivered is False
    assert verdict.sentence.endswith("the last one closed 2 min before with 4408 (timeout)")


def test_the_next_connection_after_is_named():
    late = connection("too early: it joined user:42 after the event", opened_at=AT + 120_000)
    assert judge(question(), [answer(late)]).sentence.endswith(
        "the next one opened 2 min after, without a cursor from before the event"
    )


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (question(k=b"control"), "an order to the gateways"),
        (question(tenant="acme"), "of tenant default, the user of acme"),
        (question(x=b'["user:42"]'), "excludes user:42"),
        (question(to=b'["user:1","user:2"]'), "addressed to user:1, user:2"),
    ],
)
def test_some_events_are_for_nobody_like_this(asked, reason):
    verdict = judge(asked, [answer()])
    assert verdict.delivered is False
    assert reason in verdict.sentence


def test_close_codes_have_names():
    assert (named(4409), named(1006), named(4999)) == ("4409 (replaced)", "1006 (no goodbye)", "4999")


def test_what_nobody_gets_later_says_why():
    later = answer(connection("too early: it joined", opened_at=AT + 9_000))
    assert judge(question(k=b"ephemeral"), [later]).sentence.endswith("it is ephemeral: for who was there only")
    expired = judge(question(exp=b"%d" % (AT + 5_000)), [later])
    assert expired.delivered is False
    assert expired.sentence.endswith("it was over 5 s after it was stored")
