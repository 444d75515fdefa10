"""Delivery: which replies lead to which outcomes, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors

from publisher import PublishError, PublishIncomplete, PublishUnavailable, PublishUnknown, make_event
from publisher.command import CommandBuilder
from publisher.delivery import Exchange, Request, delivery, ids_of
from publisher.options import MAX_PARTITIONS, Options, pause_s

REPLY = [b"1700000000000-5", b"e1", 1]
ID = "1700000000000-5.0.e1"
READ_ONLY = redis_errors.ReadOnlyError("You can't write against a read only replica.")
NO_SCRIPT = redis_errors.NoScriptError("No matching script.")
RESET = redis_errors.ConnectionError("Connection closed by server.")


def make_requests(count=1, *, retries=3, key=None, deadline=1000.0):
    build = CommandBuilder(Options(retries=retries))
    events = [make_event("e", number, to="all", key=key) for number in range(count)]
    return [Request(build.publish(event), deadline) for event in events]


def steps(requests, *, retries=3, now=lambda: 0.0):
    """The exchanges of a delivery; pauses are left out."""
    options = Options(retries=retries)
    return (step for step in delivery(requests, options, now) if isinstance(step, Exchange))


def run(requests, script, *, retries=3):
    """Answer one exchange after another by the script's functions; return how many there were."""
    count = 0
    for exchange in steps(requests, retries=retries):
        script[min(count, len(script) - 1)](exchange)
        count += 1
    return count


def answer(exchange):
    for _ in exchange.commands():
        exchange.answered(REPLY)
    assert not exchange.unsent


def refuse(exchange, error=READ_ONLY):
    for _ in exchange.commands():
        exchange.failed(error)


def lose(exchange):
    exchange.commands()
    exchange.lost(RESET)


def do_not_connect(exchange):
    exchange.not_sent(redis_errors.ConnectionError("Error 111 connecting to localhost:6379."))


def test_an_answer_is_the_id_and_ends_the_delivery():
    (request,) = requests = make_requests()
    assert list(delivery(make_requests(0), Options(), lambda: 0.0)) == []
    assert run(requests, [answer]) == 1
    assert request.outcome == ID


def test_nothing_pauses_after_success():
    requests = make_requests()
    taken = delivery(requests, Options(), lambda: 0.0)
    answer(next(taken))
    assert list(taken) == []


@pytest.mark.parametrize("trouble", [refuse, lose, do_not_connect])
def test_trouble_is_tried_again_after_a_pause(trouble):
    (request,) = requests = make_requests()
    taken = delivery(requests, Options(), lambda: 0.0)
    trouble(next(taken))
    assert 0.05 <= next(taken) <= 0.1
    answer(next(taken))
    assert request.outcome == ID


@pytest.mark.parametrize("trouble", [refuse, do_not_connect])
def test_what_was_never_stored_ends_as_unavailable(trouble):
    (request,) = requests = make_requests()
    assert run(requests, [trouble]) == 4
    assert isinstance(request.outcome, PublishUnavailable)
    assert "nothing was stored" in str(request.outcome)
    assert request.outcome.retry_after_ms > 0


@pytest.mark.parametrize("later", [refuse, lose, do_not_connect])
def test_what_once_had_no_answer_ends_as_unknown(later):
    (request,) = requests = make_requests()
    run(requests, [lose, later])
    assert isinstance(request.outcome, PublishUnknown)
    assert request.outcome.key == request.command.key


def test_without_retries_there_is_no_key_and_one_try():
    (request,) = requests = make_requests(retries=0)
    assert request.command.key is None
    assert run(requests, [lose], retries=0) == 1
    assert isinstance(request.outcome, PublishUnknown)
    assert request.outcome.key is None


def test_with_retries_every_event_has_a_key_of_its_own():
    keys = {request.command.key for request in make_requests(10)}
    assert len(keys) == 10
    assert None not in keys


def test_the_key_stays_the_same_in_every_try():
    requests = make_requests()
    seen = []

    def note(exchange):
        seen.extend(exchange.commands())
        exchange.lost(RESET)

    run(requests, [note])
    (key,) = requests[0].command.keys[2:]
    assert len(seen) == 4
    assert all(key in wire for wire in seen)


