"""Templates: what is rendered, what is refused, and what stays small."""

from __future__ import annotations

from typing import Any

import pytest

from publisher import PublishError, PublishUnavailable
from publisher.templates import CACHE_S, MAX_PARAMS_BYTES, NO_DATA, TemplateBook, Templates, event_of, filled, said

SHIPPED = {
    "event": "order.shipped",
    "title": "Order {{ order.id }}",
    "content": "{% for item in order['items'] %}{{ item }}{{ ', ' if not loop.last }}{% endfor %} for {{ name }}",
    "level": "info",
}
ORDER = {"order": {"id": 7, "items": ["a", "b"]}, "name": "<Ada>"}


def render(text: Any, params: dict[str, Any] | None = None, **fields: Any) -> Any:
    return Templates({"t": {"data": text, **fields}}).render("t", params or {})["data"]


def refusal(text: Any, params: Any = None, **fields: Any) -> str:
    with pytest.raises(PublishError) as refused:
        Templates({"t": {"data": text, **fields}}).render("t", params)
    return str(refused.value)


def test_the_fields_that_are_defined_are_rendered() -> None:
    assert Templates({"shipped": SHIPPED}).render("shipped", ORDER) == {
        "event": "order.shipped",
        "title": "Order 7",
        "content": "a, b for <Ada>",
        "level": "info",
    }


def test_texts_in_data_are_templates_and_the_rest_is_kept() -> None:
    data = {"{{ key }}": ["{{ a }}", {"b": "{{ b }}"}], "n": 1.5, "none": None, "yes": True, "plain": "{ }"}
    assert render(data, {"a": 1, "b": None}) == {**data, "{{ key }}": ["1", {"b": "None"}]}


def test_parameters_are_not_templates() -> None:
    assert render("{{ text }}", {"text": "{{ 7 * 7 }}{% raw %}"}) == "{{ 7 * 7 }}{% raw %}"


def test_the_event_is_no_template() -> None:
    assert Templates({"t": {"event": "{{ x }}"}}).render("t") == {"event": "{{ x }}"}


@pytest.mark.parametrize(("autoescape", "text"), [(False, "<Ada>"), (True, "&lt;Ada&gt;")])
def test_html_is_escaped_where_the_template_says_so(autoescape: bool, text: str) -> None:
    assert render("{{ name }}", {"name": "<Ada>"}, autoescape=autoescape) == text


@pytest.mark.parametrize(
    ("text", "params", "problem"),
    [
        ("{{ order.id }}", None, "template 't', data: 'order' is undefined"),
        ("{{ order.id }}", {"order": {}}, "template 't', data: 'dict object' has no attribute 'id'"),
        ("{% if order %}{% endif %}", {}, "'order' is undefined"),
        (["", {"a": "{{ x }}"}], {}, "template 't', data[1].a: 'x' is undefined"),
        ("{{ 1 / n }}", {"n": 0}, "template 't', data: division by zero"),
        ("{{ n + 'a' }}", {"n": 0}, "template 't', data: unsupported operand"),
        ("{{ x", {}, "template 't', data: unexpected end of template"),
        ("{{ x | nonsense }}", {"x": 1}, "No filter named 'nonsense'"),
        ("{% include 'other' %}", {}, "template 't', data:"),
        ("{{ x }}", {"x": object()}, "template 't', params: Type is not JSON serializable"),
        ("{{ x }}", {"x": float("nan")}, "template 't', params: JSON has no NaN"),
        ("{{ x }}", {"x": "x" * MAX_PARAMS_BYTES}, "over the limit of 65536"),
        ("{{ x }}", {"x": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}, "nested more than 16 levels"),
        ("{{ x }}", "x", "template 't': params is no mapping"),
    ],
)
def test_what_cannot_be_rendered_is_an_error_that_names_it(text: Any, params: Any, problem: str) -> None:
    assert problem in refusal(text, params)


@pytest.mark.parametrize("name", ["nobody", "", None, 7])
def test_an_unknown_template_is_an_error_that_names_it(name: Any) -> None:
    with pytest.raises(PublishError, match=f"there is no template {name!r}"):
        Templates({"t": SHIPPED}).render(name)


