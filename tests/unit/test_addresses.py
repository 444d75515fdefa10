"""Addresses: what a peer is called, which network it is in, and who is behind a proxy."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import UNKNOWN, Networks, client_address, parse_address
from publisher.access import canonical_network

PROXIES = Networks((network, True) for network in ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1/32"))


def client(peer: str, *forwarded: str) -> str:
    address = parse_address(peer)
    assert address is not None
    return client_address(address, forwarded, PROXIES).text


# What an address is called


@pytest.mark.parametrize(
    ("text", "shown", "key"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:207", "192.0.2.7", "192.0.2.7"),
        ("2001:DB8:0:0:1:2:3:4", "2001:db8::1:2:3:4", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::1", "fe80::/64"),
        ("::1", "::1", "::/64"),
    ],
)
def test_address_is_normalised_and_counted_by_its_customer(text: str, shown: str, key: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert (address.text, address.key) == (shown, key)


@pytest.mark.parametrize(
    "text",
    ["", "nobody", "192.0.2", "192.0.2.256", "0300.0.2.7", "192.0.2.7/32", "192.0.2.7\n", "x" * 10_000, "3232235777"],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address = parse_address(text)
    assert address is None or ipaddress.ip_address(address.text)


# Networks


def test_the_most_specific_network_comes_first() -> None:
    networks = Networks([("10.0.0.0/8", "wide"), ("10.1.2.3/32", "one"), ("10.1.0.0/16", "middle"), ("::/0", "other")])
    address = parse_address("10.1.2.3")
    assert address is not None
    assert list(networks.matches(address)) == [(32, "one"), (16, "middle"), (8, "wide")]


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_networks_hold_what_the_standard_library_says(given_: list[tuple[int, int]], number: int) -> None:
    nets = [ipaddress.ip_network((bits >> (32 - length) << (32 - length), length)) for bits, length in given_]
    address = parse_address(str(ipaddress.IPv4Address(number)))
    assert address is not None
    networks = Networks((str(net), True) for net in nets)
    assert networks.holds(address) is any(ipaddress.IPv4Address(number) in net for net in nets)


def test_removed_network_holds_nothing() -> None:
    networks: Networks[int] = Networks([("10.0.0.0/8", 1), ("2001:db8::/32", 2)])
    for network in ("10.0.0.0/8", "2001:db8::/32", "192.0.2.0/24"):
        networks.remove(network)
    assert not networks


def test_an_unknown_address_is_in_no_network() -> None:
    assert not Networks([("0.0.0.0/0", True), ("::/0", True)]).holds(UNKNOWN)


# Who is behind a proxy


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.7", ["203.0.113.1"], "192.0.2.7"),  # no proxy of ours: forged
        ("192.0.2.7", [], "192.0.2.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.1"], "203.0.113.1"),  # what the client wrote stands to the left
        ("10.0.0.1", ["198.51.100.9", "203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.1, 10.0.0.2,10.0.0.3"], "203.0.113.1"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        ("10.0.0.1", ["10.0.0.9, 203.0.113.1"], "203.0.113.1"),  # claims to be a proxy
        ("::ffff:10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        ("2001:db8:1::5", ["2001:db8:2::7"], "2001:db8:2::7"),
        ("10.0.0.1", ["203.0.113.1:4711"], "203.0.113.1"),
        ("10.0.0.1", ["[2001:db8:2::7]:4711"], "2001:db8:2::7"),
        ("10.0.0.1", ["[2001:db8:2::7]"], "2001:db8:2::7"),
        ("10.0.0.1", ["  203.0.113.1\t"], "203.0.113.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, _hidden, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1,"], "10.0.0.1"),
        ("10.0.0.1", ["x" * 8_000], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1\x1b[31m"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1, " + "10.0.0.2, " * 500 + "10.0.0.3"], "10.0.0.2"),
    ],
)
def test_client_is_the_right_most_hop_that_is_no_proxy_of_ours(peer: str, forwarded: list[str], found: str) -> None:
    assert client(peer, *forwarded) == found


@given(st.lists(st.text(max_size=40), max_size=5))
def test_nothing_that_a_stranger_forwards_changes_who_they_are(forwarded: list[str]) -> None:
    assert client("192.0.2.7", *forwarded) == "192.0.2.7"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_what_the_last_proxy_saw_is_believed_whatever_stands_before_it(forwarded: list[str]) -> None:
    assert client("10.0.0.1", *forwarded, "203.0.113.1") == "203.0.113.1"


# How networks are written


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_network_has_one_way_to_be_written(text: str, canonical: str) -> None:
    assert canonical_network(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "192.0.2.7/24",
        "192.0.2.0/33",
        "192.0.2.0/-1",
        "2001:db8::1/32",
        "fe80::%eth0/64",
        "1/8",
        "x" * 1_000,
        None,
        7,
        [],
    ],
)
def test_what_is_no_network_is_refused_without_repeating_it(text: object) -> None:
    with pytest.raises(ValueError, match="use") as refused:
        canonical_network(text)
    assert len(str(refused.value)) < 120