def test_a_refusal_for_good_is_not_tried_again():
    (request,) = requests = make_requests()
    error = redis_errors.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    assert run(requests, [lambda exchange: refuse(exchange, error)]) == 1
    assert type(request.outcome) is PublishError
    assert "WRONGTYPE" in str(request.outcome)


def test_a_wrong_password_is_not_tried_again():
    (request,) = requests = make_requests()
    script = [lambda exchange: exchange.not_sent(redis_errors.AuthenticationError("invalid password"))]
    assert run(requests, script) == 1
    assert type(request.outcome) is PublishError


def test_a_refusal_for_good_after_a_lost_reply_is_unknown():
    (request,) = requests = make_requests()
    error = redis_errors.NoPermissionError("no permissions")
    run(requests, [lose, lambda exchange: refuse(exchange, error)])
    assert isinstance(request.outcome, PublishUnknown)


def test_an_unknown_script_is_sent_in_full_once_and_at_once():
    requests = make_requests(3)
    (exchange,) = taken = list(steps_until_answered(requests))
    assert len(taken) == 1
    assert [request.outcome for request in requests] == [ID] * 3
    assert not exchange.unsent


def steps_until_answered(requests):
    for exchange in steps(requests):
        wires = exchange.commands()
        assert all(b"EVALSHA" in wire for wire in wires)
        for _ in wires:
            exchange.failed(NO_SCRIPT)
        wires = exchange.commands()
        assert [b"\r\nEVAL\r\n" in wire for wire in wires] == [True, False, False]
        for _ in wires:
            exchange.answered(REPLY)
        yield exchange


def test_a_script_that_stays_unknown_ends_the_round_and_not_in_a_loop():
    (request,) = requests = make_requests()

    def never_known(exchange):
        while exchange.unsent:
            for _ in exchange.commands():
                exchange.failed(NO_SCRIPT)

    assert run(requests, [never_known]) == 4
    assert isinstance(request.outcome, PublishUnavailable)


def test_each_reply_belongs_to_its_own_command():
    requests = make_requests(3)

    def mixed(exchange):
        assert len(exchange.commands()) == 3
        exchange.answered([b"1-1", b"e1", 1])
        exchange.failed(redis_errors.ResponseError("WRONGTYPE"))
        exchange.answered([b"1-2", b"e1", 0])

    run(requests, [mixed])
    assert requests[0].outcome == "1-1.0.e1"
    assert type(requests[1].outcome) is PublishError
    assert requests[2].outcome == "1-2.0.e1"


def test_replies_before_the_break_count():
    requests = make_requests(3)

    def broken(exchange):
        exchange.commands()
        exchange.answered([b"1-1", b"e1", 1])
        exchange.lost(RESET)

    run(requests, [broken, do_not_connect])
    assert requests[0].outcome == "1-1.0.e1"
    assert all(isinstance(request.outcome, PublishUnknown) for request in requests[1:])


def test_a_redirected_command_is_the_next_to_send():
    requests = make_requests(2)
    (exchange,) = [next(steps(requests))]
    exchange.commands()
    exchange.failed(redis_errors.MovedError("7000 127.0.0.1:7001"))
    exchange.answered(REPLY)
    assert not exchange.unsent
    assert exchange.redirect()
    assert exchange.slot_key == b"tg:{events:0}"
    assert len(exchange.commands()) == 1
    exchange.answered(REPLY)
    assert not exchange.redirect()
    assert requests[0].outcome == ID


@pytest.mark.parametrize("reply", [None, b"OK", [], [b"x", b"e", 1], [b"1-1", None, 1], [b"1-1", b"e"], 7])
def test_a_reply_that_is_none_of_the_script_is_unknown(reply):
    (request,) = requests = make_requests()

    def nonsense(exchange):
        exchange.commands()
        exchange.answered(reply)

    run(requests, [nonsense])
    assert isinstance(request.outcome, PublishUnknown)


def test_what_is_over_its_deadline_is_not_sent():
    late, timely = make_requests(deadline=5.0) + make_requests(deadline=20.0)
    (exchange,) = [next(steps([late, timely], now=lambda: 10.0))]
    assert len(exchange.commands()) == 1


