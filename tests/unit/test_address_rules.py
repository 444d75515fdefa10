"""Address rules: the most specific decides, the newest goes first, and each ends with its time."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address_rules import AddressRule, AddressRules
from gateway.addresses import parse_address

NOW = 1_800_000_000_000
LATER = NOW + 60_000


def blocks(rules: AddressRules, text: str, now_ms: int = NOW) -> bool:
    address = parse_address(text)
    assert address is not None
    return rules.blocks(address, now_ms)


def block(rules: AddressRules, network: str, until_ms: int = LATER) -> None:
    rules.give(AddressRule(network, True, until_ms), NOW)


def allow(rules: AddressRules, network: str, until_ms: int = LATER) -> None:
    rules.give(AddressRule(network, False, until_ms), NOW)


def test_without_rules_everybody_may() -> None:
    assert not blocks(AddressRules(), "192.0.2.7")


def test_the_most_specific_rule_decides() -> None:
    rules = AddressRules(block=["10.0.0.0/8", "10.1.2.0/24"], allow=["10.1.0.0/16", "10.1.2.3/32"])
    assert [blocks(rules, a) for a in ("10.9.9.9", "10.1.9.9", "10.1.2.9", "10.1.2.3")] == [True, False, True, False]
    assert not blocks(rules, "11.0.0.1")


def test_a_few_can_be_let_in_and_nobody_else() -> None:
    rules = AddressRules(block=["0.0.0.0/0", "::/0"], allow=["192.0.2.0/24"])
    assert [blocks(rules, a) for a in ("192.0.2.7", "192.0.3.7", "2001:db8::1")] == [False, True, True]


def test_ipv4_in_ipv6_is_ipv4() -> None:
    assert blocks(AddressRules(block=["192.0.2.0/24"]), "::ffff:192.0.2.7")


def test_a_rule_given_at_run_time_goes_before_the_setting_of_the_same_network() -> None:
    rules = AddressRules(block=["192.0.2.0/24"], allow=["198.51.100.0/24"])
    allow(rules, "192.0.2.0/24")
    block(rules, "198.51.100.0/24")
    assert [blocks(rules, a) for a in ("192.0.2.7", "198.51.100.7")] == [False, True]
    rules.clear("192.0.2.0/24")
    rules.clear("198.51.100.0/24")
    assert [blocks(rules, a) for a in ("192.0.2.7", "198.51.100.7")] == [True, False]


def test_a_setting_that_is_more_specific_holds_against_a_rule_given_at_run_time() -> None:
    rules = AddressRules(allow=["192.0.2.7/32"])
    block(rules, "192.0.2.0/24")
    assert [blocks(rules, a) for a in ("192.0.2.7", "192.0.2.8")] == [False, True]


def test_the_newest_rule_of_a_network_holds() -> None:
    rules = AddressRules()
    block(rules, "192.0.2.0/24")
    allow(rules, "192.0.2.0/24")
    assert not blocks(rules, "192.0.2.7")
    assert len(rules) == 1


def test_a_rule_ends_with_its_time_and_uncovers_the_wider_one() -> None:
    rules = AddressRules()
    block(rules, "192.0.2.0/24", LATER + 1)
    allow(rules, "192.0.2.7/32", LATER)
    assert [blocks(rules, "192.0.2.7", now) for now in (NOW, LATER - 1, LATER, LATER + 1)] == [
        False,
        False,
        True,
        False,
    ]


def test_what_has_ended_is_forgotten_when_the_next_rule_comes() -> None:
    rules = AddressRules()
    block(rules, "192.0.2.0/24", NOW - 1)
    block(rules, "198.51.100.0/24")
    assert len(rules) == 1


def test_replacing_forgets_what_is_not_there_any_more() -> None:
    rules = AddressRules()
    block(rules, "192.0.2.0/24")
    rules.replace([AddressRule("198.51.100.0/24", True, LATER)])
    assert [blocks(rules, a) for a in ("192.0.2.7", "198.51.100.7")] == [False, True]


def test_every_change_is_a_new_version() -> None:
    rules = AddressRules()
    versions = [rules.version]
    for change in (lambda: block(rules, "192.0.2.0/24"), lambda: rules.clear("192.0.2.0/24")):
        change()
        versions.append(rules.version)
    assert len(set(versions)) == 3


RULES = st.lists(
    st.tuples(
        st.sampled_from(["block", "allow", "clear"]), st.integers(0, 255), st.integers(24, 32), st.integers(-1, 2)
    ),
    max_size=30,
)


@given(RULES, st.integers(0, 255), st.integers(0, 3))
def test_any_changes_leave_what_a_plain_list_says(
    changes: list[tuple[str, int, int, int]], last: int, now: int
) -> None:
    rules, model = AddressRules(), {}
    for action, bits, length, until in changes:
        network = f"192.0.2.{bits >> (32 - length) << (32 - length)}/{length}"
        if action == "clear":
            rules.clear(network)
            model.pop(network, None)
        else:
            rules.give(AddressRule(network, action == "block", until), -2)
            model[network] = (action == "block", until)
    address = ipaddress.ip_address(f"192.0.2.{last}")
    holding = [
        (ipaddress.ip_network(network).prefixlen, blocked)
        for network, (blocked, until) in model.items()
        if until > now and address in ipaddress.ip_network(network)
    ]
    assert blocks(rules, str(address), now) is max(holding, default=(0, False))[1]


@pytest.mark.parametrize("count", [10_000])
def test_many_rules_cost_a_look_up_each_no_more_than_one(count: int) -> None:
    rules = AddressRules()
    rules.replace(AddressRule(f"10.{n // 250}.{n % 250}.0/24", True, LATER) for n in range(count))
    address = parse_address("10.39.249.1")
    assert address is not None
    assert len(list(rules._index.matches(address))) == 1
