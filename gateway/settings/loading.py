"""Loading: the file, the environment, and an error that names the setting."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from gateway.errors import ConfigError
from gateway.settings.root import ENV_PREFIX, Settings, layered


def load(path: Path | None = None, **overrides: Any) -> Settings:
    """
    Load the settings from a YAML file, the environment and `overrides`, the last of which win over the file.

    Raises:
        ConfigError: The file cannot be read, or a setting is unknown or wrong; the message has a line for each.
    """
    values = layered(_read(path) if path is not None else {}, overrides)
    _refuse_unknown_variables()
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors()]
        raise ConfigError(problems[0][0], "\n".join([problems[0][1], *map(": ".join, problems[1:])])) from None
    except (SettingsError, RecursionError) as error:
        raise _malformed_variable(error) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # whose text may quote a line that holds a secret
        mark = getattr(error, "problem_mark", None)
        where = f": see line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise ConfigError(str(path), f"is not YAML in UTF-8{where}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(str(path), "is not a mapping of sections")
    return values


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


def _problem(details: Any) -> tuple[str, str]:
    """Return the setting's name and what is wrong with it; never the value, which may be a secret."""
    where = ".".join(map(str, details["loc"]))
    message = str(details["msg"]).removeprefix("Value error, ")
    if not where and ": " in message:
        where, message = message.split(": ", 1)
    if details["type"] == "extra_forbidden":
        message = "is not a setting; there are: " + ", ".join(_siblings(details["loc"]))
    return where, message


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    fields = Settings.model_fields
    for part in location[:-1]:
        if isinstance(part, str) and part in fields:
            kind = fields[part].annotation
            item = next((arg for arg in get_args(kind) if hasattr(arg, "model_fields")), None)  # of a tuple or a dict
            fields = getattr(kind, "model_fields", None) or getattr(item, "model_fields", {})
    return list(fields)
