"""Cursors: their text form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher import Cursor
from publisher.cursor import new_epoch

CURSORS = st.builds(
    Cursor,
    ms=st.integers(0, 10**16 - 1),
    n=st.integers(0, 2**64 - 1),
    partition=st.integers(0, 9999),
    epoch=st.from_regex(r"[A-Za-z0-9]{1,32}", fullmatch=True),
)


@given(CURSORS)
def test_the_text_form_reads_back_as_the_same_cursor(cursor):
    assert Cursor.parse(str(cursor)) == cursor


@given(st.text())
def test_other_text_is_refused_with_a_value_error_only(text):
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1-2",
        "1-2.3",
        "1-2.3.",
        "1-2.3.e ",
        " 1-2.3.e",
        "1-2.3.e\n",
        "-1-2.3.e",
        "1-2.3.é",
        "\u0661-2.3.e",
        "1-2.12345.e",
        f"1-{2**64}.3.e",
    ],
)
def test_near_misses_are_refused(text):
    with pytest.raises(ValueError, match="not a cursor"):
        Cursor.parse(text)


def test_a_new_epoch_fits_into_a_cursor():
    assert Cursor.parse(f"1-2.3.{new_epoch()}")
