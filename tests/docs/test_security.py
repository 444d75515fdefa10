"""docs/security.md: every test, setting and command that it names is there."""

from __future__ import annotations

import re

import pytest
import yaml

from gateway.cli import _parser
from gateway.settings import Settings, load
from tests.docs.markdown import ROOT, blocks

PAGE = "docs/security.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|docs)/[\w/.-]+)`", TEXT))))
def test_every_file_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([a-z]+\.[a-z_0-9]+)`", TEXT))))
def test_every_setting_is_one(name: str) -> None:
    section, option = name.split(".")
    annotation = Settings.model_fields[section].annotation
    assert option in annotation.model_fields  # type: ignore[union-attr]


def test_the_examples_are_valid_settings(tmp_path) -> None:
    for example in blocks(PAGE, "yaml"):
        load(**yaml.safe_load(example.text))


def test_the_commands_are_commands() -> None:
    lines = [line for block in blocks(PAGE, "sh") for line in block.text.splitlines() if line]
    assert len(lines) == 3
    for line in lines:
        assert _parser().parse_args(line.split()[1:]).run


def test_every_threat_has_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") == 4]
    threats = [row for row in rows if not row.startswith("| threat")]
    assert len(threats) > 15
    assert [row for row in threats if "`tests/" not in row and "`docs/" not in row] == []
