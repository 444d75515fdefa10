"""The YAML file: read strictly, before anything in it is judged."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError
from gateway.settings.root import Settings


def read_file(path: Path) -> dict[str, Any]:
    """
    Return what a settings file states, by section.

    A section of which nothing is left but its name (`listen:`) states nothing, and is not there.

    Raises:
        ConfigError: The file cannot be read, is no mapping in YAML, or says something twice.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it is a SafeLoader
    except _SaidTwice as error:
        raise ConfigError(error.name, f"stands twice in {path}, again in line {error.line}") from None
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
    return {key: value for key, value in values.items() if value is not None or not _is_collection(key)}


def _is_collection(key: str) -> bool:
    """Tell whether a word is that of a section, or of another setting that holds settings by name or in a list."""
    field = Settings.model_fields.get(key)
    return field is not None and (field.default in ((), {}) or hasattr(field.annotation, "model_fields"))


class _SaidTwice(Exception):
    """
    A key stands in a mapping twice.

    Attributes:
        name: Its dotted name.
    """

    def __init__(self, name: str, line: int) -> None:
        super().__init__(name)
        self.name = name
        self.line = line


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys and forgets the first; YAML 1.2 (section 3.2.1.3) allows no such file."""

    def get_single_node(self) -> Any:
        node: Any = super().get_single_node()
        _refuse_twins(node, (), set())
        return node


def _refuse_twins(node: Any, path: tuple[str, ...], seen: set[int]) -> None:
    """
    Look through a document; aliases once only.

    Raises:
        _SaidTwice: Two keys of one mapping are equal.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _refuse_twins(item, (*path, str(number)), seen)
    if isinstance(node, yaml.MappingNode):
        known: set[Hashable] = set()
        for key, value in node.value:
            name = (*path, str(key.value) if isinstance(key, yaml.ScalarNode) else "?")
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in known:
                    raise _SaidTwice(".".join(name), key.start_mark.line + 1)
                known.add((key.tag, key.value))
            _refuse_twins(value, name, seen)
