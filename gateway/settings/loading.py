"""Loading: the file under the environment, and an error that names the setting."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_settings import SettingsError

from gateway.errors import ConfigError
from gateway.settings.file import read_file
from gateway.settings.root import ENV_PREFIX, Settings, layered

Place = tuple[int | str, ...]


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """
    Load the settings from a YAML file, the environment and `overrides`, the last of which win over the file.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or wrong; the message has a line for each.
    """
    values = layered(read_file(path) if path is not None else {}, overrides)
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [_problem(details) for details in _causes(error.errors())]
        raise ConfigError(problems[0][0], "\n".join([problems[0][1], *map(": ".join, problems[1:])])) from None
    except (SettingsError, RecursionError) as error:
        raise _malformed_variable(error) from None


def _refuse_unknown_variables() -> None:
    """pydantic-settings ignores variables it does not know; a misspelt one would silently do nothing."""
    for name in _variables():
        section, option = _setting_of(name)
        known = Settings.model_fields.get(section)
        options = getattr(known.annotation, "model_fields", {}) if known is not None else {}
        if known is None or (option and option not in options):
            where = f"{section}.{option}" if option else section
            candidates = ", ".join(options or Settings.model_fields)
            raise ConfigError(where or name, f"{name} is not a setting; there are: {candidates}")


def _malformed_variable(error: Exception) -> ConfigError:
    """Name the variable that pydantic-settings could not read: lists and whole sections have to be JSON."""
    for name in _variables():
        section, option = _setting_of(name)
        kind: Any = Settings.model_fields[section].annotation
        if option:
            kind = kind.model_fields[option].annotation
        if (get_origin(kind) in (tuple, dict) or hasattr(kind, "model_fields")) and not _is_json(os.environ[name]):
            return ConfigError(f"{section}.{option}" if option else section, f'{name} is not JSON, such as ["a", "b"]')
    return ConfigError("environment", str(error))


# What Kubernetes puts into every pod for a Service called `gateway`, this one always among it.
_SERVICE_HOST = "GATEWAY_SERVICE_HOST"
_SERVICE_LINK = re.compile(r"GATEWAY_(?:SERVICE_(?:HOST|PORT\w*)|PORT(?:_\d+_(?:TCP|UDP)\w*)?)")


def _variables() -> list[str]:
    names = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    if _SERVICE_HOST in names:
        names = [name for name in names if _SERVICE_LINK.fullmatch(name) is None]
    return names


def _setting_of(variable: str) -> tuple[str, str]:
    section, _, option = variable[len(ENV_PREFIX) :].lower().partition("__")
    return section, option


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _causes(errors: Sequence[Any]) -> list[Any]:
    """Leave out what only follows: that a list is too short of which an item is wrong."""
    places = [details["loc"] for details in errors]
    return [
        details
        for details in errors
        if details["type"] != "too_short" or not any(_is_within(place, details["loc"]) for place in places)
    ]


def _is_within(place: Place, other: Place) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _problem(details: Any) -> tuple[str, str]:
    """Return the setting's name and what is wrong with it; never the value, which may be a secret."""
    where = ".".join(map(str, details["loc"]))
    message = str(details["msg"]).removeprefix("Value error, ")
    if not where and ": " in message:
        where, message = message.split(": ", 1)
    match details["type"]:
        case "extra_forbidden":
            message = "is not a setting; there are: " + ", ".join(_siblings(details["loc"]))
        case "model_type" | "model_attributes_type" | "dict_type":
            message = _no_mapping(details["loc"])
        case "tuple_type":
            message = _no_list(details["loc"])
    return where, message


def _no_mapping(location: Place) -> str:
    """Say that one value stands where several should, each with its name."""
    options = ", ".join(_siblings((*location, "")))
    if not options:
        return "is one value; give each template by its name"
    variable = next((name for name in _variables() if _setting_of(name) == (str(location[0]), "")), None)
    if variable is not None and len(location) == 1:
        return f"{variable} is one value for a whole section: use {variable}__NAME, or JSON; there are: {options}"
    return f"is one value; give several by their names: {options}"


def _no_list(location: Place) -> str:
    """Say that something else stands where a list should, and what is in it."""
    item = _item(_annotation(location))
    if hasattr(item, "model_fields"):
        return f"is not a list; each of its items has: {', '.join(item.model_fields)}"
    return 'is not a list, such as ["a", "b"]'


def _annotation(location: Place) -> Any:
    kind: Any = Settings
    for part in location:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else _item(kind)
    return kind


def _item(kind: Any) -> Any:
    """Return what a tuple or a dict of settings has in it; nothing where it is of plain values."""
    return next((arg for arg in get_args(kind) if hasattr(arg, "model_fields")), None)


def _siblings(location: Place) -> list[str]:
    kind = _annotation(location[:-1])
    return list(getattr(kind, "model_fields", {}))
