"""Request bodies: what stays as it came, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.json_body import MAX_DEPTH, Verbatim, parse

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
INDENTS = st.sampled_from([None, 1, "\t"])


@given(st.dictionaries(st.sampled_from(["data", "a", "b", 'q"\\}', "é"]), VALUES), INDENTS, st.booleans())
def test_what_surrounds_is_parsed_and_what_is_named_stays_text(members, indent, ascii_only):
    body = json.dumps(members, indent=indent, ensure_ascii=ascii_only)
    parsed = parse(body.encode(), verbatim={"data"})
    assert list(parsed) == list(members)
    for name, value in parsed.items():
        if name == "data":
            assert value.text in body
            assert json.loads(value.text) == members["data"]
        else:
            assert value == members[name]


@given(st.lists(st.dictionaries(st.sampled_from(["data", "to"]), VALUES) | st.integers(), max_size=5), INDENTS)
def test_objects_of_a_list_are_treated_alike(events, indent):
    parsed = parse(json.dumps({"events": events}, indent=indent).encode(), verbatim={"data"}, lists={"events"})
    for given_one, event in zip(events, parsed["events"], strict=True):
        if isinstance(event, dict) and "data" in event:
            event = {**event, "data": json.loads(event["data"].text)}
        assert event == given_one


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_value_or_a_value_error(body):
    try:
        parse(body, verbatim={"data"}, lists={"events"})
    except ValueError:
        return
    json.loads(body)


def test_only_members_of_the_body_itself_stay_text():
    assert parse(b'{"a": {"data": [1]}, "data": [1]}', verbatim={"data"}) == {
        "a": {"data": [1]},
        "data": Verbatim("[1]"),
    }


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"events":[{"a":1,"a":2}]}', b'{"data":1,"data":1}'])
def test_a_repeated_name_is_refused(body):
    with pytest.raises(ValueError, match="twice"):
        parse(body, verbatim={"data"}, lists={"events"})


@pytest.mark.parametrize("body", [b"", b"NaN", b'{"data": Infinity}', b"{} {}", b'"\\ud800"', b"\xff", b"9" * 5_000])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ValueError, match=r"\w"):
        parse(body, verbatim={"data"})


def test_a_long_number_stays_text():
    number = "9" * 300
    assert parse(b'{"data":' + number.encode() + b"}", verbatim={"data"})["data"].text == number


def test_depth_is_bounded():
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, verbatim=())
    with pytest.raises(ValueError, match="levels deep"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), verbatim=())
