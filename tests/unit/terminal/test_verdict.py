"""What the instances' answers mean together."""

from __future__ import annotations

import pytest

from gateway.terminal.described import describe
from gateway.terminal.verdict import Question, judge, named
from publisher.cursor import Cursor

AT = 1_000_000


def question(live=("a",), tenant="default", started_after=(), stopped=(), **fields):
    stated = {b"v": b"1", b"t": b"default", b"to": b'["user:42"]', b"e": b"e", b"m": b"m", b"d": b"1"}
    stated |= {name.encode(): value for name, value in fields.items()}
    return Question(describe(Cursor(AT, 0, 0, "x"), stated), "42", tenant, live, started_after, stopped)


def connection(verdict, *, sent=False, opened_at=AT - 10, client="c"):
    return {"client": client, "opened_at": opened_at, "verdict": verdict, "sent": sent, "remote": "", "lagging": False}


def gone(opened_at, closed_at, code=1000, *, resumed=False):
    return {"client": "c", "opened_at": opened_at, "closed_at": closed_at, "code": code, "resumed": resumed}


def answer(*connections, instance="a", departed=(), forgot_until=0):
    return {
        "instance": instance,
        "in_memory": True,
        "connections": connections,
        "departed": departed,
        "forgot_until": forgot_until,
    }


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


def test_a_connection_that_resumed_later_and_left_is_no_proof():
    verdict = judge(question(), [answer(departed=[gone(AT + 2_000, AT + 3_000, resumed=True)])])
    assert verdict.delivered is None
    assert verdict.sentence.endswith(
        "a connection that opened 2 s after it may have resumed from before it, and has ended "
        "(client c on a: closed with 1000 (normal))"
    )


def test_an_instance_that_does_not_say_whether_it_resumed_leaves_it_open():
    older = gone(AT + 2_000, AT + 3_000)
    del older["resumed"]
    assert judge(question(), [answer(departed=[older])]).delivered is None


@pytest.mark.parametrize(
    ("asked", "late"),
    [
        (question(), gone(AT + 2_000, AT + 3_000)),
        (question(k=b"ephemeral"), gone(AT + 2_000, AT + 3_000, resumed=True)),
        (question(k=b"ephemeral", to=b'["group:g"]'), gone(AT + 2_000, AT + 3_000)),
        (question(exp=b"%d" % (AT + 1_000)), gone(AT + 2_000, AT + 3_000, resumed=True)),
    ],
    ids=["it did not resume", "ephemeral", "ephemeral, for a group", "expired before"],
)
def test_a_later_connection_that_cannot_have_had_it_leaves_nothing_open(asked, late):
    assert judge(asked, [answer(departed=[late])]).delivered is False


def test_one_that_was_still_in_time_leaves_it_open():
    late = gone(AT + 2_000, AT + 3_000, resumed=True)
    assert judge(question(exp=b"%d" % (AT + 2_500)), [answer(departed=[late])]).delivered is None


@pytest.mark.parametrize("address", ["group:g", "topic:g", "tag:g"])
def test_a_later_connection_may_have_joined_with_since(address):
    verdict = judge(question(to=b'["%s"]' % address.encode()), [answer(departed=[gone(AT + 2_000, AT + 3_000)])])
    assert verdict.delivered is None
    assert "opened 2 s after it may have joined with `since` (client c on a: closed" in verdict.sentence


def test_an_instance_that_started_later_knows_nothing_of_before():
    verdict = judge(question(live=("a", "b"), started_after=["b"]), [answer(), answer(instance="b")])
    assert verdict.delivered is None
    assert verdict.sentence.endswith("instance b started only after the event")


def test_an_instance_that_stopped_since_cannot_be_asked():
    verdict = judge(question(stopped=["c", "b"]), [answer()])
    assert verdict.delivered is None
    assert verdict.sentence.endswith("the instances b, c had read it, and stopped since")


def test_neither_matters_where_a_connection_tells():
    asked = question(started_after=["b"], stopped=["c"])
    assert judge(asked, [answer(connection("excluded by user:42"))]).delivered is False
    assert judge(asked, [answer(connection("sent", sent=True))]).delivered is True


@pytest.mark.parametrize(("until", "delivered"), [(AT - 1, False), (AT, None), (AT + 1, None)])
def test_an_instance_that_has_forgotten_departures_leaves_it_open(until, delivered):
    verdict = judge(question(), [answer(forgot_until=until)])
    assert verdict.delivered is delivered
    assert ("instance a no longer knows" in verdict.sentence) is (delivered is None)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"v": b"9"}, "its version is not 1"),
        ({"to": b"everybody"}, "its audience is not JSON"),
        ({"t": b"a b"}, "its tenant is not a tenant's name"),
    ],
)
def test_poison_is_called_so_with_what_the_decoder_says(fields, problem):
    verdict = judge(question(live=(), **fields), [])
    assert verdict.delivered is False
    assert verdict.sentence.endswith(f"it is poison, which no gateway delivers: {problem}")


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
