"""The checker finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.chaos.ledger import FAILED, OK, UNKNOWN, Ledger, Record, judge

EPOCH = "aaaa"


def _ledger(count: int = 10, fates: dict[int, int] | None = None) -> Ledger:
    ledger = Ledger()
    for number in range(1, count + 1):
        ledger.send(0.0)
        fate = (fates or {}).get(number, OK)
        ledger.settle(number, fate, f"{number}-0.0.{EPOCH}" if fate == OK else None)
    return ledger


def _record(*numbers: int) -> Record:
    record = Record(joined=f"0-0.0.{EPOCH}")
    for number in numbers:
        record.take(number, is_first_id=True)
    return record


def test_everything_once_and_in_order_is_right() -> None:
    tally = judge(_record(*range(1, 11)), _ledger())
    assert (tally.delivered, tally.lost, tally.misplaced, tally.doubled, tally.phantom) == (10, 0, 0, 0, 0)


@pytest.mark.parametrize("came", [(2, 3, 4, 5, 6, 7, 8, 9, 10), (1, 2, 3, 5, 6, 7, 8, 9, 10), tuple(range(1, 10))])
def test_a_missing_event_is_lost_wherever_it_was(came: tuple[int, ...]) -> None:
    assert judge(_record(*came), _ledger()).lost == 1


def test_who_had_nothing_lost_everything() -> None:
    assert judge(_record(), _ledger()).lost == 10


def test_what_was_published_before_a_client_came_is_not_its_own() -> None:
    record = Record(joined=f"4-0.0.{EPOCH}")
    for number in range(6, 11):
        record.take(number, is_first_id=True)
    assert judge(record, _ledger()).lost == 1  # the fifth


def test_an_event_after_a_later_one_is_misplaced() -> None:
    assert judge(_record(1, 2, 4, 3, 5, 6, 7, 8, 9, 10), _ledger()).misplaced == 1


def test_the_same_id_again_is_repeated_and_another_id_is_doubled() -> None:
    record = _record(*range(1, 11), 10)
    record.take(9, is_first_id=False)
    tally = judge(record, _ledger())
    assert (tally.repeated, tally.doubled, tally.delivered) == (1, 1, 10)


def test_what_failed_or_was_never_sent_must_not_come() -> None:
    assert judge(_record(*range(1, 12)), _ledger(fates={3: FAILED})).phantom == 2


def test_what_failed_need_not_come() -> None:
    assert judge(_record(1, 2, 4, 5, 6, 7, 8, 9, 10), _ledger(fates={3: FAILED})).lost == 0


@pytest.mark.parametrize(
    ("cursor", "lost", "signalled"),
    [
        (f"5-0.0.{EPOCH}", 0, 2),  # names both
        (f"4-0.0.{EPOCH}", 1, 1),  # names the fourth only
        ("1-0.0.bbbb", 0, 2),  # another log
    ],
)
def test_a_resync_excuses_the_range_that_it_names(cursor: str, lost: int, signalled: int) -> None:
    record = _record(1, 2, 3)
    record.resync(cursor, "trimmed")
    for number in range(6, 11):
        record.take(number, is_first_id=True)
    tally = judge(record, _ledger())
    assert (tally.lost, tally.signalled, tally.resyncs) == (lost, signalled, 1)


@pytest.mark.parametrize(("seconds_between", "lost"), [(0.1, 0), (1.0, 1)])
def test_a_resync_may_come_soon_after_what_was_left_and_not_late(seconds_between: float, lost: int) -> None:
    ledger = _ledger()
    for number in range(1, 11):
        ledger.sent_at[number] = number * seconds_between
    record = _record(1, 2, 4, 5, 6, 7, 8, 9)
    record.resync(f"9-0.0.{EPOCH}", "trimmed")
    record.take(10, is_first_id=True)
    assert judge(record, ledger).lost == lost


def test_a_resync_excuses_no_other_hole() -> None:
    record = _record(1, 2)
    record.resync(f"3-0.0.{EPOCH}", "trimmed")
    for number in (4, 6, 7, 8, 9, 10):
        record.take(number, is_first_id=True)
    tally = judge(record, _ledger())
    assert (tally.lost, tally.signalled) == (1, 1)


def test_what_nobody_was_promised_may_come_late() -> None:
    assert judge(_record(1, 2, 4, 3, 5, 6, 7, 8, 9, 10), _ledger(fates={3: UNKNOWN})).misplaced == 0
