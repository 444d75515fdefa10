"""JSON text: what is read is what is written, and what cannot be is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher import json_text
from publisher.json_text import MAX_DEPTH, depth_over

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_a_value_reads_back_as_it_was(value):
    assert json_text.loads(json_text.dumps(value)) == value


@given(VALUES)
def test_what_is_written_is_json_for_others_too(value):
    assert json.loads(json_text.dumps(value)) == value


@given(st.integers(min_value=2**64) | st.integers(max_value=-(2**63) - 1))
def test_integers_beyond_64_bits_keep_every_digit(number):
    assert json_text.loads(json_text.dumps({"n": [number]})) == {"n": [number]}


@pytest.mark.parametrize("number", ["12345678901234567890123", "-9223372036854775809", "18446744073709551616"])
@pytest.mark.parametrize(
    "form",
    ["{}", " {} ", "[{}]", "[1,{}]", "[1,\t{}\n]", '{{"a":{}}}', '{{"a" : \r\n{}}}', '["1",{}]', '{{"1:{}":{}}}'],
)
def test_a_long_integer_is_exact_wherever_it_stands(form, number):
    text = form.format(number, number)
    assert json_text.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize("text", ['"12345678901234567890"', "0.12345678901234567890", "1234567890123456789012.5"])
def test_long_digits_that_are_no_integer_are_what_they_were(text):
    assert json_text.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_the_depth_limit_is_the_same_for_reading_and_writing(opening):
    closing = "]" if opening == "[" else "}"
    for depth, good in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False), (300, False), (2000, False)):
        text = (opening * depth + "1" + closing * depth).encode()
        if good:
            assert json_text.dumps(json_text.loads(text)) == text
        else:
            with pytest.raises(ValueError, match="64 levels"):
                json_text.loads(text)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 253, 300])
def test_a_deep_value_is_refused(depth):
    value = None
    for _ in range(depth):
        value = [value]
    with pytest.raises(ValueError, match="64 levels"):
        json_text.dumps(value)


def test_a_value_that_holds_itself_is_refused():
    value = []
    value.append(value)
    with pytest.raises(ValueError):
        json_text.dumps(value)


def test_brackets_inside_strings_do_not_count_as_depth():
    value = ['[{"\\' * 1000, "\\" * 999 + '"' + "[" * 1000]
    assert json_text.loads(json_text.dumps(value)) == value


@given(VALUES)
def test_depth_is_what_counting_finds(value):
    def depth(item):
        if isinstance(item, dict):
            return 1 + max(map(depth, item.values()), default=0)
        if isinstance(item, list):
            return 1 + max(map(depth, item), default=0)
        return 0

    text = json_text.dumps(value)
    assert not depth_over(text, depth(value))
    assert depth(value) == 0 or depth_over(text, depth(value) - 1)


@dataclass
class Reading:
    value: float


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "place",
    [lambda n: n, lambda n: [None, n], lambda n: {"a": {"b": (1, n)}}, lambda n: {n: 1}, Reading, lambda n: [2**70, n]],
)
def test_numbers_that_json_has_no_text_for_are_refused(number, place):
    with pytest.raises(ValueError):
        json_text.dumps(place(number))


def test_null_and_the_word_null_are_fine():
    value = {"a": None, "b": "null", "c": [1.5, None], "null": {}}
    assert json_text.loads(json_text.dumps(value)) == value


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, [2**70, "\ud800"], object(), {1, 2}, b"bytes"])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(ValueError):
        json_text.dumps(value)


def test_times_are_written_as_iso_text():
    assert json_text.dumps(datetime(2025, 12, 1, tzinfo=UTC)) == b'"2025-12-01T00:00:00+00:00"'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"NaN",
        b"[Infinity]",
        b'"\xff"',
        b'"\\ud800"',
        b"{'a': 1}",
        b"[1,]",
        b"01",
        b"\xef\xbb\xbf{}",
        b"[12345678901234567890, NaN]",
    ],
)
def test_what_is_not_json_is_refused(text):
    with pytest.raises(ValueError):
        json_text.loads(text)