@pytest.mark.parametrize(
    "text",
    [
        "{{ x * 300000 }}",
        "{{ 300000 * x }}",
        "{{ [1] * 300000 }}",
        "{{ 9 ** 9 ** 9 ** 9 ** 9 }}",
        "{{ 2 ** 5000 }}",
        "{{ '%0300000d' % 1 }}",
        "{{ '%0300000d' | format(1) }}",
        "{{ '{:300000}'.format(1) }}",
        "{{ '{x:300000}'.format_map({'x': 1}) }}",
        "{{ x.ljust(300000) }}",
        "{{ x.zfill(300000) }}",
        "{{ x | center(300000) }}",
        "{{ x | indent(300000) }}",
        "{{ {} | tojson(300000) }}",
        "{{ 1 | round(300000, 'ceil') }}",
        "{{ range(1000000) | list }}",
        "{{ big.replace('x', big) }}",
        "{{ big | replace('x', big) }}",
        "{{ range(9000) | join(big) }}",
        "{{ big.join('x' * 5000) }}",
        "{{ (1).to_bytes(300000) }}",
        "{% for i in range(9000) %}{{ big }}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ lipsum(1000) }}",
        "{{ cycler }}",
        "{% set n = namespace(a=x) %}",
    ],
)
def test_nothing_becomes_large(text: str) -> None:
    assert refusal(text, {"x": "x", "big": "x" * 60_000})


def test_all_texts_share_the_room() -> None:
    big = {"x": "x" * 60_000}
    assert len(render(["{{ x }}"] * 4, big)) == 4
    assert "too long" in refusal(["{{ x }}"] * 5, big)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ x | attr('__class__') }}",
        "{{ x.append(1) }}",
    ],
)
def test_python_is_out_of_reach(text: str) -> None:
    assert refusal(text, {"x": [1]})


def test_what_is_useful_works() -> None:
    text = "{{ n | round(2) }} {{ names | join(', ') }} {{ s | upper | center(8) }} {{ s.replace('a', 'b') }}"
    assert render(text, {"n": 2_000_000.128, "names": ["a", "b"], "s": "nana"}) == "2000000.13 a, b   NANA   nbnb"
    assert render("{{ x | default(100000) }}{% if y is defined %}y{% endif %}") == "100000"


def test_an_event_is_the_data_or_all_other_fields() -> None:
    assert event_of("t", {"event": "e", "title": "a", "data": [1]}) == ("e", [1])
    assert event_of("t", {"event": "e", "title": "a", "level": "b"}) == ("e", {"title": "a", "level": "b"})
    assert event_of("t", {"event": "e", "data": None}, "other") == ("other", None)
    with pytest.raises(PublishError, match="template 't' has no event: name one"):
        event_of("t", {"title": "a"})


@pytest.mark.parametrize(("event", "data"), [("e", NO_DATA), (None, 1), (None, NO_DATA)])
def test_an_event_without_data_or_template_is_refused(event: str | None, data: Any) -> None:
    with pytest.raises(PublishError, match="or name a template"):
        said(event, data)


def test_data_and_template_exclude_each_other() -> None:
    with pytest.raises(PublishError, match="data or a template, not both"):
        filled({"template": "t", "data": 1, "to": "all"}, {"event": "e"})


# What a publisher knows


def test_a_book_is_looked_into_again_after_a_minute_or_for_a_name_that_it_lacks() -> None:
    book = TemplateBook()
    assert book.is_stale("t", 0)
    book.take(b'{"t": {"data": 1}}', 100)
    assert not book.is_stale("t", 100 + CACHE_S - 1)
    assert book.is_stale("t", 100 + CACHE_S)
    assert not book.is_stale("other", 100.5)
    assert book.is_stale("other", 101)


def test_a_book_goes_on_with_what_it_has() -> None:
    book = TemplateBook()
    with pytest.raises(PublishUnavailable, match="cannot be fetched: gone"):
        book.failed("gone", 0)
    book.take('{"t": {"data": 1}}', 0)
    book.failed("gone", 100)
    assert book.render("t", None) == {"data": 1}
    book.take(None, 200)
    with pytest.raises(PublishError, match="there is no template"):
        book.render("t", None)


@pytest.mark.parametrize("text", [b"nonsense", b"[1]", b'{"t": 7}'])
def test_nonsense_in_redis_is_an_error(text: bytes) -> None:
    book = TemplateBook()
    with pytest.raises(PublishError, match="what Redis has"):
        book.take(text, 0)
