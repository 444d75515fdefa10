"""The handshake: whose page may connect, and what a client brings."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from gateway.handshake import (
    Credentials,
    credentials,
    offered,
    origin_allowed,
    select_subprotocol,
    split_path,
)

HOST = "example.com"
IN_HEADERS = st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"])


def allowed(origin: str, *listed: str, host: str = HOST) -> bool:
    return origin_allowed(Headers(Host=host, Origin=origin), frozenset(listed))


# Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://example.com", "example.com"),
        ("http://example.com", "example.com"),
        ("http://example.com:8889", "example.com:8889"),
        ("http://127.0.0.1:8889", "127.0.0.1:8889"),
        ("http://[::1]:8889", "[::1]:8889"),
        ("HTTPS://Example.COM", "example.com"),
        ("https://example.com", "EXAMPLE.com"),
    ],
)
def test_page_of_our_own_host_may(origin: str, host: str) -> None:
    assert allowed(origin, host=host)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.org",
        "https://example.com.evil.org",
        "https://evilexample.com",
        "https://evil-example.com",
        "https://sub.example.com",
        "https://example.co",
        "https://example.comm",
        "https://example.com.",
        "https://example.com:8443",
        "https://user@example.com",
        "https://example.com@evil.org",
        "https://evil.org/example.com",
        "https://evil.org?example.com",
        "https://evil.org#example.com",
        "https://evil.org\\example.com",
        "https://example.com\\.evil.org",
        "https://example.com%2eevil.org",
        "https://xn--xample-2of.com",
        "https://ëxample.com",
        "file://example.com",
        "chrome-extension://example.com",
        "ws://example.com",
        "//example.com",
        "example.com",
        "https:example.com",
        "https://[example.com",
        "https://example.com https://example.com",
    ],
)
def test_page_of_another_host_may_not(origin: str) -> None:
    assert not allowed(origin)


@pytest.mark.parametrize("host", ["example.com:8889", "other.com", ""])
def test_port_is_a_part_of_the_host(host: str) -> None:
    assert not allowed("https://example.com", host=host)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://app.example.org", True),
        ("HTTPS://App.Example.ORG", True),
        ("http://app.example.org", False),
        ("https://app.example.org:8443", False),
        ("https://app.example.org.evil.org", False),
        ("https://sub.app.example.org", False),
        ("null", False),
    ],
)
def test_list_names_whole_origins(origin: str, may: bool) -> None:
    assert allowed(origin, "https://app.example.org") is may


def test_page_of_our_own_host_may_beside_the_list() -> None:
    assert allowed("https://example.com", "https://app.example.org")


def test_everybody_may_where_the_list_says_so() -> None:
    assert allowed("https://evil.org", "*")


def test_who_sends_no_origin_is_no_browser() -> None:
    assert origin_allowed(Headers(Host=HOST), frozenset())


def test_several_origins_are_refused() -> None:
    headers = Headers([("Host", HOST), ("Origin", "https://example.com"), ("Origin", "https://example.com")])
    assert not origin_allowed(headers, frozenset())


@pytest.mark.parametrize("hosts", [[], [HOST, HOST]])
def test_without_one_host_there_is_no_own_page(hosts: list[str]) -> None:
    headers = Headers([("Origin", "https://example.com"), *(("Host", host) for host in hosts)])
    assert not origin_allowed(headers, frozenset())


@given(st.text(IN_HEADERS, max_size=30))
def test_any_origin_is_decided(suffix: str) -> None:
    assert not allowed("https://example.com." + suffix)


# Credentials


def found(query: str = "", **headers: str) -> Credentials:
    return credentials(query, Headers({name.replace("_", "-"): value for name, value in headers.items()}))


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("token=T", {}, "T"),
        ("a=1&token=T&b=2", {}, "T"),
        ("token=T&token=U", {}, "T"),
        ("", {"Authorization": "Bearer T"}, "T"),
        ("", {"Authorization": "bearer T"}, "T"),
        ("", {"Authorization": "BEARER   T "}, "T"),
        ("", {"Sec_WebSocket_Protocol": "tidegate.v1, bearer.T"}, "T"),
        ("", {"Sec_WebSocket_Protocol": "bearer.T"}, "T"),
        ("", {"Sec_WebSocket_Protocol": "bearer.T, bearer.U"}, "T"),
    ],
)
def test_token_is_found(query: str, headers: dict[str, str], token: str) -> None:
    assert found(query, **headers) == Credentials(token, None)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("token=", {}),
        ("Token=T", {}),
        ("token", {}),
        ("", {"Authorization": "T"}),
        ("", {"Authorization": "Bearer"}),
        ("", {"Authorization": "Bearer "}),
        ("", {"Authorization": "Basic T"}),
        ("", {"Authorization": ""}),
        ("", {"Sec_WebSocket_Protocol": "tidegate.v1"}),
        ("", {"Sec_WebSocket_Protocol": "Bearer.T"}),
        ("", {"Sec_WebSocket_Protocol": "bearer T"}),
        ("", {"Sec_WebSocket_Protocol": ",;"}),
        ("", {"Sec_WebSocket_Protocol": ""}),
    ],
)
def test_what_is_no_token_is_none(query: str, headers: dict[str, str]) -> None:
    assert found(query, **headers).token is None


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ("token=Q", {"Authorization": "Bearer H", "Sec_WebSocket_Protocol": "bearer.S"}, "Q"),
        ("", {"Authorization": "Bearer H", "Sec_WebSocket_Protocol": "bearer.S"}, "H"),
        ("token=", {"Authorization": "Basic H", "Sec_WebSocket_Protocol": "bearer.S"}, "S"),
    ],
)
def test_query_goes_before_header_before_subprotocol(query: str, headers: dict[str, str], token: str) -> None:
    assert found(query, **headers).token == token


def test_two_authorizations_are_none() -> None:
    headers = Headers([("Authorization", "Bearer T"), ("Authorization", "Bearer U")])
    assert credentials("", headers).token is None


@pytest.mark.parametrize(
    ("query", "cursor"),
    [
        ("cursor=1-0.0.e", "1-0.0.e"),
        ("token=T&cursor=1-0.0.e%2C2-0.1.e", "1-0.0.e,2-0.1.e"),
        ("cursor=1-0.0.e,2-0.1.e", "1-0.0.e,2-0.1.e"),
        ("cursor=", None),
        ("", None),
    ],
)
def test_cursor_is_found_beside_any_token(query: str, cursor: str | None) -> None:
    assert found(query, Authorization="Bearer T").cursor == cursor


@pytest.mark.parametrize("query", ["&".join(f"a{n}=1" for n in range(33)) + "&token=T", "&" * 100, "token=%zz", "=&=;"])
def test_odd_query_is_no_error(query: str) -> None:
    assert found(query, Authorization="Bearer H").token in {"H", "%zz"}


@given(st.text(max_size=50), st.text(IN_HEADERS, max_size=50))
def test_any_query_and_headers_are_no_error(query: str, value: str) -> None:
    found(query, Authorization=value, Sec_WebSocket_Protocol=value)


# Subprotocols


def test_several_headers_are_one_offer() -> None:
    headers = Headers([("Sec-WebSocket-Protocol", "a, b"), ("Sec-WebSocket-Protocol", "tidegate.v1")])
    assert offered(headers) == ["a", "b", "tidegate.v1"]


@pytest.mark.parametrize("value", ["", ",", "a b", "a;q=1", '"a"', "ü"])
def test_malformed_offer_is_none(value: str) -> None:
    with contextlib.suppress(InvalidHeader):
        parse_subprotocol(value)
        raise AssertionError("it is well-formed")
    assert offered(Headers([("Sec-WebSocket-Protocol", value), ("Sec-WebSocket-Protocol", "tidegate.v1")])) == []


@pytest.mark.parametrize(
    ("names", "selected"),
    [
        (["tidegate.v1", "bearer.T"], "tidegate.v1"),
        (["bearer.T", "other", "tidegate.v1"], "tidegate.v1"),
        (["bearer.T"], None),
        (["tidegate.v2"], None),
        ([], None),
    ],
)
def test_only_our_own_subprotocol_is_answered_with(names: list[str], selected: str | None) -> None:
    assert select_subprotocol(names) == selected


@pytest.mark.parametrize(
    ("target", "parts"),
    [("/ws", ("/ws", "")), ("/ws?a=1", ("/ws", "a=1")), ("/ws?a=?b", ("/ws", "a=?b")), ("/ws?", ("/ws", ""))],
)
def test_target_is_path_and_query(target: str, parts: tuple[str, str]) -> None:
    assert split_path(target) == parts
