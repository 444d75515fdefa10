"""Admission: how many, and how often, from one address; and that keeping count costs a bounded amount of memory."""

from __future__ import annotations

from gateway import admission
from gateway.address_rules import AddressRules
from gateway.addresses import Address, Networks, parse_address
from gateway.admission import BLOCKED, AddressLimits, Admission, Refusal


def address(text: str) -> Address:
    parsed = parse_address(text)
    assert parsed is not None
    return parsed


def made(*, block: tuple[str, ...] = (), **limits: float) -> Admission:
    return Admission(AddressRules(block=block), AddressLimits(**limits), Networks())  # type: ignore[arg-type]


def enter(doors: Admission, text: str = "192.0.2.7", now: float = 0.0) -> Refusal | None:
    return doors.enter(address(text), now, lambda: 0)


def reason(refusal: Refusal | None) -> str | None:
    return refusal.reason if refusal is not None else None


def test_without_limits_everybody_comes_in_and_nothing_is_kept() -> None:
    doors = made()
    assert [enter(doors) for _ in range(1_000)] == [None] * 1_000
    assert len(doors) == 0


def test_connections_of_one_address_are_limited_and_others_are_not() -> None:
    doors = made(connections_per_ip=2)
    assert [reason(enter(doors)) for _ in range(3)] == [None, None, "address"]
    assert enter(doors, "192.0.2.8") is None


def test_who_leaves_makes_room() -> None:
    doors = made(connections_per_ip=1)
    enter(doors)
    refused = enter(doors)
    assert refused is not None
    assert refused.retry_after_s
    doors.leave(address("192.0.2.7"))  # the one that was refused
    doors.leave(address("192.0.2.7"))
    assert enter(doors) is None


def test_a_mob_of_refused_sockets_is_not_answered() -> None:
    doors = made(connections_per_ip=2)
    refusals = [enter(doors) for _ in range(6)]
    assert [refusal.at_once if refusal else None for refusal in refusals] == [None, None, False, False, True, True]


def test_ipv6_is_counted_by_its_64() -> None:
    doors = made(connections_per_ip=1)
    assert enter(doors, "2001:db8:0:1::1") is None
    assert reason(enter(doors, "2001:db8:0:1:ffff::2")) == "address"
    assert enter(doors, "2001:db8:0:2::1") is None


def test_ipv4_in_ipv6_counts_as_ipv4() -> None:
    doors = made(connections_per_ip=1)
    assert enter(doors, "::ffff:192.0.2.7") is None
    assert reason(enter(doors, "192.0.2.7")) == "address"


def test_handshakes_are_limited_by_a_bucket_that_says_how_long_to_wait() -> None:
    doors = made(handshakes_per_s=0.5, handshakes_burst=2)
    assert [reason(enter(doors)) for _ in range(3)] == [None, None, "rate"]
    refused = enter(doors)
    assert refused is not None
    assert (refused.status, refused.retry_after_s) == (429, 2)
    assert enter(doors, now=2.0) is None
    assert enter(doors, "192.0.2.8") is None


def test_who_is_blocked_is_told_so_and_not_when_to_come_back() -> None:
    assert enter(made(block=("192.0.2.0/24",), handshakes_per_s=1)) is BLOCKED
    assert BLOCKED.retry_after_s is None


def test_what_is_counted_is_forgotten_with_the_last_connection() -> None:
    doors = made(connections_per_ip=5)
    for number in range(1_000):
        enter(doors, f"10.0.{number // 250}.{number % 250}")
    for number in range(1_000):
        doors.leave(address(f"10.0.{number // 250}.{number % 250}"))
    assert len(doors) == 0


def test_buckets_are_bounded_and_those_in_use_stay() -> None:
    doors = made(handshakes_per_s=0.001, handshakes_burst=1)
    enter(doors)
    for number in range(3 * admission._BUCKETS):
        enter(doors, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        if number % 10_000 == 0:
            assert reason(enter(doors)) == "rate"
    assert len(doors) <= 2 * admission._BUCKETS
