"""
Templates: named messages, of which a publisher gives the parameters only.

They are defined in the gateway's settings. It keeps them in Redis, from where publishers have them, and both render
them by `Templates.render`. Jinja2 is imported when the first one is rendered: whoever uses none needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import orjson

from publisher import json_text
from publisher.errors import PublishError, PublishUnavailable

if TYPE_CHECKING:
    from jinja2 import Template

    from publisher.sandbox import Sandbox

TEXTS: Final = ("type", "title", "content", "level", "priority", "link", "icon")
"""The fields of a template that are templates themselves, beside `data`, in which all texts are."""

MAX_PARAMS_BYTES: Final = 64 * 1024
MAX_PARAMS_DEPTH: Final = 16
CACHE_S: Final = 60.0

_LOOK_AGAIN_S: Final = 1.0  # for a name that was not there
_MARKS: Final = ("{{", "{%", "{#")

Params = Mapping[str, Any]

NO_DATA: Final[Any] = object()
"""Stands for data that was not given; None is data."""


class Templates:
    """
    A set of templates.

    Args:
        definitions: Name → its fields: `event`, those of `TEXTS`, `data`, `autoescape`.
    """

    def __init__(self, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        self.definitions = definitions
        self._compiled: dict[str, dict[str, Any]] = {}
        self._sandboxes: dict[bool, Sandbox] = {}

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a template."""
        return name in self.definitions

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.definitions)

    def check(self, name: str) -> None:
        """Compile a template. Raises `PublishError` where it is none."""
        self._fields(name)

    def render(self, name: str, params: Params | None = None) -> dict[str, Any]:
        """
        Return the fields of a template, rendered: those that it defines, `event` among them.

        Raises:
            PublishError: There is no such template, a parameter is missing, or rendering fails; the message says which.
        """
        fields = self._fields(name)
        given = _checked(name, params)
        rendering = _Rendering(name, given)
        return {field: rendering.value(field, value) for field, value in fields.items()}

    def _fields(self, name: str) -> dict[str, Any]:
        fields = self._compiled.get(name)
        if fields is None:
            if not isinstance(name, str) or name not in self.definitions:
                raise PublishError(
                    f"there is no template {name!r:.100}: templates are defined in the gateway's settings"
                )
            definition = self.definitions[name]
            sandbox = self._sandbox(name, autoescape=bool(definition.get("autoescape")))
            fields = {
                field: self._compile(sandbox, name, field, definition[field])
                for field in ("event", *TEXTS, "data")
                if field in definition
            }
            self._compiled[name] = fields
        return fields

    def _sandbox(self, name: str, *, autoescape: bool) -> Sandbox:
        sandbox = self._sandboxes.get(autoescape)
        if sandbox is None:
            try:
                from publisher.sandbox import Sandbox
            except ImportError:
                raise PublishError(f"template {name!r} needs Jinja2: pip install 'tidegate[templates]'") from None
            sandbox = self._sandboxes[autoescape] = Sandbox(autoescape=autoescape)
        return sandbox

    def _compile(self, sandbox: Sandbox, name: str, where: str, value: Any) -> Any:
        """Return a value with each text that is a template compiled."""
        if isinstance(value, Mapping):
            return {key: self._compile(sandbox, name, f"{where}.{key}", item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._compile(sandbox, name, f"{where}[{n}]", item) for n, item in enumerate(value)]
        if where == "event" or not isinstance(value, str) or not any(mark in value for mark in _MARKS):
            return value
        try:
            return sandbox.from_string(value)
        except Exception as error:  # of Jinja's parser, or of Python's compiler behind it
            raise PublishError(f"template {name!r}, {where}: {error}"[:500]) from None


class _Rendering:
    """One rendering: its parameters, and how much room is left."""

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        from publisher.sandbox import MAX_TEXT, text_of

        self._name = name
        self._params = params
        self._text_of = text_of
        self._room = MAX_TEXT

    def value(self, where: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.value(f"{where}.{key}", item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(f"{where}[{number}]", item) for number, item in enumerate(value)]
        return self._text(where, value) if hasattr(value, "generate") else value

    def _text(self, where: str, template: Template) -> str:
        try:
            text = self._text_of(template, self._params, self._room)
        except Exception as error:  # a missing parameter, a wrong type, whatever an expression can raise
            raise PublishError(f"template {self._name!r}, {where}: {error}"[:500]) from None
        self._room -= len(text)
        return text


class TemplateBook:
    """The templates that a publisher knows, and when it is to look for newer ones. Times are any clock's seconds."""

    def __init__(self) -> None:
        self._templates: Templates | None = None
        self._text: bytes | str | None = None
        self._looked_at = 0.0

    def is_stale(self, name: str, now: float) -> bool:
        """Tell whether to fetch them: they are old, or this one is not among them."""
        if self._templates is None:
            return True
        return now >= self._looked_at + (CACHE_S if name in self._templates else _LOOK_AGAIN_S)

    def take(self, text: bytes | str | None, now: float) -> None:
        """Take what Redis has. Raises `PublishError` where that is nonsense."""
        self._looked_at = now
        if self._templates is not None and text == self._text:
            return
        try:
            definitions = orjson.loads(text) if text is not None else {}
            if not all(isinstance(fields, dict) for fields in definitions.values()):
                raise TypeError
        except (ValueError, TypeError, AttributeError):
            raise PublishError("what Redis has for templates are none: is a gateway of this version there?") from None
        self._templates, self._text = Templates(definitions), text

    def failed(self, problem: str, now: float) -> None:
        """They could not be fetched: go on with those there are. Raises `PublishUnavailable` where there are none."""
        if self._templates is None:
            raise PublishUnavailable(f"the templates cannot be fetched: {problem}") from None
        self._looked_at = now

    def render(self, name: str, params: Params | None) -> dict[str, Any]:
        """See `Templates.render`."""
        return (self._templates or Templates({})).render(name, params)


def event_of(name: str, fields: Mapping[str, Any], event: str | None = None) -> tuple[str, Any]:
    """
    Return the name and the data of the event that a rendered template is: its `data`, or all its other fields.

    Args:
        event: Instead of the template's own.

    Raises:
        PublishError: Neither has a name for it.
    """
    chosen = event if event is not None else fields.get("event")
    if chosen is None:
        raise PublishError(f"template {name!r} has no event: name one")
    if "data" in fields:
        return chosen, fields["data"]
    return chosen, {field: value for field, value in fields.items() if field != "event"}


def said(
    event: str | None, data: Any, *, template: str | None = None, fields: Mapping[str, Any] | None = None
) -> tuple[str, Any]:
    """
    Return the name and the data of an event that is given by these, or by a template's rendered fields.

    Raises:
        PublishError: Something is missing, or given twice.
    """
    if template is not None and fields is not None:
        if data is not NO_DATA:
            raise PublishError("an event has data or a template, not both")
        return event_of(template, fields, event)
    if event is None or data is NO_DATA:
        raise PublishError("name the event and give its data, or name a template")
    return event, data


def is_templated(spec: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether what `publish_many` was given names a template."""
    return isinstance(spec, Mapping) and "template" in spec


def filled(spec: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping for `publish_many` with its template's event and data in place of the template."""
    name = spec["template"]
    event, data = said(spec.get("event"), spec.get("data", NO_DATA), template=name, fields=fields)
    rest = {name: value for name, value in spec.items() if name not in {"template", "params"}}
    return {**rest, "event": event, "data": data}


def _checked(name: str, params: Params | None) -> dict[str, Any]:
    """Return parameters as JSON has them: they are data, and nothing of Python is in a template's reach."""
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise PublishError(f"template {name!r}: params is no mapping")
    try:
        text = json_text.dumps(params)
        if len(text) > MAX_PARAMS_BYTES:
            raise ValueError(f"they have {len(text)} bytes, over the limit of {MAX_PARAMS_BYTES}")
        if json_text.depth_over(text, MAX_PARAMS_DEPTH):
            raise ValueError(f"they are nested more than {MAX_PARAMS_DEPTH} levels deep")
        given: dict[str, Any] = json_text.loads(text)
    except ValueError as error:
        raise PublishError(f"template {name!r}, params: {error}"[:500]) from None
    return given