def test_time_that_is_used_up_ends_the_tries():
    (request,) = requests = make_requests(deadline=5.0)
    times = iter([0.0, 0.0, 6.0])
    for exchange in steps(requests, now=lambda: next(times)):
        lose(exchange)
    assert isinstance(request.outcome, PublishUnknown)


def test_an_exchange_ends_in_time_for_the_next_try():
    (exchange,) = [next(steps(make_requests(), now=lambda: 100.0))]
    assert exchange.deadline == 100.0 + 5.0 / 4


@given(st.lists(st.sampled_from([refuse, lose, do_not_connect, answer]), min_size=1, max_size=6), st.integers(0, 3))
def test_every_request_is_settled_and_never_unavailable_after_a_loss(script, retries):
    (request,) = requests = make_requests(retries=retries)
    count = run(requests, script, retries=retries)
    happened = [script[min(index, len(script) - 1)] for index in range(count)]
    assert count <= retries + 1
    if answer in happened:
        assert request.outcome == ID
    elif lose in happened:
        assert isinstance(request.outcome, PublishUnknown)
    else:
        assert isinstance(request.outcome, PublishUnavailable)


@given(st.integers(1, 100))
def test_pauses_grow_and_stay_bounded(retry):
    assert 0.05 <= pause_s(retry) <= 1.0


def test_ids_of_successes_are_returned():
    assert ids_of(["a", "b"]) == ["a", "b"]
    assert ids_of([]) == []


def test_one_reason_for_all_is_raised_as_itself():
    with pytest.raises(PublishUnavailable):
        ids_of([PublishUnavailable("down"), PublishUnavailable("down")])


def test_events_that_may_all_be_stored_keep_their_keys():
    results = [PublishUnknown("lost", key="a"), PublishUnknown("lost", key="b")]
    with pytest.raises(PublishIncomplete) as caught:
        ids_of(results)
    assert caught.value.results == results


def test_what_was_sent_under_one_key_is_unknown_as_a_whole():
    for key in ("a", None):
        with pytest.raises(PublishUnknown) as caught:
            ids_of([PublishUnknown("lost", key=key), PublishUnknown("lost", key=key)])
        assert caught.value.key == key


def test_mixed_results_are_listed():
    for results in (["a", PublishUnknown("lost")], [PublishUnavailable("down"), PublishUnknown("lost")]):
        with pytest.raises(PublishIncomplete) as caught:
            ids_of(results)
        assert caught.value.results == results


@pytest.mark.parametrize(
    "wrong",
    [
        {"partitions": 0},
        {"partitions": 65},
        {"partitions": "2"},
        {"partitions": True},
        {"partitions": 2.0},
        {"timeout_s": "5"},
        {"timeout_s": True},
        {"key_ttl_s": float("inf")},
        {"key_ttl_s": 1e300},
        {"history_days": float("inf")},
        {"retries": None},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"retries": -1},
        {"maxlen": 0},
        {"key_ttl_s": -1},
        {"max_queue": 0},
        {"max_event_bytes": 0},
    ],
)
def test_a_bad_option_is_refused_with_its_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


def test_too_many_partitions_are_refused_with_the_bound():
    with pytest.raises(ValueError, match=f"at most {MAX_PARTITIONS}"):
        Options(partitions=MAX_PARTITIONS + 1)


@given(st.floats(0.1, 3600), st.integers(0, 50))
def test_a_made_key_outlives_all_tries(timeout_s, retries):
    options = Options(timeout_s=timeout_s, retries=retries)
    assert options.made_key_ttl_s >= 2 * options.timeout_s


def test_the_node_that_a_command_is_redirected_to_may_not_know_the_script_either():
    requests = make_requests()
    (exchange,) = [next(steps(requests))]
    for error in (NO_SCRIPT, redis_errors.MovedError("7000 127.0.0.1:7001")):
        exchange.commands()
        exchange.failed(error)
    assert not exchange.unsent
    assert exchange.redirect()
    for error in (NO_SCRIPT, NO_SCRIPT):
        assert len(exchange.commands()) == 1
        exchange.failed(error)
    exchange.commands()
    exchange.answered(REPLY)
    assert requests[0].outcome == ID
