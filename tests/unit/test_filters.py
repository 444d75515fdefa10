"""Filters: which events pass, and what is no filter."""

from __future__ import annotations

import gc
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import filters
from gateway.filters import MAX_BYTES, MAX_FIELDS, MAX_VALUES, BadFilter, Filter, Sieve, compiled
from tests.support.entries import Source

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(), SCALARS, max_size=2)
FIELDS = st.sampled_from(["a", "b", "é"])


def a_filter(given: object) -> Filter:
    made = compiled(given)
    assert made is not None
    return made


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: by kind, a number being of one kind."""
    kinds = [float if type(value) is int else type(value) for value in (one, other)]
    return bool(kinds[0] is kinds[1] and one == other)


@given(
    st.dictionaries(FIELDS, SCALARS | st.lists(SCALARS, min_size=1, max_size=3), min_size=1),
    st.dictionaries(FIELDS, JSON),
)
def test_all_conditions_have_to_hold(wanted: dict[str, Any], fields: dict[str, Any]) -> None:
    expected = all(
        name in fields
        and any(same(fields[name], value) for value in (values if isinstance(values, list) else [values]))
        for name, values in wanted.items()
    )
    assert a_filter(wanted).passes(fields) is expected


@pytest.mark.parametrize(
    ("wanted", "value", "passes"),
    [
        (1, b"1", True),
        (1, b"1.0", True),
        (1.0, b"1", True),
        (1, b'"1"', False),
        (1, b"true", False),
        (True, b"true", True),
        (True, b"1", False),
        (False, b"0", False),
        (0, b"false", False),
        (None, b"null", True),
        (None, b"0", False),
        ("eu", b'"eu"', True),
        ("eu", b'"EU"', False),
        ("é", b'"\\u00e9"', True),
        (["eu", 1], b"1", True),
        (2**64 + 1, b"18446744073709551617", True),
        (2**64 + 1, b"18446744073709551616", False),
        ("eu", b'["eu"]', False),
        ("eu", b'{"eu": 1}', False),
    ],
)
def test_values_are_compared_as_json_has_them(wanted: object, value: bytes, passes: bool) -> None:
    entry = Source().entry(text=b'{"a":%b}' % value)
    assert Sieve().passes(entry, a_filter({"a": wanted})) is passes


@pytest.mark.parametrize("data", [b"{}", b"null", b"[]", b'"a"', b"7", b"{", b"", b'{"a":{"a":1}}', b'[{"a":1}]'])
def test_what_lacks_the_field_passes_no_filter(data: bytes) -> None:
    assert not Sieve().passes(Source().entry(text=data), a_filter({"a": [1, None]}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (7, "use an object"),
        ([], "use an object"),
        ("eu", "use an object"),
        ({"a": {}}, "'a': use a string, a number"),
        ({"a": [[1]]}, "'a': use a string, a number"),
        ({"a": []}, "'a' has no value"),
        ({"a": float("inf")}, "'a': use a string, a number"),
        ({str(n): n for n in range(MAX_FIELDS + 1)}, "at most 16 fields"),
        ({"a": list(range(MAX_VALUES + 1))}, "at most 100 values"),
        ({"a": list(range(60)), "b": list(range(60))}, "at most 100 values"),
        ({"a": "x" * MAX_BYTES}, "at most 16384 bytes"),
        ({"a": "\ud800"}, "Unicode"),
    ],
)
def test_what_is_no_filter_is_named(given: object, problem: str) -> None:
    with pytest.raises(BadFilter, match=problem):
        compiled(given)


def test_as_much_as_is_allowed_is_taken() -> None:
    assert compiled({"a": list(range(MAX_VALUES))})
    assert compiled({str(n): n for n in range(MAX_FIELDS)})


def test_no_conditions_are_no_filter() -> None:
    assert compiled({}) is None


@pytest.mark.parametrize(
    "again",
    [
        {"region": "eu", "status": ["open", "late"]},
        {"status": ["late", "open"], "region": ["eu"]},
        {"status": ["open", "late", "open"], "region": "eu"},
    ],
)
def test_filters_that_say_the_same_are_one(again: dict[str, Any]) -> None:
    first = compiled({"region": "eu", "status": ["open", "late"]})
    assert compiled(again) is first


def test_filters_that_differ_are_not_one() -> None:
    assert len({compiled({"a": value}) for value in (1, "1", True, None, [1, 2])}) == 5


def test_filter_is_forgotten_with_its_last_holder() -> None:
    text = a_filter({"gone": 1}).text
    gc.collect()
    assert text not in filters._known


def test_data_is_parsed_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr(filters, "_fields_of", lambda data: parsed.append(data) or orjson.loads(data))
    sieve, source = Sieve(), Source()
    wanted = [a_filter({"a": n}) for n in range(20)]
    for entry in (source.entry(data={"a": 1}), source.entry(data={"a": 2})):
        assert sum(sieve.passes(entry, each) for each in wanted) == 1
    assert parsed == [b'{"a":1}', b'{"a":2}']
