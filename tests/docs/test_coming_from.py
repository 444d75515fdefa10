"""docs/coming-from.md: what stands in Tidegate's column of its tables exists."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re

import pytest

from gateway.cli import _parser
from gateway.commands.description import COMMANDS
from gateway.settings import Settings
from gateway.wire.description import FRAMES
from publisher import Publisher, is_address, make_event
from tests.docs.markdown import document

PAGE = "docs/coming-from.md"

HEADERS = {"Idempotency-Key"}
CLAIMS = {"sub", "exp", "tenant", "groups", "tags", "topics"}


def names():
    """Return every word in backticks in the second column of a table."""
    rows = [line for line in document(PAGE).splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", line)[2] for line in rows]
    return sorted({name for cell in cells for name in re.findall(r"`([^`]+)`", cell)})


def gateway_commands():
    (action,) = [a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {f"gateway {name}" for name in action.choices}


def setting_exists(dotted):
    fields = Settings.model_fields
    for part in dotted.split("."):
        if part not in fields:
            return False
        fields = getattr(fields[part].annotation, "model_fields", {})
    return True


def operation_exists(name):
    method, _, path = name.partition(" ")
    paths = json.loads(document("docs/openapi.json"))["paths"]
    return method.lower() in paths.get(path, {})


def call_is_possible(name):
    """Tell whether `publish(…, to="all")` is a call that the publisher would take."""
    call = ast.parse(name.replace("…", "x"), mode="eval").body
    parameters = {*inspect.signature(make_event).parameters}
    addresses = [node.value for k in call.keywords for node in ast.walk(k.value) if isinstance(node, ast.Constant)]
    return (
        hasattr(Publisher, call.func.id)
        and {keyword.arg for keyword in call.keywords} <= parameters
        and all(is_address(address) for address in addresses)
    )


def option_exists(name):
    option, _, value = name.partition("=")
    return option in inspect.signature(make_event).parameters and (not value or ast.literal_eval(value) is not None)


def exists(name):
    protocol = {c.name for c in COMMANDS} | {c.reply for c in COMMANDS} | {f.name for f in FRAMES}
    fields = {each.name for c in (*COMMANDS, *FRAMES) for each in (c.fields or ())}
    return (
        name in protocol | fields | HEADERS | CLAIMS | gateway_commands()
        or is_address(name.replace("…", "x"))
        or hasattr(Publisher, name)
        or setting_exists(name)
        or operation_exists(name)
        or ("(" in name and call_is_possible(name))
        or option_exists(name)
    )


@pytest.mark.parametrize("name", names())
def test_what_the_tables_name_exists(name):
    assert exists(name)


def test_the_tables_cover_what_people_come_from():
    headings = re.findall(r"^## (.+)$", document(PAGE), re.MULTILINE)
    assert headings[:4] == ["Socket.IO", "Centrifugo", "Pusher", "A hand-written hub"]
    for section in document(PAGE).split("\n## ")[1:5]:
        assert "**Different.**" in section
        assert "**Missing.**" in section


@pytest.mark.parametrize("nonsense", ["publsh", "gateway fly", "POST /message/push/nobody", "publish(…, too=1)", "x.y"])
def test_the_check_can_fail(nonsense):
    assert not exists(nonsense)
