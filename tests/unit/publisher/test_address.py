"""Addresses: which strings they are, and what an audience is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher import PublishError
from publisher.address import KINDS, MAX_AUDIENCE, MAX_NAME_LENGTH, audience, is_address, is_name, is_tenant

NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\x7f"]),
    min_size=1,
    max_size=MAX_NAME_LENGTH,
)


@given(st.sampled_from(KINDS), NAMES)
def test_a_known_kind_and_a_name_are_an_address(kind, name):
    assert is_name(name)
    assert is_address(f"{kind}:{name}")


@given(st.text())
def test_what_is_an_address_can_be_written_as_utf8_and_has_a_known_kind(text):
    if is_address(text):
        text.encode()
        assert text == "all" or text.split(":", 1)[0] in KINDS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ALL",
        "all:",
        "user:",
        "user",
        "role:x",
        "User:1",
        "user:a\nb",
        "user:\x7f",
        "user:\ud800",
        "user:1\n",
        "user:" + "x" * (MAX_NAME_LENGTH + 1),
        " user:1",
        None,
        7,
        b"user:1",
    ],
)
def test_anything_else_is_not_an_address(text):
    assert not is_address(text)


def test_an_audience_keeps_the_order_and_drops_repetitions():
    assert audience(["tag:b", "user:1", "tag:b"]) == ("tag:b", "user:1")


def test_one_address_may_stand_for_a_list():
    assert audience("user:1") == ("user:1",)


@pytest.mark.parametrize("to", [[], (), ["user:1", "nobody"], [None], None, 7, [["user:1"]], b"all", {}])
def test_a_bad_audience_is_refused(to):
    with pytest.raises(PublishError):
        audience(to)


def test_the_largest_audience_is_allowed_and_one_more_is_not():
    users = [f"user:{number}" for number in range(MAX_AUDIENCE + 1)]
    assert len(audience(users[:-1])) == MAX_AUDIENCE
    with pytest.raises(PublishError, match="in several parts"):
        audience(users)


@pytest.mark.parametrize(("text", "good"), [("acme", True), ("a.b-c_9", True), ("", False), ("a:b", False)])
def test_a_tenant_is_a_short_plain_word(text, good):
    assert is_tenant(text) is good
