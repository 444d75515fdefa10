"""
The sandbox in which templates are rendered; the only module that imports Jinja2, and so imported when it is needed.

Templates are the operator's, their parameters are anybody's. Parameters are never read as templates, and what a
template does with them is bounded: Jinja's own sandbox keeps it from Python's insides, this one from making a few
characters into gigabytes as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, Template
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEXT: Final = 256 * 1024

_MAX_NUMBER: Final = 10_000  # as an argument that says how much of something
_MAX_SEPARATOR: Final = 1_000
_MAX_BITS: Final = 4_096
_SIZED_FILTERS: Final = frozenset(
    ("batch", "center", "indent", "pprint", "round", "slice", "tojson", "truncate", "urlize", "wordwrap")
)


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment that knows no files, and in which nothing becomes large."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=autoescape, keep_trailing_newline=True)
        self.globals = {"range": _range, "dict": dict}
        self.filters = {name: _bounded(name, filter_) for name, filter_ in self.filters.items() if name != "format"}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """See Jinja2. The formats of Python can ask for any width, in ways that cannot be foreseen."""
        return not (isinstance(obj, str) and attr.startswith("format")) and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja2's own
        """See Jinja2."""
        receiver = getattr(__obj, "__self__", None)
        if isinstance(receiver, str | bytes | int):
            _check_arguments(getattr(__obj, "__name__", ""), receiver, args, kwargs)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """See Jinja2."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("use `~` to join texts, not `%`")
        if operator == "*":
            _check_product(left, right)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * max(right, 0))
        return super().call_binop(context, operator, left, right)


def text_of(template: Template, params: Mapping[str, Any], room: int) -> str:
    """
    Render a template.

    Raises:
        SecurityError: It becomes longer than `room` characters. Whatever else goes wrong raises what it likes.
    """
    pieces = []
    for piece in template.generate(params):
        room -= len(piece)
        if room < 0:
            raise SecurityError("the text becomes too long")
        pieces.append(piece)
    return "".join(pieces)


def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > _MAX_NUMBER:
        raise SecurityError(f"a range has at most {_MAX_NUMBER} numbers")
    return numbers


def _bounded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    skipped = 2 if hasattr(filter_, "jinja_pass_arg") else 1  # the value, and the context where it takes one

    @functools.wraps(filter_)  # copies what Jinja marks filters with, too
    def bounded(*args: Any, **kwargs: Any) -> Any:
        value = args[skipped - 1] if len(args) >= skipped else None
        if name in _SIZED_FILTERS or name in {"replace", "join"}:
            _check_arguments(name, value, args[skipped:], kwargs)
        return _checked(filter_(*args, **kwargs))

    return bounded


def _check_arguments(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    given = (*args, *kwargs.values())
    texts = [len(argument) for argument in given if isinstance(argument, str)]
    if name == "join":  # the separator: a filter's argument, or what the method is called on
        texts += [len(value)] if isinstance(value, str) else []
        if max(texts, default=0) > _MAX_SEPARATOR:
            raise SecurityError("the separator is too long")
    elif name == "replace":
        _check_size(len(str(value)) * max(texts, default=0) // 64)
    elif any(isinstance(argument, int) and abs(argument) > _MAX_NUMBER for argument in given):
        raise SecurityError(f"{name}: a number is over {_MAX_NUMBER}")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
    for items, count in ((left, right), (right, left)):
        if isinstance(count, int) and hasattr(items, "__len__"):
            _check_size(len(items) * max(count, 0))


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise SecurityError("a number becomes too large")


def _check_size(size: int) -> None:
    if size > MAX_TEXT:
        raise SecurityError("the text becomes too long")


def _checked(value: Any) -> Any:
    if isinstance(value, str | bytes | list | tuple):
        _check_size(len(value))
    return value
